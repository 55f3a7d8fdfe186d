"""Jobs of two real worker processes with unequal data; `multi_worker_job.py` has model and data."""
import json
import signal

import numpy as np
import pytest
import tensorflow as tf

from tests import local_cluster
from tests.tpu_utils import multi_worker_job as job
from tpu_utils import checkpoints

pytestmark = pytest.mark.slow

WORKERS = 2
TRAIN_STEPS = 12


def _run(folder, jobs):
  """Runs a list of jobs for each worker; returns [worker][job]: {name: array}."""
  for worker in _processes(folder, jobs):
    assert worker.returncode == 0, worker.stderr
  return _results(folder, len(jobs[0]))


def _results(folder, jobs):
  return [[dict(np.load(folder / f'{i}.{n}.npz')) for n in range(jobs)] for i in range(WORKERS)]


def _processes(folder, jobs):
  settings = [{'jobs': own, 'results': str(folder / f'{i}')} for i, own in enumerate(jobs)]
  return local_cluster.run(
    [['-m', 'tests.tpu_utils.multi_worker_job', json.dumps(own)] for own in settings]
  )


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('multi_worker')


@pytest.fixture(scope='module')
def finished(folder):
  """Returns {job: [values on each worker]} of jobs that two processes ran one after another."""
  jobs = {
    'plain': {},
    'norm': {'norm': True},
    'stopped': {'train_steps': 40, 'examples': {'signal_at': 5, 'signalled': 1}},
  }
  own = [[{'model_dir': str(folder / name), **job} for name, job in jobs.items()]] * WORKERS
  own[1] = [dict(settings) for settings in own[1]]
  own[1][1]['model_dir'] = str(folder / 'not_the_chief')
  results = _run(folder, own)
  return {name: [worker[n] for worker in results] for n, name in enumerate(jobs)}


@pytest.fixture(scope='module')
def alone(folder):
  """Returns the runner of the plain job in one process, on the joint batches."""
  runner = job.make_runner(tf.distribute.OneDeviceStrategy('CPU:0'), folder / 'alone')
  runner.train(job.Examples(), job.Examples())
  return runner


def _checkpoint(folder, name, step):
  values, metadata = checkpoints.read(str(folder / name / f'model.ckpt-{step}'))
  assert metadata['step'] == step
  return values


def _history(folder, name):
  lines = (folder / name / 'eval' / 'results.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def _assert_same_bits(a, b):
  assert a.keys() == b.keys()
  for name in a:
    np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_workers_hold_the_same_weights(finished):
  for name in ('plain', 'norm'):
    first, second = finished[name]
    assert first['step'] == second['step'] == TRAIN_STEPS
    _assert_same_bits(first, second)


def test_the_weights_equal_those_of_one_process_on_the_joint_batches(finished, alone):
  expected = job.values(alone.trainer)
  found = {name: finished['plain'][0][name] for name in expected}
  for name in expected:
    np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_checkpoint_holds_the_average_of_the_moving_statistics(folder, finished):
  """Batch norm is the first layer, so its statistics depend on the data alone."""
  means, variances = np.zeros([WORKERS, 4]), np.ones([WORKERS, 4])
  momentum = job.NORM_MOMENTUM
  for step in range(TRAIN_STEPS):
    images, _ = job.Examples().train_batch(step)
    own = images.reshape(WORKERS, -1, 4)
    means = momentum * means + (1 - momentum) * own.mean(1)
    variances = momentum * variances + (1 - momentum) * own.var(1)
    if step == TRAIN_STEPS // 2 - 1:  # Averaged here for a checkpoint and an evaluation.
      means[:], variances[:] = means.mean(0), variances.mean(0)
  assert np.abs(variances[0] - variances[1]).max() > 0.5
  saved = _checkpoint(folder, 'norm', TRAIN_STEPS)
  np.testing.assert_allclose(saved['model/norm/moving_mean'], means.mean(0), rtol=1e-5)
  np.testing.assert_allclose(saved['model/norm/moving_variance'], variances.mean(0), rtol=1e-5)


def test_only_the_chief_writes(folder, finished):
  assert finished['norm'][1]['step'] == TRAIN_STEPS
  assert not (folder / 'not_the_chief').exists()
  assert len(_history(folder, 'norm')) == 2


def test_evaluation_counts_each_example_once(folder, finished, alone):
  expected, found = _history(folder, 'alone'), _history(folder, 'plain')
  assert [entry['step'] for entry in found] == [6, TRAIN_STEPS]
  for a, b in zip(expected, found, strict=True):
    assert a == pytest.approx(b, rel=1e-5)
    right = b['top_1_accuracy'] * job.NUM_EVAL
    assert right == pytest.approx(round(right), abs=1e-5)


@pytest.mark.long
def test_sigterm_to_one_worker_stops_both_and_the_job_resumes(folder, finished):
  """Also checks the error of workers without a common folder, to save a start."""
  first, second = finished['stopped']
  step = int(first['step'])
  assert 0 < step < 40
  _assert_same_bits(first, second)
  saved = _checkpoint(folder, 'stopped', step)
  _assert_same_bits(saved, {name: first[name] for name in saved})
  resumes = {'model_dir': str(folder / 'stopped'), 'train_steps': 40}
  whole = {'model_dir': str(folder / 'whole'), 'train_steps': 40}
  # The job without a common folder comes last, because it ends the processes.
  jobs = [[resumes, whole, {'model_dir': str(folder / name)}] for name in ('plain', 'empty')]
  for worker in _processes(folder, jobs):
    assert worker.returncode == 1
    assert 'must be one folder that all workers share' in worker.stderr
  (resumed, expected), (other, _) = _results(folder, 2)
  assert resumed['step'] == 40
  _assert_same_bits(resumed, other)
  _assert_same_bits(resumed, expected)


@pytest.mark.long
def test_a_killed_worker_is_an_error_of_the_other_and_a_restart_ends_with_the_same_bits(
  folder, finished
):
  examples = {'signal_at': 10, 'signalled': 1, 'signal_name': 'SIGKILL'}
  own = {'model_dir': str(folder / 'killed'), 'examples': examples}
  first, second = _processes(folder, [[own]] * WORKERS)
  assert second.returncode == -signal.SIGKILL
  assert first.returncode == 1
  last = first.stderr.splitlines()[-1]
  assert 'ConnectionError: a machine of the job does not answer' in last
  assert not (folder / 'killed' / f'model.ckpt-{TRAIN_STEPS}.index').exists()
  restarted = _run(folder, [[{'model_dir': str(folder / 'killed')}]] * WORKERS)
  for (found,), expected in zip(restarted, finished['plain'], strict=True):
    _assert_same_bits(found, expected)
  assert _history(folder, 'killed') == _history(folder, 'plain')
