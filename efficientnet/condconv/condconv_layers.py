"""Convolutions with a kernel for each example: a routed sum of experts' kernels (CondConv).

An example's kernel is `sum_e routing_weights[e] * expert_kernel[e]` (arXiv 1904.04971,
Equation 2). One matrix product computes the kernels of all examples, and one batched operation
applies them:

- `CondConv2D`: a batched matrix product of the kernels and the input's patches. EfficientNet's
  CondConv layers are 1x1 or depthwise; for 1x1 kernels the patches are the input itself.
- `DepthwiseCondConv2D`: one depthwise convolution with the batch folded into the channels.

Neither needs grouped convolutions, which TensorFlow cannot differentiate on CPUs, nor a loop over
examples as in the official layers. The batch size is free, and the multiply-adds are those of an
ordinary layer.

Source: tensorflow/tpu, models/official/efficientnet/condconv/condconv_layers.py. As there, kernels
are stored as [num_experts, height * width * in * out].
"""
import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tpu_utils.names import check_name

_Shape = tuple[int | None, ...]


class ExpertsInitializer(keras.initializers.Initializer):
  """Initializer that draws each expert separately and flattens it to a row.

  So the fans are those of an expert, not of the stored matrix.

  Args:
    initializer: Keras initializer of an expert, or its name.
    expert_shape: shape of an expert.

  Raises:
    ValueError: on a call for rows of another size.
  """

  def __init__(
    self, initializer: str | keras.initializers.Initializer, expert_shape: Sequence[int]
  ):
    self.initializer = keras.initializers.get(initializer)
    self.expert_shape = tuple(expert_shape)

  def __call__(self, shape, dtype=None):
    num_experts, size = shape
    if size != math.prod(self.expert_shape):
      raise ValueError(f'Experts of shape {self.expert_shape} do not fill rows of {size} numbers.')
    experts = [self._draw(i, dtype) for i in range(num_experts)]
    return ops.stack([ops.reshape(expert, (-1,)) for expert in experts])

  def _draw(self, index, dtype):
    """Draws an expert with a seed of its own, because an initializer repeats its numbers."""
    config = self.initializer.get_config()
    if isinstance(config.get('seed'), int):
      config['seed'] += index
    return self.initializer.__class__.from_config(config)(self.expert_shape, dtype)

  def get_config(self) -> dict[str, Any]:
    initializer = keras.saving.serialize_keras_object(self.initializer)
    return {'initializer': initializer, 'expert_shape': self.expert_shape}


class _CondConv(keras.layers.Layer):
  """Base of both layers: settings, experts, and each example's mixture of them."""

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
    """Returns each example's kernel or bias, [batch, size of an expert]."""
    return ops.matmul(routing_weights, experts)

  def _add_bias(self, outputs, routing_weights):
    if not self.use_bias:
      return outputs
    return outputs + self._mix(routing_weights, self.condconv_bias)[:, None, None, :]

  def get_config(self) -> dict[str, Any]:
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

  Called as `layer(inputs, routing_weights)` with inputs [batch, height, width, in] and routing
  weights [batch, num_experts]; returns [batch, new height, new width, filters]. The arguments are
  those of `keras.layers.Conv2D`, and `num_experts`.

  Raises:
    ValueError: an unknown padding, or fewer than one expert.
  """

  def __init__(
    self,
    filters: int,
    kernel_size: int | tuple[int, int],
    num_experts: int,
    kernel_initializer: str | keras.initializers.Initializer = 'glorot_uniform',
    **kwargs: Any,
  ):
    super().__init__(kernel_size, num_experts, **kwargs)
    self.filters = filters
    self.kernel_initializer = keras.initializers.get(kernel_initializer)

  def build(self, inputs_shape: _Shape, routing_weights_shape: _Shape) -> None:
    shape = (*self.kernel_size, inputs_shape[-1], self.filters)
    self.condconv_kernel = self._add_experts('condconv_kernel', shape, self.kernel_initializer)
    if self.use_bias:
      bias_shape = (self.filters,)
      self.condconv_bias = self._add_experts('condconv_bias', bias_shape, self.bias_initializer)

  def call(self, inputs: Any, routing_weights: Any) -> Any:
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
    """Returns the pixels under the kernel, [batch, new height, new width, kernel area * in]."""
    widths, spans = [], []
    for length, kernel, stride in zip(
      ops.shape(inputs)[1:3], self.kernel_size, self.strides, strict=True
    ):
      places = _places(length, kernel, stride, self.padding)
      span = (places - 1) * stride + 1  # Pixels from the first place to the last.
      missing = span + kernel - 1 - length
      # At least 0; written so that it holds for numbers and for tensors (open sizes).
      missing = (missing + abs(missing)) // 2
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

  def compute_output_shape(self, inputs_shape: _Shape, routing_weights_shape: _Shape) -> _Shape:
    return _output_shape(self, inputs_shape, self.filters)

  def get_config(self) -> dict[str, Any]:
    initializer = keras.initializers.serialize(self.kernel_initializer)
    return {**super().get_config(), 'filters': self.filters, 'kernel_initializer': initializer}


@keras.saving.register_keras_serializable('efficientnet')
class DepthwiseCondConv2D(_CondConv):
  """2D depthwise convolution, channels last, with a kernel for each example.

  Called like `CondConv2D`; returns [batch, new height, new width, in]. The arguments are those of
  `keras.layers.DepthwiseConv2D`, and `num_experts`.

  Raises:
    ValueError: an unknown padding, or fewer than one expert.
  """

  def __init__(
    self,
    kernel_size: int | tuple[int, int],
    num_experts: int,
    depthwise_initializer: str | keras.initializers.Initializer = 'glorot_uniform',
    **kwargs: Any,
  ):
    super().__init__(kernel_size, num_experts, **kwargs)
    self.depthwise_initializer = keras.initializers.get(depthwise_initializer)

  def build(self, inputs_shape: _Shape, routing_weights_shape: _Shape) -> None:
    channels = inputs_shape[-1]
    self.depthwise_condconv_kernel = self._add_experts(
      'depthwise_condconv_kernel', (*self.kernel_size, channels, 1), self.depthwise_initializer
    )
    if self.use_bias:
      self.condconv_bias = self._add_experts('condconv_bias', (channels,), self.bias_initializer)

  def call(self, inputs: Any, routing_weights: Any, training: bool = False) -> Any:
    batch, height, width, channels = ops.shape(inputs)
    # Inputs become [1, height, width, batch * channels], kernels [h, w, batch * channels, 1].
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
      from efficientnet.condconv import depthwise_tf  # Needs TensorFlow, so imported only here.

      return depthwise_tf.depthwise_conv(inputs, kernel, self.strides, self.padding)
    return ops.depthwise_conv(
      inputs, kernel, self.strides, padding=self.padding, data_format='channels_last'
    )

  def compute_output_shape(self, inputs_shape: _Shape, routing_weights_shape: _Shape) -> _Shape:
    return _output_shape(self, inputs_shape, inputs_shape[-1])

  def get_config(self) -> dict[str, Any]:
    initializer = keras.initializers.serialize(self.depthwise_initializer)
    return {**super().get_config(), 'depthwise_initializer': initializer}


def _pair(value):
  return (value, value) if isinstance(value, int) else tuple(value)


def _places(length, kernel, stride, padding):
  """Returns the number of places of a kernel along an axis."""
  return -(-(length if padding == 'same' else length - kernel + 1) // stride)


def _output_shape(layer, inputs_shape, filters):
  axes = zip(inputs_shape[1:3], layer.kernel_size, layer.strides, strict=True)
  lengths = [n if n is None else _places(n, k, s, layer.padding) for n, k, s in axes]
  return (inputs_shape[0], *lengths, filters)
