"""The depthwise convolution and its kernel gradient against TensorFlow's."""
import numpy as np
import pytest
import tensorflow as tf

from efficientnet.condconv import depthwise_tf
from tpu_utils.preflight import lowering


def inputs_and_kernel(kernel_size, dtype=tf.float32):
  rng = np.random.default_rng(0)
  shapes = (2, 9, 8, 6), (*kernel_size, 6, 1)
  return [tf.constant(rng.normal(size=shape), dtype) for shape in shapes]


def gradients(function, arguments):
  with tf.GradientTape() as tape:
    tape.watch(arguments)
    outputs = function(*arguments)
    loss = tf.reduce_sum(tf.sin(tf.cast(outputs, tf.float32)))
  return [outputs, *tape.gradient(loss, arguments)]


@pytest.mark.parametrize('padding', ['same', 'valid'])
@pytest.mark.parametrize('stride', [1, 2, 3])
@pytest.mark.parametrize('kernel_size', [(1, 1), (2, 2), (3, 5), (5, 5)])
def test_values_and_gradients(kernel_size, stride, padding):
  arguments = inputs_and_kernel(kernel_size)
  strides = (stride, stride)
  got = gradients(lambda *x: depthwise_tf.depthwise_conv(*x, strides, padding), arguments)
  want = gradients(
    lambda *x: tf.nn.depthwise_conv2d(*x, (1, *strides, 1), padding.upper()), arguments
  )
  for ours, theirs in zip(got, want, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_bfloat16():
  arguments = inputs_and_kernel((5, 5))
  want = gradients(lambda *x: depthwise_tf.depthwise_conv(*x, (1, 1), 'same'), arguments)
  halves = inputs_and_kernel((5, 5), tf.bfloat16)
  got = gradients(lambda *x: depthwise_tf.depthwise_conv(*x, (1, 1), 'same'), halves)
  for ours, theirs in zip(got, want, strict=True):
    assert ours.dtype == tf.bfloat16
    error = np.abs(tf.cast(ours, tf.float32) - theirs).max()
    assert error < 0.2 * np.std(theirs)


@pytest.mark.parametrize('on_tpu', [True, False])
def test_the_gradient_is_tensorflows_on_tpus_alone(on_tpu):
  arguments = inputs_and_kernel((5, 5))
  strategy = lowering.tpu_like_strategy() if on_tpu else tf.distribute.OneDeviceStrategy('CPU:0')

  @tf.function
  def step(*arguments):
    def replica(*arguments):
      return gradients(lambda *x: depthwise_tf.depthwise_conv(*x, (2, 2), 'same'), arguments)

    return strategy.run(replica, arguments)

  operations = {
    each.type for each in step.get_concrete_function(*arguments).graph.get_operations()
  }
  assert ('DepthwiseConv2dNativeBackpropFilter' in operations) == on_tpu
  want = gradients(lambda *x: tf.nn.depthwise_conv2d(*x, (1, 2, 2, 1), 'SAME'), arguments)
  for ours, theirs in zip(step(*arguments), want, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
