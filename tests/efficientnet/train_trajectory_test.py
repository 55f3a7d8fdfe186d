"""A training step that is built from our public pieces repeats the official training.

Every learning rate, loss, logit, gradient, variable, optimizer slot and moving average of six steps
is compared with the official code's.
"""
import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.efficientnet import trajectory
from tpu_utils import batch_norm, losses


class Training:
  """Official training step built from our public pieces, on any strategy."""

  def __init__(self, recording, strategy):
    self.recording, self.strategy = recording, strategy
    with strategy.scope():
      self.model = recording.build_model()
      batch_norm.set_replicas_per_group(self.model, strategy.num_replicas_in_sync)
      self.optimizer = recording.build_optimizer()
      self.optimizer.build(self.model.trainable_variables)
      self.average = recording.build_ema()
      self.average.build(self.model.variables)
    self.learning_rate = recording.build_learning_rate()
    self.decayed = losses.non_batch_norm_variables(self.model)

  def state(self):
    return trajectory.state_of(self.model, self.optimizer, self.average)

  def run_step(self, step):
    """Trains on the recording's batch; returns (arguments of `check_outputs`, {path: gradient})."""
    replicas = self.strategy.num_replicas_in_sync
    shards = {k: np.split(v, replicas) for k, v in self.recording.batch(step).items()}
    batch = self.strategy.experimental_distribute_values_from_function(
      lambda c: {k: tf.constant(v[c.replica_id_in_sync_group]) for k, v in shards.items()}
    )
    return self._step(batch, tf.constant(step, tf.int64))

  @tf.function
  def _step(self, batch, step):
    local = self.strategy.experimental_local_results
    cross_entropy, penalty, logits, gradients = self.strategy.run(self._replica_step, (batch, step))
    cross_entropy = tf.add_n(local(cross_entropy))
    outputs = {
      'learning_rate': self.learning_rate(step),
      'cross_entropy': cross_entropy,
      'total_loss': cross_entropy + tf.add_n(local(penalty)),
      'logits': tf.concat(local(logits), axis=0),
    }
    return outputs, {path: local(gradient)[0] for path, gradient in gradients.items()}

  def _replica_step(self, batch, step):
    config, variables = self.recording.config, self.model.trainable_variables
    context = tf.distribute.get_replica_context()
    with tf.GradientTape() as tape:
      logits = self.model(batch['images'], training=True)
      each = losses.softmax_cross_entropy(batch['labels'], logits, config['label_smoothing'])
      cross_entropy = tf.reduce_sum(each) / config['batch_size']
      penalty = losses.l2_weight_decay(self.decayed, config['weight_decay'])
      penalty /= context.num_replicas_in_sync
      loss = cross_entropy + penalty
    gradients = context.all_reduce('sum', tape.gradient(loss, [v.value for v in variables]))
    self.optimizer.apply(gradients, self.learning_rate(step))
    self.average.apply(step + 1)
    paths = [v.path for v in variables]
    return cross_entropy, penalty, logits, dict(zip(paths, gradients, strict=True))


def check_training(recording, strategy):
  training = Training(recording, strategy)
  recording.check_start(training.model, training.state())
  for step in range(recording.steps):
    outputs, gradients = training.run_step(step)
    recording.check_outputs(step, **outputs)
    recording.check_gradients(
      step, training.model, {path: g.numpy() for path, g in gradients.items()}
    )
    recording.check_state(step, training.model, training.state())
  return training


@functools.cache
def trained(case):
  """Trains on one device, checks every step, and returns the training."""
  return check_training(trajectory.Recording(case), tf.distribute.get_strategy())


@pytest.mark.slow
@pytest.mark.parametrize('case', trajectory.CASES)
def test_repeats_the_official_training(case):
  trained(case)


@pytest.mark.slow
@pytest.mark.long
def test_two_replicas_with_joint_batch_norm_repeat_it(two_replicas):
  training = check_training(trajectory.Recording('rmsprop_exponential'), two_replicas)
  for variable in training.model.variables:
    np.testing.assert_array_equal(*two_replicas.experimental_local_results(variable.value))


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['var', 'ema', 'slot:rms', 'slot:momentum'])
def test_a_difference_of_one_per_cent_in_one_array_fails(kind):
  training = trained('rmsprop_exponential')
  recording, model, state = training.recording, training.model, training.state()
  recording.check_state(5, model, state)
  with pytest.raises(AssertionError):
    recording.check_state(4, model, state)
  state[kind, 'stem_conv2d/kernel'] = state[kind, 'stem_conv2d/kernel'] * 1.01
  with pytest.raises(AssertionError, match=f'{kind} stem_conv2d/kernel after step 5'):
    recording.check_state(5, model, state)
