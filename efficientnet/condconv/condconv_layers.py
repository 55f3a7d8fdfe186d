"""Convolutions whose kernel is computed for each example: a routed sum of experts' kernels.

An example's kernel is `sum_e routing_weights[e] * expert_kernel[e]` (arXiv 1904.04971, Equation 2). The
kernels of all examples come from one matrix product, and one batched operation applies them:

- `CondConv2D`: a batched matrix product of the kernels with the input's patches. For 1x1 kernels, all that
  EfficientNet-CondConv has, the patches are the input itself.
- `DepthwiseCondConv2D`: the batch joins the channels, and one depthwise convolution filters them all.

Neither needs grouped convolutions, which TensorFlow cannot differentiate on CPUs, nor runs an example at a
time as the official layers do; any batch size will do, and multiply-adds stay those of an ordinary layer.

Source: tensorflow/tpu, models/official/efficientnet/condconv/condconv_layers.py. Kernels are stored as there,
[num_experts, height * width * in * out].
"""
import math

import keras
from keras import ops

from tpu_utils.names import check_name


class ExpertsInitializer(keras.initializers.Initializer):
  """Draws each expert by itself with `initializer`, and flattens it to a row.

  So the fans of an expert count, not those of the stored matrix.
  """

  def __init__(self, initializer, expert_shape):
    self.initializer = keras.initializers.get(initializer)
    self.expert_shape = tuple(expert_shape)

  def __call__(self, shape, dtype=None):
    num_experts, size = shape
    if size != math.prod(self.expert_shape):
      raise ValueError(f'Experts of shape {self.expert_shape} do not fill rows of {size} numbers.')
    experts = [self._draw(i, dtype) for i in range(num_experts)]
    return ops.stack([ops.reshape(expert, (-1,)) for expert in experts])

  def _draw(self, index, dtype):
    """An initializer gives the same numbers whenever it is called, so each expert gets its own."""
    config = self.initializer.get_config()
    if isinstance(config.get('seed'), int):
      config['seed'] += index
    return self.initializer.__class__.from_config(config)(self.expert_shape, dtype)

  def get_config(self):
    initializer = keras.saving.serialize_keras_object(self.initializer)
    return {'initializer': initializer, 'expert_shape': self.expert_shape}


class _CondConv(keras.layers.Layer):
  """What both layers share: experts, settings, and the mixing of kernels and biases."""

  def __init__(
    self,
    kernel_size,
    num_experts,
    strides=(1, 1),
    padding='valid',
    use_bias=True,
    bias_initializer='zeros',
    **kwargs,
  ):
    super().__init__(**kwargs)
    check_name('padding', padding, ('valid', 'same'))
    if num_experts < 1:
      raise ValueError(f'num_experts={num_experts} of {self.name} must be at least 1.')
    self.kernel_size = _pair(kernel_size)
    self.num_experts = num_experts
    self.strides = _pair(strides)
    self.padding = padding
    self.use_bias = use_bias
    self.bias_initializer = keras.initializers.get(bias_initializer)

  def _add_experts(self, name, expert_shape, initializer):
    return self.add_weight(
      name=name,
      shape=(self.num_experts, math.prod(expert_shape)),
      initializer=ExpertsInitializer(initializer, expert_shape),
    )

  def _mix(self, routing_weights, experts):
    """Each example's own numbers, [batch, size of an expert]."""
    return ops.matmul(routing_weights, experts)

  def _add_bias(self, outputs, routing_weights):
    if not self.use_bias:
      return outputs
    return outputs + self._mix(routing_weights, self.condconv_bias)[:, None, None, :]

  def get_config(self):
    return {
      **super().get_config(),
      'kernel_size': self.kernel_size,
      'num_experts': self.num_experts,
      'strides': self.strides,
      'padding': self.padding,
      'use_bias': self.use_bias,
      'bias_initializer': keras.initializers.serialize(self.bias_initializer),
    }


@keras.saving.register_keras_serializable('efficientnet')
class CondConv2D(_CondConv):
  """2D convolution, channels last, with a kernel for each example.

  Call: `layer(inputs, routing_weights)` with inputs [batch, height, width, in] and routing weights [batch,
  num_experts]; returns [batch, new height, new width, filters]. Arguments as `keras.layers.Conv2D`.
  """

  def __init__(
    self, filters, kernel_size, num_experts, kernel_initializer='glorot_uniform', **kwargs
  ):
    super().__init__(kernel_size, num_experts, **kwargs)
    self.filters = filters
    self.kernel_initializer = keras.initializers.get(kernel_initializer)

  def build(self, inputs_shape, routing_weights_shape):
    shape = (*self.kernel_size, inputs_shape[-1], self.filters)
    self.condconv_kernel = self._add_experts('condconv_kernel', shape, self.kernel_initializer)
    if self.use_bias:
      bias_shape = (self.filters,)
      self.condconv_bias = self._add_experts('condconv_bias', bias_shape, self.bias_initializer)

  def call(self, inputs, routing_weights):
    patches = self._patches(inputs)
    _, height, width, depth = ops.shape(patches)
    kernels = self._mix(routing_weights, self.condconv_kernel)
    outputs = ops.matmul(
      ops.reshape(patches, (-1, height * width, depth)),
      ops.reshape(kernels, (-1, depth, self.filters)),
    )
    outputs = ops.reshape(outputs, (-1, height, width, self.filters))
    return self._add_bias(outputs, routing_weights)

  def _patches(self, inputs):
    """What the kernel meets at each place, [batch, new height, new width, kernel's numbers / filters]."""
    widths, spans = [], []
    for length, kernel, stride in zip(
      ops.shape(inputs)[1:3], self.kernel_size, self.strides, strict=True
    ):
      places = _places(length, kernel, stride, self.padding)
      span = (places - 1) * stride + 1  # What one number of the kernel meets.
      missing = span + kernel - 1 - length
      missing = (missing + abs(missing)) // 2  # At least 0, for numbers and for open sizes.
      spans.append(span)
      widths.append((missing // 2, missing - missing // 2))
    if self.padding == 'same' and self.kernel_size != (1, 1):
      inputs = ops.pad(inputs, ((0, 0), *widths, (0, 0)))
    vertical, horizontal = self.strides
    taps = [
      inputs[:, i : i + spans[0] : vertical, j : j + spans[1] : horizontal]
      for i in range(self.kernel_size[0])
      for j in range(self.kernel_size[1])
    ]
    return ops.concatenate(taps, axis=-1) if len(taps) > 1 else taps[0]

  def compute_output_shape(self, inputs_shape, routing_weights_shape):
    return _output_shape(self, inputs_shape, self.filters)

  def get_config(self):
    initializer = keras.initializers.serialize(self.kernel_initializer)
    return {**super().get_config(), 'filters': self.filters, 'kernel_initializer': initializer}


@keras.saving.register_keras_serializable('efficientnet')
class DepthwiseCondConv2D(_CondConv):
  """2D depthwise convolution, channels last, with a kernel for each example.

  Call: as `CondConv2D`; returns [batch, new height, new width, in]. Arguments as
  `keras.layers.DepthwiseConv2D`.
  """

  def __init__(self, kernel_size, num_experts, depthwise_initializer='glorot_uniform', **kwargs):
    super().__init__(kernel_size, num_experts, **kwargs)
    self.depthwise_initializer = keras.initializers.get(depthwise_initializer)

  def build(self, inputs_shape, routing_weights_shape):
    channels = inputs_shape[-1]
    self.depthwise_condconv_kernel = self._add_experts(
      'depthwise_condconv_kernel', (*self.kernel_size, channels, 1), self.depthwise_initializer
    )
    if self.use_bias:
      self.condconv_bias = self._add_experts('condconv_bias', (channels,), self.bias_initializer)

  def call(self, inputs, routing_weights, training=False):
    batch, height, width, channels = ops.shape(inputs)
    # Axes as [1, height, width, batch * channels] and [kernel, kernel, batch * channels, 1].
    inputs = ops.transpose(inputs, (1, 2, 0, 3))
    inputs = ops.reshape(inputs, (1, height, width, batch * channels))
    kernels = self._mix(routing_weights, self.depthwise_condconv_kernel)
    kernels = ops.reshape(kernels, (batch, *self.kernel_size, channels))
    kernels = ops.transpose(kernels, (1, 2, 0, 3))
    kernels = ops.reshape(kernels, (*self.kernel_size, batch * channels, 1))
    outputs = self._convolve(inputs, kernels, training)
    _, height, width, _ = ops.shape(outputs)
    outputs = ops.reshape(outputs, (height, width, batch, channels))
    outputs = ops.transpose(outputs, (2, 0, 1, 3))
    return self._add_bias(outputs, routing_weights)

  def _convolve(self, inputs, kernel, training):
    if training and keras.backend.backend() == 'tensorflow':
      from efficientnet.condconv import depthwise_tf  # Other backends never come here.

      return depthwise_tf.depthwise_conv(inputs, kernel, self.strides, self.padding)
    return ops.depthwise_conv(
      inputs, kernel, self.strides, padding=self.padding, data_format='channels_last'
    )

  def compute_output_shape(self, inputs_shape, routing_weights_shape):
    return _output_shape(self, inputs_shape, inputs_shape[-1])

  def get_config(self):
    initializer = keras.initializers.serialize(self.depthwise_initializer)
    return {**super().get_config(), 'depthwise_initializer': initializer}


def _pair(value):
  return (value, value) if isinstance(value, int) else tuple(value)


def _places(length, kernel, stride, padding):
  """How many places a kernel takes along an axis."""
  return -(-(length if padding == 'same' else length - kernel + 1) // stride)


def _output_shape(layer, inputs_shape, filters):
  axes = zip(inputs_shape[1:3], layer.kernel_size, layer.strides, strict=True)
  lengths = [n if n is None else _places(n, k, s, layer.padding) for n, k, s in axes]
  return (inputs_shape[0], *lengths, filters)
