"""`efficientnet.main` on two replicas: in one process, and in two worker processes."""
import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from efficientnet import main
from tests import local_cluster, script_jobs
from tpu_utils import batch_norm, checkpoints, config, distribute
from tpu_utils.image_jobs import train

pytestmark = pytest.mark.slow

STEPS = 6
QUICK = (
  '--width_coefficient=0.2', '--depth_coefficient=0.1', '--train_batch_size=16',
  f'--train_steps={STEPS}', '--steps_per_eval=3', '--iterations_per_loop=3',
)  # fmt: skip


def _in_process(*arguments):
  script_jobs.in_process(main.SCRIPT, *QUICK, *arguments)


class _LikeTwoHosts:
  """Input that gives one host's two replicas the records that two hosts would read."""

  def __init__(self, images):
    self._images = images
    self.eval_dataset, self.explain = images.eval_dataset, images.explain

  def train_dataset(self, context, start_example):
    del context
    contexts = [tf.distribute.InputContext(2, i, 2) for i in range(2)]
    hosts = [self._images.train_dataset(context, start_example) for context in contexts]
    return tf.data.Dataset.choose_from_datasets(hosts, tf.data.Dataset.range(2).repeat())


@pytest.fixture(scope='module')
def two_devices():
  """Makes `--strategy=mirrored` use two logical CPU devices."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(distribute, '_local_devices', lambda: ['CPU:0', 'CPU:1'])
    yield


@pytest.fixture(scope='module')
def mirrored(tmp_path_factory, two_devices):
  """Returns the folder of a job on two replicas in this process, with the input of two workers."""
  folder = tmp_path_factory.mktemp('mirrored')
  make_input = train.make_input
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(train, 'make_input', lambda *args: _LikeTwoHosts(make_input(*args)))
    _in_process(
      '--strategy=mirrored', f'--model_dir={folder}', f'--export_dir={folder}/export', '--noreport'
    )
  return folder


@pytest.fixture(scope='module')
def workers(tmp_path_factory):
  """Returns the folder of the same job on two workers, and their outputs."""
  folder = tmp_path_factory.mktemp('workers')
  command = [
    '-m', 'efficientnet.main', *QUICK, '--strategy=multi_worker', f'--model_dir={folder}',
    f'--export_dir={folder}/export',
  ]  # fmt: skip
  finished = local_cluster.run([command] * 2)
  for worker in finished:
    assert worker.returncode == 0, worker.stderr
  return folder, [worker.stdout for worker in finished]


def _history(folder):
  return [json.loads(line) for line in (folder / 'eval' / 'results.jsonl').read_text().splitlines()]


@pytest.mark.long
def test_two_replicas_of_one_process(mirrored):
  start = json.loads((mirrored / 'run.json').read_text())['starts'][0]
  assert start['strategy'] == 'MirroredStrategy, 2 replicas'
  assert [entry['step'] for entry in _history(mirrored)] == [3, STEPS]
  loaded = keras.models.load_model(mirrored / 'export' / 'model.keras')
  assert loaded(np.zeros((2, 32, 32, 3), np.float32)).shape == (2, 10)


@pytest.mark.long
def test_two_workers_train_the_same_as_two_replicas_of_one_process(mirrored, workers):
  folder, _ = workers
  start = json.loads((folder / 'run.json').read_text())['starts'][0]
  assert start['strategy'] == 'MultiWorkerMirroredStrategy, 2 replicas'
  assert 'all 355 evaluation images' in (folder / 'report.md').read_text(encoding='utf-8')
  for step in (3, STEPS):
    expected, found = (checkpoints.read(f'{f}/model.ckpt-{step}')[0] for f in (mirrored, folder))
    assert expected.keys() == found.keys()
    for name in expected:
      limit = 1e-5 * np.sqrt(np.mean(np.square(expected[name], dtype=float))) + 1e-6
      np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=limit, err_msg=name)


@pytest.mark.long
def test_two_workers_evaluate_and_export_the_same(mirrored, workers):
  folder, _ = workers
  for expected, found in zip(_history(mirrored), _history(folder), strict=True):
    assert found == pytest.approx(expected, rel=1e-4)
  first, second = (
    keras.models.load_model(path / 'export' / 'model.keras') for path in (mirrored, folder)
  )
  for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.long
def test_one_worker_exports(workers):
  _, outputs = workers
  assert ['Exported' in output for output in outputs] == [True, False]


@pytest.mark.parametrize(
  'argument, message',
  [
    ('--train_batch_size=15', 'does not divide among 2 replicas; take 14 or 16.'),
    ('--eval_batch_size=1', 'does not divide among 2 replicas; take 2 or 2.'),
  ],
)
def test_batch_size_must_divide_among_replicas(tmp_path, two_devices, argument, message):
  with pytest.raises(ValueError) as error:
    _in_process('--strategy=mirrored', f'--model_dir={tmp_path}', argument)
  assert str(error.value).startswith(f'{argument} {message}')
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'optimizer, replicas, batch_norm_batch_size, group',
  [
    ('rmsprop', 2, 128, 1), ('rmsprop', 8, 128, 1), ('rmsprop', 32, 128, 8),
    ('rmsprop', 128, 128, 16), ('lars', 2, 128, 2), ('lars', 32, 128, 2), ('lars', 32, 1024, 16),
  ],
)  # fmt: skip
def test_batch_norm_groups_are_the_official_ones(
  monkeypatch, optimizer, replicas, batch_norm_batch_size, group
):
  """They depend on the optimizer and the number of replicas, as in the official code."""
  monkeypatch.setattr(train, 'Trainer', lambda strategy, model, *args, **kwargs: model)
  images = keras.Input((4, 4, 3), name='images')
  model = keras.Model(images, batch_norm.BatchNormalization(name='norm')(images))
  made = train.make_trainer(
    types.SimpleNamespace(num_replicas_in_sync=replicas),
    model,
    config.DataConfig(train_batch_size=2048),
    config.OptimizationConfig(optimizer=optimizer, batch_norm_batch_size=batch_norm_batch_size),
    100,
  )
  assert made.get_layer('norm').replicas_per_group == group
