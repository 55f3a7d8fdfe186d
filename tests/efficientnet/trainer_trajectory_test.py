"""The trainer repeats the official training, with the settings that `efficientnet.main` reads.

`train_trajectory_test.py` tests the same for the trainer's pieces.
"""
import numpy as np
import pytest
import tensorflow as tf

from tests.efficientnet import trajectory
from tpu_utils import config
from tpu_utils.image_jobs import train


def _trainer(recording, strategy):
  c = recording.config
  data = config.DataConfig(
    train_batch_size=c['train_batch_size'],
    num_train_images=c['steps_per_epoch'] * c['train_batch_size'],
    num_label_classes=c['num_classes'],
    transpose_input=False,
  )
  optimization = config.OptimizationConfig(
    optimizer=c['optimizer'],
    base_learning_rate=c['base_learning_rate'],
    lr_schedule=c['lr_schedule'],
    lr_decay_epoch=c['lr_decay_epoch'],
    lr_decay_factor=c['lr_decay_factor'],
    lr_warmup_epochs=c['warmup_epochs'],
    moving_average_decay=c['moving_average_decay'],
    weight_decay=c['weight_decay'],
    label_smoothing=c['label_smoothing'],
    lars_weight_decay=c['lars_weight_decay'],
    lars_epsilon=c['lars_epsilon'],
  )
  with strategy.scope():
    model = recording.build_model()
  return train.make_trainer(strategy, model, data, optimization, c['train_steps'])


def _iterator(recording, trainer):
  batches = [recording.batch(step) for step in range(recording.steps)]
  stacked = {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}

  def dataset(context):
    size = context.get_per_replica_batch_size(recording.config['batch_size'])
    return tf.data.Dataset.from_tensor_slices(stacked).unbatch().batch(size, drop_remainder=True)

  return trainer.train_iterator(dataset)


def _state(trainer):
  """Returns a checkpoint's arrays with the recording's names, {(kind, path): array}."""
  state = {}
  for name, variable in trainer.variables().items():
    kind, path = name.split('/', 1)
    if kind == 'optimizer':
      slot, path = path.split('/', 1)
      kind = f'slot:{slot}'
    state[{'model': 'var'}.get(kind, kind), path] = variable.numpy()
  return state


def _check_training(case, strategy):
  recording = trajectory.Recording(case)
  trainer = _trainer(recording, strategy)
  recording.check_start(trainer.model, _state(trainer))
  iterator = _iterator(recording, trainer)
  for step in range(recording.steps):
    logs = trainer.train(iterator, 1)
    recording.check_learning_rate(step, logs['learning_rate'])
    recording.check_loss(step, logs['cross_entropy'], logs['loss'])
    recording.check_gradient_norm(step, logs['gradient_norm'])
    trainer.synchronize()
    recording.check_state(step, trainer.model, _state(trainer))


@pytest.mark.slow
@pytest.mark.parametrize('case', trajectory.CASES)
def test_the_trainer_repeats_the_official_training(case):
  _check_training(case, tf.distribute.OneDeviceStrategy('CPU:0'))


@pytest.mark.slow
@pytest.mark.long
def test_two_replicas_repeat_it_when_the_official_batch_norm_spans_them(two_replicas):
  """Which it does only with LARS; `make_trainer` sets the groups."""
  _check_training('lars_poly', two_replicas)
