"""Tests of batch norm against Keras' layer and against statistics computed with numpy."""
import keras
import numpy as np
import pytest
import tensorflow as tf

from tpu_utils import batch_norm

SHAPE = (4, 5, 6, 3)


def data(shape=SHAPE, seed=0, dtype=np.float32):
  return np.random.default_rng(seed).normal(2.0, 3.0, shape).astype(dtype)


def pair(**arguments):
  """Returns our layer and Keras', with the same random weights."""
  layers = [
    batch_norm.BatchNormalization(momentum=0.9, epsilon=1e-3, name='norm', **arguments),
    keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name='norm', **arguments),
  ]
  values = np.random.default_rng(1).uniform(0.5, 1.5, (4, SHAPE[-1]))
  for layer in layers:
    layer.build(SHAPE)
    layer.set_weights(list(values))
  return layers


def run(layer, x, training):
  """Returns the output, gradients of a weighted sum of it, and the updated moving statistics."""
  x = tf.constant(x)
  weights = tf.constant(data(x.shape, seed=2))
  with tf.GradientTape() as tape:
    tape.watch(x)
    y = layer(x, training=training)
    total = tf.reduce_sum(tf.cast(y, tf.float32) * weights)
  gradients = tape.gradient(total, [x, layer.gamma.value, layer.beta.value])
  moving = [layer.moving_mean.numpy(), layer.moving_variance.numpy()]
  return [np.asarray(t, np.float32) for t in (y, *gradients, *moving)]


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('shape', [SHAPE, (1, 1, 2, 3), (4, 3)])
def test_equals_keras(training, shape):
  ours, theirs = (run(layer, data(shape), training) for layer in _built(pair(), shape))
  for got, want in zip(ours, theirs, strict=True):
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-5)


def _built(layers, shape):
  if len(shape) == len(SHAPE):
    return layers
  values = layers[0].get_weights()
  fresh = [type(layer).from_config(layer.get_config()) for layer in layers]
  for layer in fresh:
    layer.build(shape)
    layer.set_weights(values)
  return fresh


def test_moving_variance_follows_the_biased_batch_variance():
  layer, _ = pair()
  layer.set_weights([np.ones(3), np.zeros(3), np.zeros(3), np.zeros(3)])
  x = data((1, 1, 2, 3))
  layer(x, training=True)
  np.testing.assert_allclose(layer.moving_variance, 0.1 * x.var((0, 1, 2)), rtol=1e-5)
  np.testing.assert_allclose(layer.moving_mean, 0.1 * x.mean((0, 1, 2)), rtol=1e-5)


def test_variance_of_a_single_value_is_zero():
  layer, _ = pair()
  layer.set_weights([np.ones(3), np.zeros(3), np.zeros(3), np.ones(3)])
  layer(data((1, 1, 1, 3)), training=True)
  np.testing.assert_allclose(layer.moving_variance, 0.9, rtol=1e-6)


def test_frozen_layer_keeps_its_statistics():
  layer, _ = pair()
  layer.trainable = False
  before = layer.get_weights()
  y = layer(data(), training=True)
  for then, now in zip(before, layer.get_weights(), strict=True):
    np.testing.assert_array_equal(then, now)
  gamma, beta, mean, variance = before
  want = (data() - mean) / np.sqrt(variance + 1e-3) * gamma + beta
  np.testing.assert_allclose(y, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('training', [True, False])
def test_bfloat16_images_keep_float32_statistics(training):
  ours, theirs = pair(dtype='mixed_bfloat16')
  x = tf.cast(data(), tf.bfloat16)
  got, want = run(ours, x, training), run(theirs, x, training)
  assert ours(x).dtype == tf.bfloat16
  assert ours.moving_variance.dtype == 'float32'
  for a, b in zip(got[:2], want[:2], strict=True):
    np.testing.assert_allclose(a, b, rtol=0.02, atol=0.05)
  for a, b in zip(got[4:], want[4:], strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4)


@pytest.mark.parametrize(
  'arguments', [{'scale': False}, {'center': False}, {'axis': 1}, {'dtype': 'float64'}]
)
def test_arguments_without_a_fused_kernel_equal_keras(arguments):
  layers = [
    cls(momentum=0.9, name='norm', **arguments)
    for cls in (batch_norm.BatchNormalization, keras.layers.BatchNormalization)
  ]
  outputs = [np.asarray(layer(data(), training=True)) for layer in layers]
  np.testing.assert_allclose(*outputs, rtol=1e-5, atol=1e-6)


def test_unknown_sizes_in_a_function():
  ours, theirs = pair()
  function = tf.function(
    lambda x: ours(x, training=True), input_signature=[tf.TensorSpec((None, None, None, 3))]
  )
  np.testing.assert_allclose(function(data()), theirs(data(), training=True), rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(ours.moving_variance, theirs.moving_variance, rtol=1e-5)


@pytest.mark.parametrize(
  ('replicas', 'group'), [(1, 1), (8, 1), (16, 8), (32, 8), (64, 8), (128, 16), (1024, 128)]
)
def test_official_groups(replicas, group):
  assert batch_norm.official_replicas_per_group(replicas) == group


@pytest.mark.parametrize(
  ('replicas', 'batch', 'norm_batch', 'group'),
  [(8, 1024, 64, 8), (32, 4096, 1024, 8), (1024, 32768, 64, 2), (1024, 65536, 32, 1)],
)
def test_lars_groups(replicas, batch, norm_batch, group):
  assert batch_norm.lars_replicas_per_group(replicas, batch, norm_batch) == group


def test_one_replica_in_a_group_of_its_own_uses_its_batch():
  layer, plain = pair()
  layer.replicas_per_group = 1
  np.testing.assert_allclose(
    layer(data(), training=True), plain(data(), training=True), rtol=1e-4, atol=1e-5
  )


def test_groups_of_two_among_four_unequal_replicas(four_replicas):
  with four_replicas.scope():
    layer = batch_norm.BatchNormalization(momentum=0.9, name='norm')
    model = keras.Sequential([keras.Input(SHAPE[1:]), layer])
  batch_norm.set_replicas_per_group(model, 2)
  parts = [i + data(seed=3 + i) for i in range(4)]
  values = four_replicas.experimental_distribute_values_from_function(
    lambda context: tf.constant(parts[context.replica_id_in_sync_group])
  )
  step = tf.function(lambda x: four_replicas.run(lambda part: layer(part, training=True), (x,)))
  got = [y.numpy() for y in four_replicas.experimental_local_results(step(values))]
  for i in (0, 2):
    group = np.concatenate(parts[i : i + 2])
    want = (group - group.mean((0, 1, 2))) / np.sqrt(group.var((0, 1, 2)) + 1e-3)
    np.testing.assert_allclose(np.concatenate(got[i : i + 2]), want, rtol=1e-3, atol=1e-4)
  first = np.concatenate(parts[:2])
  np.testing.assert_allclose(layer.moving_mean, 0.1 * first.mean((0, 1, 2)), rtol=1e-4)
  np.testing.assert_allclose(layer.moving_variance, 0.9 + 0.1 * first.var((0, 1, 2)), rtol=1e-4)
