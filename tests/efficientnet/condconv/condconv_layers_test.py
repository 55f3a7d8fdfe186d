"""CondConv layers against ordinary convolutions of each example with its own mixed kernel."""
import keras
import numpy as np
import pytest
import tensorflow as tf

from efficientnet import layers as efficientnet_layers
from efficientnet.condconv import condconv_layers
from tpu_utils import profile

EXPERTS, CHANNELS, FILTERS = 3, 4, 5

geometries = pytest.mark.parametrize(
  ('kernel_size', 'strides', 'padding'),
  [(k, s, p) for k in (1, 2, 3, 5) for s in (1, 2) for p in ('same', 'valid')],
)
both_layers = pytest.mark.parametrize('kind', ['CondConv2D', 'DepthwiseCondConv2D'])


def make_layer(kind, kernel_size, num_experts=EXPERTS, **settings):
  filters = {'filters': FILTERS} if kind == 'CondConv2D' else {}
  return getattr(condconv_layers, kind)(
    kernel_size=kernel_size, num_experts=num_experts, name='layer', **filters, **settings
  )


def examples(batch=3, height=9, width=8):
  rng = np.random.default_rng(0)
  inputs = rng.normal(size=(batch, height, width, CHANNELS)).astype(np.float32)
  routing_weights = rng.uniform(size=(batch, EXPERTS)).astype(np.float32)
  return tf.constant(inputs), tf.constant(routing_weights)


def by_example(layer, inputs, routing_weights):
  """Computes the layer's outputs by Equation 2 of the paper."""
  is_depthwise = isinstance(layer, condconv_layers.DepthwiseCondConv2D)
  experts = layer.depthwise_condconv_kernel if is_depthwise else layer.condconv_kernel
  shape = (EXPERTS, *layer.kernel_size, CHANNELS, 1 if is_depthwise else FILTERS)
  convolve = tf.nn.depthwise_conv2d if is_depthwise else tf.nn.conv2d
  outputs = []
  for example, weights in zip(tf.unstack(inputs), tf.unstack(routing_weights), strict=True):
    kernel = tf.einsum('e,ehwio->hwio', weights, tf.reshape(experts.value, shape))
    strides = [1, *layer.strides, 1]
    output = convolve(example[tf.newaxis], kernel, strides, layer.padding.upper())
    if layer.use_bias:
      output += tf.linalg.matvec(layer.condconv_bias.value, weights, transpose_a=True)
    outputs.append(output)
  return tf.concat(outputs, 0)


@both_layers
@geometries
def test_values_and_gradients(kind, kernel_size, strides, padding):
  settings = {'strides': strides, 'padding': padding, 'bias_initializer': 'random_normal'}
  layer = make_layer(kind, kernel_size, **settings)
  inputs, routing_weights = examples()
  layer(inputs, routing_weights)

  def values_and_gradients(function):
    with tf.GradientTape() as tape:
      tape.watch([inputs, routing_weights])
      outputs = function(inputs, routing_weights)
      loss = tf.reduce_sum(tf.sin(outputs))
    sources = [inputs, routing_weights, *(v.value for v in layer.trainable_variables)]
    return [outputs, *tape.gradient(loss, sources)]

  got = values_and_gradients(lambda *x: layer(*x, training=True))
  want = values_and_gradients(lambda *x: by_example(layer, *x))
  for ours, theirs in zip(got, want, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(layer(inputs, routing_weights, training=False), want[0], atol=1e-5)
  assert layer.compute_output_shape(inputs.shape, routing_weights.shape) == tuple(want[0].shape)


@both_layers
def test_sizes_may_be_open(kind):
  layer = make_layer(kind, 3, strides=2, padding='same')
  inputs = keras.Input((None, None, CHANNELS)), keras.Input((EXPERTS,))
  model = keras.Model(inputs, layer(*inputs))
  assert model.output.shape[:3] == (None, None, None)
  for training in (False, True):
    call = tf.function(lambda *x, training=training: model(x, training=training), input_signature=[
      tf.TensorSpec((None, None, None, CHANNELS)), tf.TensorSpec((None, EXPERTS))
    ])  # fmt: skip
    for batch in (1, 4):
      np.testing.assert_allclose(call(*examples(batch)), model(examples(batch)), atol=1e-5)


@both_layers
def test_multiply_adds_are_those_of_one_convolution_and_the_mixing(kind):
  inputs = keras.Input((8, 6, CHANNELS)), keras.Input((EXPERTS,))
  model = keras.Model(inputs, make_layer(kind, 3, padding='same', use_bias=False)(*inputs))
  kernel = 9 * CHANNELS * (FILTERS if kind == 'CondConv2D' else 1)
  assert profile.flops(model) == 8 * 6 * kernel + EXPERTS * kernel
  assert profile.flops(model, batch_size=4) == 4 * profile.flops(model)


@both_layers
def test_experts_are_stored_in_rows_and_drawn_one_by_one(kind):
  initializer = efficientnet_layers.conv_kernel_initializer()
  name = 'kernel_initializer' if kind == 'CondConv2D' else 'depthwise_initializer'
  layer = make_layer(kind, 7, use_bias=False, **{name: initializer})
  inputs = tf.zeros((1, 8, 8, 64))
  layer(inputs, tf.ones((1, EXPERTS)))
  (variable,) = layer.weights
  outputs = FILTERS if kind == 'CondConv2D' else 1
  suffix = 'condconv_kernel' if kind == 'CondConv2D' else 'depthwise_condconv_kernel'
  assert variable.path == f'layer/{suffix}'
  assert variable.shape == (EXPERTS, 49 * 64 * outputs)
  rows = variable.numpy()
  np.testing.assert_allclose(rows.std(axis=1), np.sqrt(2 / (49 * outputs)), rtol=0.05)
  assert np.abs(np.corrcoef(rows) - np.eye(EXPERTS)).max() < 0.1


def test_experts_from_a_seeded_initializer_repeat_and_differ():
  def draw():
    initializer = keras.initializers.RandomNormal(seed=3)
    return np.asarray(condconv_layers.ExpertsInitializer(initializer, (2, 5))((4, 10)))

  np.testing.assert_array_equal(draw(), draw())
  assert len(np.unique(draw())) == 40


@both_layers
def test_config_and_precision(kind):
  settings = {'strides': 2, 'padding': 'same', 'use_bias': False, 'dtype': 'mixed_bfloat16'}
  layer = make_layer(kind, (3, 1), **settings)
  again = type(layer).from_config(layer.get_config())
  assert again.get_config() == layer.get_config()
  inputs, routing_weights = examples()
  outputs = layer(inputs, routing_weights)
  assert (outputs.dtype, layer.weights[0].dtype) == (tf.bfloat16, 'float32')
  want = by_example(layer, inputs, routing_weights)
  np.testing.assert_allclose(tf.cast(outputs, tf.float32), want, atol=0.1)


@both_layers
@pytest.mark.parametrize(
  ('settings', 'message'),
  [({'num_experts': 0}, 'num_experts=0'), ({'padding': 'causal'}, "padding 'causal'.*same")],
)
def test_bad_settings(kind, settings, message):
  with pytest.raises(ValueError, match=message):
    make_layer(kind, 3, **settings)


def test_initializer_of_another_shape():
  with pytest.raises(ValueError, match=r'\(2, 5\).*11'):
    condconv_layers.ExpertsInitializer('zeros', (2, 5))((4, 11))
