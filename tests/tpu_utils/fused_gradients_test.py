"""Values and gradients of activations, fused and not."""
import keras
import numpy as np
import pytest
import tensorflow as tf

from tpu_utils import fused_gradients, profile

SHAPE = (2, 64, 64, 16)  # As many elements as are needed.


def value_and_gradient(activation, x, training=True):
  layer = fused_gradients.Activation(activation)

  @tf.function
  def run(x):
    with tf.GradientTape() as tape:
      tape.watch(x)
      y = layer(x, training=training)
      loss = tf.reduce_sum(tf.sin(y))
    return y, tape.gradient(loss, x)

  return run(x), run.get_concrete_function(x).graph


def is_fused(graph):
  return any('_XlaMustCompile' in str(op.node_def) for op in graph.get_operations()) or any(
    '_XlaMustCompile' in str(function.attr) for function in graph.as_graph_def().library.function
  )


@pytest.mark.host_xla
@pytest.mark.parametrize('activation', ['swish', 'gelu'])
def test_values_and_gradients_are_those_of_keras(activation):
  x = tf.constant(np.random.default_rng(0).normal(size=SHAPE) * 5, tf.float32)
  got, graph = value_and_gradient(activation, x)
  want, plain = value_and_gradient(activation, x, training=False)
  assert is_fused(graph) and not is_fused(plain)
  np.testing.assert_allclose(got[0], want[0], rtol=1e-6, atol=1e-7)
  np.testing.assert_allclose(got[1], want[1], rtol=1e-5, atol=1e-6)


@pytest.mark.host_xla
def test_replicas_add_up(two_replicas):
  x = tf.constant(np.random.default_rng(0).normal(size=SHAPE), tf.float32)
  layer = fused_gradients.Activation('swish')

  def gradient(x):
    with tf.GradientTape() as tape:
      tape.watch(x)
      loss = tf.reduce_sum(layer(x, training=True))
    return tf.reduce_sum(tape.gradient(loss, x))

  total = tf.function(
    lambda: two_replicas.reduce('SUM', two_replicas.run(gradient, [x]), axis=None)
  )
  assert abs(float(total()) / (2 * float(gradient(x))) - 1) < 1e-5


@pytest.mark.parametrize(
  'shape, dtype',
  [((2, 8, 8, 3), 'float32'), (SHAPE, 'float16'), ((None, *SHAPE[1:]), 'float32')],
  ids=['small', 'float16', 'unknown'],
)
def test_other_tensors_are_left_alone(shape, dtype):
  function = tf.function(
    lambda x: fused_gradients.with_fused_gradient(tf.nn.silu, x),
    input_signature=[tf.TensorSpec(shape, dtype)],
  )
  types = {op.type for op in function.get_concrete_function().graph.get_operations()}
  assert 'Sigmoid' in types and not any('Call' in name for name in types)


def test_the_layer_is_keras_own_in_files_and_has_no_multiply_adds():
  layer = fused_gradients.Activation('swish', name='a')
  assert type(layer.builtin()) is keras.layers.Activation
  assert layer.builtin().get_config() == layer.get_config()
  images = keras.Input((8, 8, 3))
  assert profile.flops(keras.Model(images, layer(images))) == 0
