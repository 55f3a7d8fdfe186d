"""Layers of EfficientNet, and `Scope`, which names them as the official graph does.

Source: tensorflow/tpu, models/official/efficientnet/efficientnet_model.py and utils.py.
"""
import collections
import re
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from efficientnet.condconv import condconv_layers
from efficientnet.network_params import GlobalParams
from tpu_utils import batch_norm, fused_gradients


def conv_kernel_initializer() -> keras.initializers.Initializer:
  """Returns an untruncated normal distribution with variance 2 / (kernel area * output filters)."""
  return keras.initializers.VarianceScaling(2.0, 'fan_out', 'untruncated_normal')


def dense_kernel_initializer() -> keras.initializers.Initializer:
  """Returns a uniform distribution within 1 / sqrt(output units)."""
  return keras.initializers.VarianceScaling(1.0 / 3.0, 'fan_out', 'uniform')


def full_precision(policy: keras.DTypePolicy) -> str | keras.DTypePolicy:
  """Returns float32 for a 16-bit policy, for layers that need the precision, else the policy."""
  return 'float32' if policy.compute_dtype in ('bfloat16', 'float16') else policy


def drop_connect(inputs: Any, uniform: Any, survival_prob: float) -> Any:
  """Zeroes random examples and scales the others up, so that inference needs no scaling.

  Args:
    inputs: [batch, ...] tensor.
    uniform: [batch, 1, ...] random numbers in [0, 1); an example survives if its number is at least
      1 - survival_prob.
    survival_prob: float in (0, 1].

  Returns:
    Tensor like `inputs`.
  """
  scale = ops.floor(uniform + survival_prob) / survival_prob
  return inputs * ops.cast(scale, inputs.dtype)


@keras.saving.register_keras_serializable('efficientnet')
class DropConnect(keras.layers.Layer):
  """Stochastic depth (arXiv 1603.09382): in training, `drop_connect` of a block's output.

  Args:
    survival_prob: probability in (0, 1] that an example survives.
    seed: int, or None for a random one.
    **kwargs: as for `keras.layers.Layer`.
  """

  def __init__(self, survival_prob: float, seed: int | None = None, **kwargs: Any):
    super().__init__(**kwargs)
    self.survival_prob = survival_prob
    self.seed = seed
    self.seed_generator = keras.random.SeedGenerator(seed, name=f'{self.name}_seed')

  def builtin(self) -> keras.Layer:
    """Returns the equivalent Keras layer; see `tpu_utils.export.with_builtin_layers`."""
    return keras.layers.Dropout(
      1.0 - self.survival_prob,
      noise_shape=(None, 1, 1, 1),
      seed=self.seed,
      name=self.name,
      dtype=self.dtype_policy,
    )

  def call(self, inputs: Any, training: bool = False) -> Any:
    if not training:
      return inputs
    shape = (ops.shape(inputs)[0],) + (1,) * (len(inputs.shape) - 1)
    uniform = keras.random.uniform(shape, dtype='float32', seed=self.seed_generator)
    return drop_connect(inputs, uniform, self.survival_prob)

  def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
    return input_shape

  def get_config(self) -> dict[str, Any]:
    return {**super().get_config(), 'survival_prob': self.survival_prob, 'seed': self.seed}


@keras.saving.register_keras_serializable('efficientnet')
class Clip(keras.layers.Layer):
  """Layer that clips its input to [low, high]."""

  def __init__(self, low: float, high: float, **kwargs: Any):
    super().__init__(**kwargs)
    self.low = low
    self.high = high

  def call(self, inputs: Any) -> Any:
    return ops.clip(inputs, self.low, self.high)

  def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
    return input_shape

  def get_config(self) -> dict[str, Any]:
    return {**super().get_config(), 'low': self.low, 'high': self.high}


def normalized(
  images: keras.KerasTensor, global_params: GlobalParams, policy: keras.DTypePolicy
) -> keras.KerasTensor:
  """Subtracts the mean from images and divides by the standard deviation, in full precision.

  Args:
    images: [batch, height, width, 3] float32 Keras tensor in [0, 255].
    global_params: `GlobalParams`; `mean_rgb` and `stddev_rgb` are read.
    policy: Keras dtype policy of the network.

  Returns:
    Keras tensor like `images`.
  """
  mean, stddev = global_params.mean_rgb, global_params.stddev_rgb
  return keras.layers.Rescaling(
    scale=[1.0 / s for s in stddev],
    offset=[-m / s for m, s in zip(mean, stddev, strict=True)],
    name='normalization',
    dtype=full_precision(policy),
  )(images)


class Scope:
  """Factory for the layers of one official variable scope, named as TF1 numbered them.

  Args:
    name: the official scope with `/` written as `_`.
    global_params: `GlobalParams`; the values for padding, pooling and batch norm are read.
    dtype: Keras dtype policy of the layers.
  """

  def __init__(self, name: str, global_params: GlobalParams, dtype: keras.DTypePolicy):
    self._name = name
    self._params = global_params
    self._dtype = dtype
    self._counts: collections.Counter[str] = collections.Counter()

  def sub(self, name: str) -> 'Scope':
    """Returns the scope `name` inside this one."""
    return Scope(f'{self._name}_{name}', self._params, self._dtype)

  def _settings(self, kind):
    """Returns name (conv2d, conv2d_1, ...) and dtype for the next layer of this kind."""
    number = self._counts[kind]
    self._counts[kind] += 1
    name = f'{self._name}_{kind}_{number}' if number else f'{self._name}_{kind}'
    return {'name': name, 'dtype': self._dtype}

  def routing_weights(self, x: keras.KerasTensor, num_experts: int) -> keras.KerasTensor:
    """Returns the experts' weights in [0, 1], [batch, num_experts], from the means of `x`."""
    x = keras.layers.GlobalAveragePooling2D(
      data_format='channels_last', **self._settings('pooling')
    )(x)
    return keras.layers.Dense(num_experts, activation='sigmoid', **self._settings('dense'))(x)

  def _padded(self, x, kernel_size, strides):
    """Returns (x, padding mode of the convolution). The kinds differ only at strides over 1."""
    if self._params.padding == 'same' or max(strides) == 1:
      return x, 'same'
    width = (kernel_size - 1) // 2
    settings = self._settings('zero_padding')
    return keras.layers.ZeroPadding2D(width, data_format='channels_last', **settings)(x), 'valid'

  def conv(
    self,
    x: keras.KerasTensor,
    filters: int,
    kernel_size: int,
    strides: tuple[int, int] = (1, 1),
    use_bias: bool = False,
    routing_weights: keras.KerasTensor | None = None,
  ) -> keras.KerasTensor:
    """Applies a convolution, or with `routing_weights` [batch, num_experts] a CondConv."""
    x, padding = self._padded(x, kernel_size, strides)
    if routing_weights is not None:
      return condconv_layers.CondConv2D(
        filters,
        kernel_size,
        num_experts=routing_weights.shape[-1],
        strides=strides,
        padding=padding,
        use_bias=use_bias,
        kernel_initializer=conv_kernel_initializer(),
        **self._settings('cond_conv2d'),
      )(x, routing_weights)
    return keras.layers.Conv2D(
      filters,
      kernel_size,
      strides=strides,
      padding=padding,
      data_format='channels_last',
      use_bias=use_bias,
      kernel_initializer=conv_kernel_initializer(),
      **self._settings('conv2d'),
    )(x)

  def depthwise_conv(
    self,
    x: keras.KerasTensor,
    kernel_size: int,
    strides: tuple[int, int],
    routing_weights: keras.KerasTensor | None = None,
  ) -> keras.KerasTensor:
    """Applies a depthwise convolution, or with `routing_weights` a depthwise CondConv."""
    x, padding = self._padded(x, kernel_size, strides)
    if routing_weights is not None:
      return condconv_layers.DepthwiseCondConv2D(
        kernel_size,
        num_experts=routing_weights.shape[-1],
        strides=strides,
        padding=padding,
        use_bias=False,
        depthwise_initializer=conv_kernel_initializer(),
        **self._settings('depthwise_cond_conv2d'),
      )(x, routing_weights)
    return keras.layers.DepthwiseConv2D(
      kernel_size,
      strides=strides,
      padding=padding,
      data_format='channels_last',
      use_bias=False,
      depthwise_initializer=conv_kernel_initializer(),
      **self._settings('depthwise_conv2d'),
    )(x)

  def batch_norm(self, x: keras.KerasTensor) -> keras.KerasTensor:
    """Applies batch norm with the network's momentum and epsilon."""
    return batch_norm.BatchNormalization(
      axis=-1,
      momentum=self._params.batch_norm_momentum,
      epsilon=self._params.batch_norm_epsilon,
      **self._settings('tpu_batch_normalization'),
    )(x)

  def activation(self, x: keras.KerasTensor, function: str) -> keras.KerasTensor:
    """Applies a Keras activation, given by name."""
    return fused_gradients.Activation(function, **self._settings('activation'))(x)

  def max_pool(self, x: keras.KerasTensor, size: int, strides: int) -> keras.KerasTensor:
    """Applies max pooling with padding 'same'."""
    return keras.layers.MaxPooling2D(
      size, strides, padding='same', data_format='channels_last', **self._settings('max_pooling')
    )(x)

  def spatial_mean(self, x: keras.KerasTensor, keepdims: bool) -> keras.KerasTensor:
    """Averages over space: [batch, 1, 1, C] with `keepdims` or `local_pooling`, else [batch, C]."""
    settings = self._settings('pooling')
    if self._params.local_pooling:
      return keras.layers.AveragePooling2D(
        x.shape[1:3], strides=1, padding='valid', data_format='channels_last', **settings
      )(x)
    return keras.layers.GlobalAveragePooling2D(
      data_format='channels_last', keepdims=keepdims, **settings
    )(x)

  def classifier(self, x: keras.KerasTensor, num_classes: int) -> keras.KerasTensor:
    """Returns logits, computed in full precision."""
    settings = self._settings('dense') | {'dtype': full_precision(self._dtype)}
    initializer = dense_kernel_initializer()
    return keras.layers.Dense(num_classes, kernel_initializer=initializer, **settings)(x)

  def layer(
    self, layer_class: Callable[..., keras.Layer], *args: Any, **kwargs: Any
  ) -> keras.Layer:
    """Returns any other layer, named after its class in lower case with underscores."""
    return layer_class(*args, **kwargs, **self._settings(_snake_case(layer_class.__name__)))


def _snake_case(name):
  return re.sub(r'(?<!^)(?=[A-Z])', '_', name).lower()
