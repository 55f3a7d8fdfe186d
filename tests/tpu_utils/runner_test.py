"""The runner: resuming, evaluation, following, signals and errors, with a small model."""
import json
import os
import re
import signal
import time
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from tpu_utils import checkpoints, claims, config, distribute, run_info, runner
from tpu_utils.command_line import cli
from tpu_utils.ema import ExponentialMovingAverage
from tpu_utils.image_jobs.train import classification_task
from tpu_utils.optimizers import build_optimizer
from tpu_utils.trainer import NonFiniteLossError, Trainer

IDENTITY = {'model_name': 'tiny'}
OBJECTIVE = 'top_1_accuracy'


class _Input:
  """Sixteen examples, repeated; step `bad` has infinite images, step `signal_at` sends a signal.

  So does the second batch of each evaluation if `signal_in_eval`.
  """

  def __init__(
    self, bad=None, signal_at=None, signal_number=signal.SIGTERM, size=4, signal_in_eval=False
  ):
    generator = np.random.default_rng(0)
    self.images = generator.normal(size=(16, 4)).astype('float32')
    self.labels = np.eye(3, dtype='float32')[generator.integers(3, size=16)]
    self.signal_at = signal_at
    self.signal_number = signal_number
    self.bad = bad
    self.size = size
    self.started_at = None
    self.signal_in_eval = signal_in_eval
    self.num_eval_batches = 4

  def train_dataset(self, context, start_example):
    del context
    self.started_at, size = start_example, self.size

    def batch(first):
      if first // size == self.signal_at:
        os.kill(os.getpid(), self.signal_number)
      rows = np.arange(first, first + size) % 16
      images = self.images[rows] * (np.inf if first // size == self.bad else 1)
      return images.astype('float32'), self.labels[rows]

    def tensors(first):
      images, labels = tf.numpy_function(batch, [first], [tf.float32, tf.float32])
      images, labels = tf.ensure_shape(images, [size, 4]), tf.ensure_shape(labels, [size, 3])
      return {'images': images, 'labels': labels}

    return tf.data.Dataset.range(start_example, 10**7, size).map(tensors)

  def eval_dataset(self, context):
    del context
    batches = {'images': self.images, 'labels': self.labels, 'weights': np.ones(16, np.float32)}
    dataset = tf.data.Dataset.from_tensor_slices(batches).batch(4)

    def send(number, batch):
      def kill(number):
        if number == 1 and self.signal_in_eval:
          os.kill(os.getpid(), self.signal_number)
        return number

      with tf.control_dependencies([tf.numpy_function(kill, [number], tf.int64)]):
        return {name: tf.identity(value) for name, value in batch.items()}

    return dataset.enumerate().map(send)

  def explain(self, error):
    del error


def _runner(
  model_dir, units=8, identity=None, evaluators=None, batch_size=4, run_info=None, **settings
):
  settings = {
    'train_steps': 12,
    'steps_per_eval': 6,
    'save_checkpoints_steps': 3,
    'iterations_per_loop': 2,
    **settings,
  }
  strategy = tf.distribute.OneDeviceStrategy('CPU:0')
  keras.utils.set_random_seed(0)
  with strategy.scope():
    images = keras.Input((4,), name='images')
    x = keras.layers.Dense(units, 'swish', name='hidden')(images)
    x = keras.layers.Dropout(0.3, name='dropout')(x)
    model = keras.Model(images, keras.layers.Dense(3, name='logits')(x), name='tiny')
  trainer = Trainer(
    strategy,
    model,
    classification_task(model, weight_decay=1e-4),
    build_optimizer('rmsprop'),
    lambda step: 0.01,
    ema=ExponentialMovingAverage(0.9),
  )
  job = config.JobConfig(model_dir=str(model_dir), **settings)
  return runner.Runner(
    trainer,
    job,
    identity or IDENTITY,
    batch_size=batch_size,
    examples_per_epoch=16,
    unit='images',
    objective=OBJECTIVE,
    divergence_hint='Lower --base_learning_rate.',
    evaluators=evaluators,
    run_info=run_info,
  )


def _weights(work):
  return {name: np.array(v) for name, v in work.trainer.variables().items()}


def _assert_same_bits(a, b):
  assert a.keys() == b.keys()
  for name in a:
    np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def _history(model_dir, folder='eval'):
  lines = (model_dir / folder / 'results.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_a_resumed_job_ends_with_the_same_bits(tmp_path):
  whole = _runner(tmp_path / 'whole')
  whole.train(_Input(), _Input())
  _runner(tmp_path / 'parts', train_steps=6).train(_Input(), _Input())
  second = _runner(tmp_path / 'parts')
  second.train(_Input(), _Input())
  _assert_same_bits(_weights(whole), _weights(second))
  assert _history(tmp_path / 'whole') == _history(tmp_path / 'parts')
  assert [entry['step'] for entry in _history(tmp_path / 'whole')] == [6, 12]


@pytest.mark.slow
def test_a_finished_job_does_nothing_when_started_again(tmp_path, capsys):
  _runner(tmp_path).train(_Input(), _Input())
  again = _runner(tmp_path)
  again.train(_Input(), _Input())
  assert 'nothing left to train' in capsys.readouterr().out
  assert len(_history(tmp_path)) == 2


def test_a_missed_evaluation_is_run_after_a_restart(tmp_path):
  """The job was killed between the checkpoint of step 12 and its evaluation."""
  _runner(tmp_path).train(_Input(), _Input())
  history = tmp_path / 'eval' / 'results.jsonl'
  expected = _history(tmp_path)
  history.write_text(history.read_text().splitlines()[0] + '\n{"step": 12, "lo')  # Cut off.
  _runner(tmp_path).train(_Input(), _Input())
  assert _history(tmp_path) == expected
  _runner(tmp_path).train(_Input(), _Input())  # Starting once more works.
  assert _history(tmp_path) == expected


def test_a_kill_between_evaluation_and_archive_loses_no_best_checkpoint(tmp_path, monkeypatch):
  def killed(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(checkpoints.CheckpointManager, 'archive', killed)
  with pytest.raises(KeyboardInterrupt):
    _runner(tmp_path).train(_Input(), _Input())
  monkeypatch.undo()
  again = _runner(tmp_path, train_steps=6)
  again.train(_Input(), _Input())
  assert again.checkpoints.best().endswith('model.ckpt-6')


def test_the_best_checkpoint_and_its_results_are_kept(tmp_path):
  work = _runner(tmp_path)
  work.train(_Input(), _Input())
  best = max(_history(tmp_path), key=lambda entry: (entry[OBJECTIVE], entry['step']))
  assert work.checkpoints.best().endswith(f'model.ckpt-{best["step"]}')
  assert work.checkpoints.best_objective() == pytest.approx(best[OBJECTIVE], abs=1e-6)


def test_an_evaluation_between_two_checkpoints_archives_a_checkpoint(tmp_path):
  work = _runner(tmp_path, train_steps=7, steps_per_eval=5, save_checkpoints_steps=3)
  work.train(_Input(), _Input())
  assert work.checkpoints.steps() == [3, 5, 6, 7]
  assert checkpoints.read(work.checkpoints.best())


@pytest.mark.slow
@pytest.mark.parametrize(
  'number, name', [(signal.SIGTERM, 'SIGTERM'), (signal.SIGINT, 'Ctrl-C')]
)
def test_a_signal_saves_and_resuming_gives_the_same_bits(tmp_path, number, name):
  handler = signal.getsignal(number)
  whole = _runner(tmp_path / 'whole')
  whole.train(_Input(), _Input())
  with pytest.raises(cli.Interrupted, match=f'Stopped by {name} at step'):
    _runner(tmp_path / 'stopped').train(_Input(signal_at=7, signal_number=number), _Input())
  stopped = _runner(tmp_path / 'stopped')
  assert 0 < stopped.resume() < 12
  stopped.train(_Input(), _Input())
  _assert_same_bits(_weights(whole), _weights(stopped))
  assert signal.getsignal(number) == handler


@pytest.mark.slow
@pytest.mark.parametrize('step', [6, 12])
def test_a_signal_during_an_evaluation_ends_the_job_there(tmp_path, step):
  whole = _runner(tmp_path / 'whole')
  whole.train(_Input(), _Input())
  stopped = tmp_path / 'stopped'
  settings = {'steps_per_eval': 6} if step == 6 else {'steps_per_eval': 12}
  with pytest.raises(cli.Interrupted, match=f'Stopped by SIGTERM at step {step}, saved'):
    _runner(stopped, **settings).train(_Input(), _Input(signal_in_eval=True))
  assert not (stopped / 'eval').exists() and not (stopped / 'archive').exists()
  with pytest.raises(cli.Interrupted, match=f'Stopped by Ctrl-C at step {step}, saved'):
    source = _Input(signal_in_eval=True, signal_number=signal.SIGINT)
    _runner(stopped, **settings).train(source, source)
  again = _runner(stopped, **settings)
  again.train(_Input(), _Input())
  _assert_same_bits(_weights(whole), _weights(again))
  assert _history(stopped) == _history(tmp_path / 'whole')[-len(_history(stopped)) :]
  assert [entry['step'] for entry in _history(stopped)] == ([6, 12] if step == 6 else [12])


def test_a_diverged_job_stops_and_keeps_its_checkpoints(tmp_path):
  with pytest.raises(NonFiniteLossError) as error:
    _runner(tmp_path).train(_Input(bad=7), None)
  for part in (
    'step 8', 'keeps step 3 (loss ', 'step 6 (loss ', '--resume_step=N', '--base_learning_rate'
  ):
    assert part in str(error.value)
  work = _runner(tmp_path)
  assert work.checkpoints.steps() == [3, 6]
  assert work.resume() == 6


@pytest.mark.slow
def test_a_diverged_job_goes_back_to_a_good_checkpoint_once(tmp_path, capsys, monkeypatch):
  whole = _runner(tmp_path / 'whole')
  whole.train(_Input(), _Input())
  back = tmp_path / 'back'
  ruined = _runner(back, steps_per_eval=9)
  ruined.train(_Input(), _Input())
  assert [entry['step'] for entry in _history(back)] == [9, 12]
  with pytest.raises(checkpoints.CheckpointError, match=r'of step 4; .*step 3 \(loss'):
    _runner(back, resume_step=4).train(_Input(), None)
  with pytest.raises(cli.Interrupted):
    _runner(back, resume_step=3).train(_Input(signal_at=7), _Input())
  assert 'moved to set_aside/: 6, 9, 12.' in capsys.readouterr().out
  assert (back / 'set_aside' / 'model.ckpt-12.index').exists()
  assert all(entry['step'] < 9 for entry in _history(back))
  again = _runner(back, resume_step=3)
  assert again.resume() > 3  # The same command goes on,
  again.train(_Input(), _Input())
  _assert_same_bits(_weights(whole), _weights(again))
  monkeypatch.setattr('sys.argv', ['main', '--base_learning_rate=0.001'])
  assert _runner(back, resume_step=3).resume() == 3  # another one goes back again.


def test_a_job_goes_back_to_the_archived_best(tmp_path):
  work = _runner(tmp_path)
  work.train(_Input(), None)
  work.checkpoints.archive(6, 0.5, {})
  for path in tmp_path.glob('model.ckpt-6.*'):
    path.unlink()
  assert 'step 6 (loss ' in work.checkpoints.described()
  assert 'the archived best' in work.checkpoints.described()
  assert _runner(tmp_path, resume_step=6).resume() == 6
  assert work.checkpoints.steps() == [3]


def _train_with(batch_size, model_dir, train_steps, **more):
  """Trains on; returns the example at which the input started."""
  source = _Input(size=batch_size)
  flags = {'flags': {'train_batch_size': batch_size}}
  work = _runner(
    model_dir, batch_size=batch_size, run_info=flags, train_steps=train_steps, **more
  )
  work.train(source, None)
  return source.started_at


@pytest.mark.slow
def test_another_batch_size_continues_with_the_next_example(tmp_path, capsys):
  assert _train_with(4, tmp_path, 6) == 0
  assert _train_with(8, tmp_path, 9) == 24
  (line,) = [x for x in capsys.readouterr().out.splitlines() if 'Batches of' in x]
  assert 'before of 4: training continues with the next one after 24 (epoch 1.50)' in line
  assert _train_with(8, tmp_path, 10) == 48
  assert 'Batches of' not in capsys.readouterr().out
  assert _train_with(2, tmp_path, 12) == 56
  starts = json.loads((tmp_path / 'run.json').read_text())['starts']
  assert [start['start']['examples'] for start in starts] == [0, 24, 48, 56]
  assert _train_with(8, tmp_path, 12, resume_step=6) == 24
  assert checkpoints.read(str(tmp_path / 'model.ckpt-6'))[1]['hosts'] == 1


def test_a_model_dir_of_another_model_is_refused(tmp_path):
  _runner(tmp_path).train(_Input(), None)
  before = sorted(os.listdir(tmp_path))
  with pytest.raises(checkpoints.CheckpointError, match="model_name is 'tiny', not 'other'"):
    _runner(tmp_path, identity={'model_name': 'other'}).train(_Input(), None)
  with pytest.raises(checkpoints.CheckpointError, match='does not fit this model'):
    _runner(tmp_path, units=9).train(_Input(), None)
  assert sorted(os.listdir(tmp_path)) == before


def test_a_model_dir_that_is_a_file_is_refused(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(OSError, match='--model_dir=.*cannot be written'):
    _runner(tmp_path / 'file' / 'model_dir').train(_Input(), None)


def test_a_model_dir_in_which_another_job_trains_is_refused(tmp_path):
  with claims.claimed('model_dir', str(tmp_path)):
    with pytest.raises(ValueError, match=f'--model_dir=.* in use by process {os.getpid()} on'):
      _runner(tmp_path).train(_Input(), None)
    assert os.listdir(tmp_path) == [claims.NAME]
  _runner(tmp_path, train_steps=1).train(_Input(), None)
  assert claims.NAME not in os.listdir(tmp_path)


def test_follow_evaluates_new_checkpoints_until_the_last_step(tmp_path, monkeypatch):
  trained = _runner(tmp_path, keep_checkpoint_max=9)
  trained.train(_Input(), _Input())
  newest_first = _runner(tmp_path, mode='eval', eval_name='test')
  newest_first.follow(_Input())
  entries = _history(tmp_path, 'eval_test')
  assert [entry['step'] for entry in entries] == [12]
  assert entries[-1] == _history(tmp_path)[-1]  # The checkpoint alone gives the same numbers.


def test_a_stopped_evaluator_evaluates_the_rest_and_repeats_nothing(tmp_path, capsys):
  _runner(tmp_path).train(_Input(), None)
  with pytest.raises(cli.Interrupted, match='SIGTERM at step 12, which is not evaluated yet'):
    _runner(tmp_path, mode='eval').follow(_Input(signal_in_eval=True))
  assert not (tmp_path / 'eval').exists()
  for _ in range(2):
    _runner(tmp_path, mode='eval').follow(_Input())
    assert [entry['step'] for entry in _history(tmp_path)] == [12]
  results = f'{tmp_path}/eval/results.jsonl'
  assert f'Step 12 is not evaluated again; its results are in {results}.' in capsys.readouterr().out


def test_a_signal_ends_an_evaluator_that_waits(tmp_path, monkeypatch):
  def sleep(_):
    os.kill(os.getpid(), signal.SIGTERM)

  monkeypatch.setattr(runner, 'time', types.SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
  with pytest.raises(cli.Interrupted, match='SIGTERM while waiting for a checkpoint. Run the same'):
    _runner(tmp_path, mode='eval').follow(_Input())


@pytest.mark.slow
def test_going_back_forgets_the_results_of_every_evaluation(tmp_path):
  _runner(tmp_path).train(_Input(), _Input())
  _runner(tmp_path, mode='eval', eval_name='test').follow(_Input())
  _runner(tmp_path, resume_step=6).resume()
  assert [entry['step'] for entry in _history(tmp_path)] == [6]
  assert _history(tmp_path, 'eval_test') == []


def test_follow_ends_after_the_timeout(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(runner, '_POLL_SECONDS', 0.01)
  _runner(tmp_path, train_steps=6).train(_Input(), None)
  _runner(tmp_path, mode='eval', eval_timeout=0).follow(_Input())
  assert 'No new checkpoint' in capsys.readouterr().out
  assert [entry['step'] for entry in _history(tmp_path)] == [6]


def test_summaries_have_the_values_that_the_readme_lists(tmp_path):
  _runner(tmp_path).train(_Input(), _Input())
  tags = {'': set(), 'eval': set()}
  for folder, found in tags.items():
    for path in (tmp_path / folder).glob('events*'):
      for event in tf.compat.v1.train.summary_iterator(str(path)):
        found |= {value.tag for value in event.summary.value}
  assert {
    'loss', 'top_1_accuracy', 'learning_rate', 'images_per_second', 'current_epoch', 'input_wait',
    'compute_time', 'input_wait_share',
  } <= tags['']
  assert {'loss', 'top_1_accuracy', 'top_5_accuracy'} <= tags['eval']


def test_a_full_disk_in_a_summary_is_reported_once_and_costs_no_step(
  tmp_path, monkeypatch, capsys
):
  def full_disk(*_, **__):
    raise tf.errors.ResourceExhaustedError(None, None, 'No space left on device')

  monkeypatch.setattr(tf.summary, 'scalar', full_disk)
  work = _runner(tmp_path)
  work.train(_Input(), _Input())
  assert work.checkpoints.steps()[-1] == 12
  assert [entry['step'] for entry in _history(tmp_path)] == [6, 12]
  lines = [line for line in capsys.readouterr().err.splitlines() if 'No space left' in line]
  assert [line.partition(':')[0] for line in lines] == [f'{tmp_path}/', f'{tmp_path}/eval']


@pytest.mark.slow
@pytest.mark.parametrize('damage', ['', '\0\0', '[]', '{"starts": 3}'])
def test_small_damaged_files_do_not_stop_a_job(tmp_path, capsys, damage):
  _runner(tmp_path, train_steps=6).train(_Input(), _Input())
  small = [tmp_path / 'run.json', tmp_path / 'eval' / 'results.jsonl']
  for path in (*small, tmp_path / 'best_objective.txt'):
    path.write_text(damage)
  run_info.write(str(tmp_path), {'flags': {'seed': 1}})
  assert len(json.loads(small[0].read_text())['starts']) == 1
  assert (tmp_path / 'run.json.damaged').read_text() == damage
  _runner(tmp_path).train(_Input(), _Input())
  assert [entry['step'] for entry in _history(tmp_path) if 'step' in entry] == [6, 12]
  error = capsys.readouterr().err
  assert 'run.json: expected the starts of the job, found' in error
  assert 'best_objective.txt: expected a number, found' in error


def test_some_steps_are_profiled_and_all_times_shown(tmp_path, capsys):
  """Both ends of the profile lie within loops, which end there."""
  work = _runner(tmp_path, profile_steps='7,10', iterations_per_loop=5)
  work.train(_Input(), None)
  assert work.checkpoints.steps()[-1] == 12
  (trace,) = tmp_path.glob('plugins/profile/*/*.xplane.pb')
  assert b'train' in trace.read_bytes()
  out, err = capsys.readouterr()
  assert f'Profile of the steps 7 to 10: {tmp_path}' in out
  last = [line for line in err.splitlines() if line.startswith('train step 12/12')][0]
  assert re.search(r'images/s .*, input \S+ ms \(\d+%\), compute \S+ ms/step$', last)


# ---- checkpoints that are written while training continues


def _slow_write(monkeypatch, seconds=0.3, fail_at=None):
  """Delays each write, and lets the one of step `fail_at` fail; returns the steps written."""
  write, written = checkpoints.write, []

  def slow(prefix, *args):
    time.sleep(seconds)
    step = int(prefix.rpartition('-')[2])
    if step == fail_at:
      raise OSError(f'{prefix}: the checkpoint cannot be written: No space left on device')
    write(prefix, *args)
    written.append(step)

  monkeypatch.setattr(checkpoints, 'write', slow)
  return written


MEANWHILE = {'use_async_checkpointing': True}


def test_checkpoints_are_written_meanwhile_on_accelerators_alone(tmp_path, monkeypatch):
  made, create = [], checkpoints.CheckpointManager
  monkeypatch.setattr(
    checkpoints, 'CheckpointManager',
    lambda *args, **kwargs: made.append(kwargs['asynchronous']) or create(*args, **kwargs),
  )  # fmt: skip
  _runner(tmp_path)
  _runner(tmp_path, **MEANWHILE)
  monkeypatch.setattr(distribute, 'on_cpus', lambda strategy: False)
  _runner(tmp_path)
  _runner(tmp_path, use_async_checkpointing=False)
  assert made == [False, True, True, False]


def test_sigterm_waits_for_the_checkpoint(tmp_path, monkeypatch):
  written = _slow_write(monkeypatch)
  with pytest.raises(cli.Interrupted) as stopped:
    _runner(tmp_path, **MEANWHILE).train(_Input(signal_at=4), None)
  assert f'at step {written[-1]}, saved' in str(stopped.value)
  assert checkpoints.read(str(tmp_path / f'model.ckpt-{written[-1]}'))


@pytest.mark.parametrize('step', [3, 12])
def test_a_failed_write_ends_the_job(tmp_path, monkeypatch, step):
  """The error is raised after the next loop; of the last one, at the end."""
  written = _slow_write(monkeypatch, 0.0, fail_at=step)
  with pytest.raises(OSError, match=f'ckpt-{step}: the checkpoint cannot be written: No space'):
    _runner(tmp_path, **MEANWHILE).train(_Input(), None)
  assert written == list(range(3, step, 3))
  assert claims.NAME not in os.listdir(tmp_path)


def test_an_error_of_the_job_is_not_hidden_by_one_of_the_writer(tmp_path, monkeypatch, capsys):
  _slow_write(monkeypatch, 0.0, fail_at=6)

  def broken(*_):
    raise ZeroDivisionError

  monkeypatch.setattr(Trainer, 'evaluate', broken)
  with pytest.raises(ZeroDivisionError):
    _runner(tmp_path, **MEANWHILE).train(_Input(), _Input())
  assert 'model.ckpt-6: the checkpoint cannot be written' in capsys.readouterr().err


def test_no_result_is_kept_of_a_checkpoint_that_failed(tmp_path, monkeypatch):
  _slow_write(monkeypatch, fail_at=6)
  with pytest.raises(OSError, match='No space left'):
    _runner(tmp_path, archive_ckpt=False, **MEANWHILE).train(_Input(), _Input())
  assert not (tmp_path / 'eval' / 'results.jsonl').exists()


@pytest.mark.slow
def test_writing_meanwhile_changes_no_bit(tmp_path):
  ends = []
  for meanwhile in (False, True):
    work = _runner(tmp_path / str(meanwhile), use_async_checkpointing=meanwhile)
    work.train(_Input(), None)
    ends.append([checkpoints.read(work.checkpoints.prefix(step))[0] for step in (3, 6, 9, 12)])
  for plain, found in zip(*ends, strict=True):
    _assert_same_bits(plain, found)
