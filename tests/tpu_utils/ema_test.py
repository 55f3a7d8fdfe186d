"""Tests of the average against numpy, on one replica and on two with different values."""
import keras
import numpy as np
import pytest
import tensorflow as tf

from tpu_utils import ema


def small_model():
  return keras.Sequential([
    keras.Input((3,), name='x'),
    keras.layers.Dense(2, name='dense'),
    keras.layers.BatchNormalization(name='norm'),
    keras.layers.Dropout(0.5, name='dropout'),
  ], name='small')


@pytest.mark.parametrize('xla', [False, pytest.param(True, marks=pytest.mark.host_xla)])
def test_follows_weights_and_moving_statistics_with_the_ramp(xla):
  model = small_model()
  average = ema.ExponentialMovingAverage(0.5)
  average.build(model.variables)
  paths = [f'small/dense/{n}' for n in ('kernel', 'bias')] + [
    f'small/norm/{n}' for n in ('gamma', 'beta', 'moving_mean', 'moving_variance')
  ]
  assert [path.split('/')[-2:] for path in average.variables] == [p.split('/')[-2:] for p in paths]

  rng = np.random.default_rng(0)
  followed = {v.path: v for v in model.variables if v.path in average.variables}
  expected = {path: v.numpy().astype(np.float64) for path, v in followed.items()}
  apply = tf.function(average.apply, jit_compile=xla)
  for step in range(1, 13):
    decay = min(0.5, (1 + step) / (10 + step))  # 2/11 at first; the limit is reached at step 8.
    for path, variable in followed.items():
      variable.assign(rng.normal(size=variable.shape))
      expected[path] += (1 - decay) * (variable.numpy() - expected[path])
    apply(tf.constant(step, tf.int64))
    for path, shadow in average.variables.items():
      np.testing.assert_allclose(shadow.numpy(), expected[path], rtol=1e-5, atol=1e-6)


def test_equals_tensorflow_1_to_the_bit():
  rng = np.random.default_rng(1)
  variable = keras.Variable(rng.normal(size=(64,)).astype(np.float32), name='v')
  theirs = tf.Variable(variable.numpy())
  average = ema.ExponentialMovingAverage(0.9999)
  average.build([variable])
  for step in range(1, 6):
    value = rng.normal(size=(64,)).astype(np.float32)
    variable.assign(value)
    average.apply(step)
    count = tf.cast(step, tf.float32)
    decay = tf.minimum(0.9999, (1.0 + count) / (10.0 + count))
    theirs.assign_sub((theirs - value) * (1.0 - decay))
  np.testing.assert_array_equal(average.variables['v'].numpy(), theirs.numpy())


@pytest.mark.parametrize(
  'mode', ['eager', 'graph', pytest.param('xla', marks=pytest.mark.host_xla)]
)
def test_swap_exchanges_bit_for_bit(mode):
  model = small_model()
  average = ema.ExponentialMovingAverage(0.9)
  average.build(model.variables)
  model.set_weights([w + 1 / 3 if w.dtype == np.float32 else w for w in model.get_weights()])
  swap = average.swap
  if mode != 'eager':
    swap = tf.function(swap, jit_compile=mode == 'xla')
  trained = {v.path: v.numpy() for v in model.variables}
  shadows = {path: v.numpy() for path, v in average.variables.items()}
  swap()
  for variable in model.variables:
    expected = shadows.get(variable.path, trained[variable.path])
    np.testing.assert_array_equal(variable.numpy(), expected)
  swap()
  for variable in model.variables:
    np.testing.assert_array_equal(variable.numpy(), trained[variable.path])
  for path, shadow in average.variables.items():
    np.testing.assert_array_equal(shadow.numpy(), shadows[path])


def test_each_replica_follows_its_own_statistics(two_replicas):
  with two_replicas.scope():
    model = small_model()
    average = ema.ExponentialMovingAverage(0.9)
    average.build(model.variables)
  mean = next(v for v in model.variables if v.name == 'moving_mean')

  @tf.function
  def step(n):
    def replica_step():
      replica = tf.distribute.get_replica_context().replica_id_in_sync_group
      value = tf.fill(mean.shape, tf.cast(replica, tf.float32) * 10 + tf.cast(n, tf.float32))
      tf.raw_ops.AssignVariableOp(resource=mean.value.handle, value=value)
      average.apply(n)
    two_replicas.run(replica_step)

  def local(variable):
    return np.array([v.numpy()[0] for v in two_replicas.experimental_local_results(variable)])

  expected = np.zeros(2)
  for n in range(1, 4):
    step(tf.constant(n))
    expected += (1 - (1 + n) / (10 + n)) * (np.array([0, 10]) + n - expected)
  shadow = average.variables[mean.path]
  np.testing.assert_allclose(local(shadow), expected, rtol=1e-6)

  swap = tf.function(lambda: two_replicas.run(average.swap))
  averaged, trained = local(shadow), local(mean.value)
  swap()
  np.testing.assert_array_equal(local(mean.value), averaged)
  np.testing.assert_array_equal(local(shadow), trained)


def test_decay_zero_keeps_no_average():
  model = small_model()
  before = model.get_weights()
  average = ema.ExponentialMovingAverage(0)
  average.build(model.variables)
  average.apply(1)
  average.swap()
  assert average.variables == {}
  for value, was in zip(model.get_weights(), before, strict=True):
    np.testing.assert_array_equal(value, was)


@pytest.mark.parametrize('decay', [1, -0.1, 1.5, float('nan')])
def test_a_decay_out_of_range_is_refused(decay):
  with pytest.raises(ValueError, match='moving_average_decay must be at least 0 and below 1'):
    ema.ExponentialMovingAverage(decay)
