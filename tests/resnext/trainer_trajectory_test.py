"""The trainer reproduces steps of the official training, from the settings of `resnext.main`.

`resnext_model_test.py` compares network and update rule in float64, without the trainer.
"""
import numpy as np
import pytest
import tensorflow as tf

import resnext
from resnext import main
from tests.resnext import golden
from tpu_utils import config
from tpu_utils.image_jobs import train

BATCH_SIZE = 8
# This untrained network amplifies rounding errors, on some processors more than on others: float32
# is up to 0.0005 off in the third step. A momentum of 0.8 would be 0.004 off, and plain momentum
# instead of Nesterov's 0.2.
TOLERANCES = (1e-5, 5e-4, 2.5e-3)
STEPS = len(TOLERANCES)


def _settings(*arguments):
  """Returns (DataConfig, OptimizationConfig) for a command line."""
  resolved = main.SCRIPT.resolve({'data_dir': 'x', **main.SCRIPT.parse(arguments)[0]})
  return [resolved.get(group) for group in (config.DataConfig, config.OptimizationConfig)]


def _batches():
  for step in range(STEPS):
    rng = np.random.default_rng(step)
    images = rng.normal(size=(BATCH_SIZE, 32, 32, 3)).astype(np.float32)
    labels = rng.integers(0, 10, BATCH_SIZE)
    yield {'images': images, 'labels': np.eye(10, dtype=np.float32)[labels]}


def _train(*arguments):
  """Returns (logs of the steps, half the sum of squares of all initial parameters)."""
  data, optimization = _settings(
    f'--train_batch_size={BATCH_SIZE}', '--notranspose_input', '--lr_schedule=constant',
    f'--base_learning_rate={0.001 * 256 / BATCH_SIZE}', *arguments,
  )  # fmt: skip
  strategy = tf.distribute.OneDeviceStrategy('CPU:0')
  with strategy.scope():
    model = resnext.build_model('resnext-29-4x8d', **golden.NOT_NORMALISED)
  golden.set_weights(model)
  squares = sum(np.square(v.numpy(), dtype=float).sum() for v in model.trainable_variables) / 2
  trainer = train.make_trainer(strategy, model, data, optimization, STEPS)
  stacked = {name: np.stack([b[name] for b in _batches()]) for name in ('images', 'labels')}
  iterator = trainer.train_iterator(lambda _: tf.data.Dataset.from_tensor_slices(stacked))
  return [trainer.train(iterator, 1) for _ in range(STEPS)], squares


@pytest.mark.slow
@pytest.mark.parametrize(
  'file, arguments',
  [
    ('train_cifar_4x8d_lr0.001.npz', []),
    ('train_cifar_4x8d_lr0.001_nonesterov.npz', ['--nonesterov']),
  ],
)
def test_the_trainer_repeats_the_official_training(file, arguments):
  want = golden.read_npz(file)
  logs, squares = _train(*arguments)
  losses = [float(log['cross_entropy']) for log in logs]
  assert (np.abs(losses - want['loss_f64'][:STEPS]) < TOLERANCES).all(), losses
  # The L2 penalty shows which parameters decay; those of batch norm are a third of it.
  assert logs[0]['loss'] - logs[0]['cross_entropy'] == pytest.approx(1e-4 * squares, rel=1e-4)
