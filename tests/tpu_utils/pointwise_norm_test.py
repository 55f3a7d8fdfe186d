"""Tests of batch norm joined with its 1x1 convolution: values and gradients of the two apart."""
import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tpu_utils.preflight.checks_test import needs_compiler, python_with_jax
from tpu_utils import batch_norm, pointwise_norm
from tpu_utils.preflight import compiling, lowering

EPSILON = 1e-3
NAMES = ('outputs', 'mean', 'variance', 'of inputs', 'of kernel', 'of gamma', 'of beta')


def operands(dtype, shift=1.0, shape=(4, 6, 5, 3), wide=12, seed=0):
  """Returns inputs whose mean is large (by `shift`), kernel, gamma, beta, upstream gradient."""
  rng = np.random.default_rng(seed)
  inputs = rng.normal(shift, 1, shape)
  upstream = rng.normal(0.3, 1, (*shape[:3], wide))
  kernel = rng.normal(0, 0.6, (1, 1, shape[-1], wide))
  gamma, beta = rng.uniform(0.5, 2, wide), rng.normal(0, 1, wide)
  given = [tf.cast(x, dtype) for x in (inputs, kernel)]
  return [*given, tf.cast(gamma, tf.float32), tf.cast(beta, tf.float32), tf.cast(upstream, dtype)]


def apart(inputs, kernel, gamma, beta):
  features = tf.nn.conv2d(inputs, kernel, 1, 'VALID')
  return tf.raw_ops.FusedBatchNormV3(
    x=features, scale=gamma, offset=beta, mean=tf.zeros([0]), variance=tf.zeros([0]),
    epsilon=EPSILON, is_training=True,
  )[:3]  # fmt: skip


def joined(inputs, kernel, gamma, beta):
  return pointwise_norm.normalized(inputs, kernel, gamma, beta, EPSILON)


def results(function, inputs, kernel, gamma, beta, upstream):
  """Returns {name: float64 array} of outputs and gradients; traced, as in a training step."""

  @tf.function
  def run(inputs, kernel, gamma, beta, upstream):
    with tf.GradientTape() as tape:
      tape.watch([inputs, kernel, gamma, beta])
      outputs = function(inputs, kernel, gamma, beta)
    gradients = tape.gradient(outputs[0], [inputs, kernel, gamma, beta], upstream)
    return [*outputs, *gradients]

  values = run(inputs, kernel, gamma, beta, upstream)
  return {name: np.float64(tf.cast(x, tf.float32)) for name, x in zip(NAMES, values, strict=True)}


def exact(inputs, kernel, gamma, beta, upstream):
  """Returns what `results` returns, computed in float64 by differentiating the definition."""
  given = [tf.cast(x, tf.float64) for x in (inputs, kernel, gamma, beta)]
  with tf.GradientTape() as tape:
    tape.watch(given)
    features = tf.einsum('nhwi,io->nhwo', given[0], given[1][0, 0])
    mean, variance = tf.nn.moments(features, [0, 1, 2])
    outputs = (features - mean) * tf.math.rsqrt(variance + EPSILON) * given[2] + given[3]
  gradients = tape.gradient(outputs, given, tf.cast(upstream, tf.float64))
  count = np.prod(features.shape[:3])
  values = [outputs, mean, variance * count / (count - 1), *gradients]
  return dict(zip(NAMES, map(np.float64, values), strict=True))


def errors(got, want):
  """Returns {name: root mean square of the differences, in units of the root mean square}."""
  return {
    name: np.sqrt(np.mean((got[name] - want[name]) ** 2) / np.mean(want[name] ** 2))
    for name in NAMES
  }


@pytest.mark.parametrize('shift', [0.0, 30.0])
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_is_as_exact_as_the_two_operations(dtype, shift):
  given = operands(dtype, shift, shape=(8, 8, 8, 4), wide=16)
  want = exact(*given)
  joint, plain = (errors(results(f, *given), want) for f in (joined, apart))
  for name in NAMES:
    # Both round, at different places: in 16 bits the operands, in 32 the sums.
    limit = 1e-5 if dtype == 'float32' else 0.01
    assert joint[name] <= max(3 * plain[name], limit), (name, joint[name], plain[name])


def test_16_bit_gradients_do_not_depend_on_the_mean_of_the_inputs():
  """Apart, features far from 0 lose their digits before batch norm subtracts the mean."""
  given = operands('bfloat16', 30.0, shape=(8, 8, 8, 4), wide=16)
  want = exact(*given)
  joint, plain = (errors(results(f, *given), want) for f in (joined, apart))
  assert joint['of kernel'] < 0.01 < plain['of kernel']


def test_a_gradient_along_the_outputs_vanishes():
  """Batch norm undoes a scaling of its input, so nothing of such a gradient reaches the kernel."""
  inputs, kernel, gamma, _, _ = operands(tf.float32)
  beta = tf.zeros_like(gamma)
  outputs = joined(inputs, kernel, gamma, beta)[0]
  found = results(joined, inputs, kernel, gamma, beta, outputs)
  np.testing.assert_allclose(found['of inputs'], 0, atol=0.05)  # Not 0: epsilon.
  np.testing.assert_allclose(found['of kernel'], 0, atol=0.05 * len(tf.reshape(outputs, [-1])))


def convolved(filters, size=1, strides=1, groups=1, shape=(4, 6, 6, 4)):
  """Returns what `convolution_of` finds in a graph with this convolution of Keras."""
  layer = keras.layers.Conv2D(filters, size, strides, groups=groups, use_bias=False)
  layer.build(shape)
  found = []

  @tf.function
  def run(x):
    outputs = tf.nn.conv2d(x, layer.kernel, strides, 'VALID') if groups > 1 else layer(x)
    found.append(pointwise_norm.convolution_of(outputs))
    return outputs

  run.get_concrete_function(tf.TensorSpec(shape))
  return found[0]


def test_widening_1x1_convolutions_are_found():
  inputs, kernel = convolved(16)
  assert inputs.shape == (4, 6, 6, 4)
  assert kernel.shape == (1, 1, 4, 16)


@pytest.mark.parametrize(
  'arguments', [{'filters': 12}, {'filters': 16, 'size': 3}, {'filters': 16, 'strides': 2},
                {'filters': 16, 'groups': 2}],
  ids=['narrow', '3x3', 'strides', 'groups'],
)  # fmt: skip
def test_other_convolutions_are_left_alone(arguments):
  assert convolved(**arguments) is None


def test_no_convolution_and_no_graph():
  assert pointwise_norm.convolution_of(tf.zeros([1, 2, 2, 3])) is None


def model():
  images = keras.Input((8, 8, 3))
  x = keras.layers.Conv2D(12, 1, use_bias=False, name='expand')(images)
  x = batch_norm.BatchNormalization(momentum=0.9, name='norm')(x)
  x = keras.layers.Activation('silu')(x)
  return keras.Model(images, keras.layers.GlobalAveragePooling2D()(x))


def trained(strategy):
  """Returns gradients and weights of a model after a step, and its plain operations."""
  keras.utils.set_random_seed(3)
  with strategy.scope():
    network = model()
  images = tf.constant(np.random.default_rng(5).normal(1, 2, (4, 8, 8, 3)), tf.float32)

  @tf.function
  def step(images):
    def replica(images):
      with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(images, training=True) ** 2)
      return tape.gradient(loss, [v.value for v in network.trainable_variables])

    return strategy.run(replica, args=(images,))

  nodes = step.get_concrete_function(images).graph.as_graph_def().node
  gradients = step(images)
  values = [*(g.numpy() for g in gradients), *network.get_weights()]
  return values, any(node.op == 'FusedBatchNormV3' for node in nodes)


def test_layers_join_on_a_tpu_only():
  with_tpu, plain_operations = trained(lowering.tpu_like_strategy())
  assert not plain_operations  # It is inside of the joined function.
  on_cpu, plain_operations = trained(tf.distribute.OneDeviceStrategy('CPU:0'))
  assert plain_operations
  for got, want in zip(with_tpu, on_cpu, strict=True):
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * np.abs(want).max())


def wide_step(joined):
  """Lowers a training step of EfficientNet-B0's widest tensor: 96 channels of 112 by 112 pixels."""
  strategy = lowering.tpu_like_strategy()
  kind = batch_norm.BatchNormalization if joined else keras.layers.BatchNormalization
  with strategy.scope():
    images = keras.Input((112, 112, 16), name='images', dtype='bfloat16')
    settings = {'use_bias': False, 'dtype': 'mixed_bfloat16'}
    x = keras.layers.Conv2D(16, 1, name='before', **settings)(images)
    x = keras.layers.Conv2D(96, 1, name='expand', **settings)(x)
    x = kind(name='norm', dtype='mixed_bfloat16')(x)
    x = keras.layers.Activation('silu', dtype='mixed_bfloat16')(x)
    x = keras.layers.DepthwiseConv2D(3, 2, 'same', name='depthwise', **settings)(x)
    x = keras.layers.GlobalAveragePooling2D(dtype='mixed_bfloat16')(x)
    network = keras.Model(images, keras.layers.Dense(10, dtype='float32')(x))
  weights = [v.value for v in network.trainable_variables]

  def step(batch, _):
    def replica(images):
      with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(weights)
        loss = tf.reduce_sum(network(images, training=True) ** 2)
      for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
        weight.assign_sub(gradient)
      return loss

    return strategy.run(replica, args=(batch['images'],))

  spec = {'images': tf.TensorSpec((128, 112, 112, 16), tf.bfloat16)}
  signature = [spec, tf.TensorSpec([], tf.int64)]
  return lowering.lower(tf.function(step, input_signature=signature, jit_compile=True), spec)


@needs_compiler
@pytest.mark.slow
@pytest.mark.long
def test_the_tpu_compiler_moves_fewer_bytes():
  compiler = compiling.TpuCompiler('v5e:2x2', '', python_with_jax())
  ours, plain = (
    compiler.compile(wide_step(each), 'a block').hbm_bytes for each in (True, False)
  )
  assert ours < 0.85 * plain, (ours, plain)
