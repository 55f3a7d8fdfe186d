"""The layers EfficientNet is made of, and `Scope`, which names them as the official graph does.

Source: tensorflow/tpu, models/official/efficientnet/efficientnet_model.py and utils.py.
"""
import collections
import re

import keras
from keras import ops

from efficientnet.condconv import condconv_layers
from tpu_utils import batch_norm


def conv_kernel_initializer() -> keras.initializers.Initializer:
  """Returns a normal distribution, not truncated.

  Its variance is 2 / (kernel height * kernel width * output filters).
  """
  return keras.initializers.VarianceScaling(2.0, 'fan_out', 'untruncated_normal')


def dense_kernel_initializer() -> keras.initializers.Initializer:
  """Returns a uniform distribution within 1 / sqrt(output units)."""
  return keras.initializers.VarianceScaling(1.0 / 3.0, 'fan_out', 'uniform')


def full_precision(policy: keras.DTypePolicy) -> str | keras.DTypePolicy:
  """Replaces a 16-bit policy by float32, for layers that need the precision."""
  return 'float32' if policy.compute_dtype in ('bfloat16', 'float16') else policy


def drop_connect(inputs, uniform, survival_prob):
  """Zeroes whole examples and scales the others up, so that nothing needs scaling at inference.

  Args:
    inputs: [batch, ...] tensor.
    uniform: [batch, 1, ...] random numbers in [0, 1); 1 - survival_prob and more survives.
    survival_prob: float in (0, 1].
  """
  scale = ops.floor(uniform + survival_prob) / survival_prob
  return inputs * ops.cast(scale, inputs.dtype)


@keras.saving.register_keras_serializable('efficientnet')
class DropConnect(keras.layers.Layer):
  """Drops a block's output of single examples in training (stochastic depth, arXiv 1603.09382)."""

  def __init__(self, survival_prob, seed=None, **kwargs):
    super().__init__(**kwargs)
    self.survival_prob = survival_prob
    self.seed = seed
    self.seed_generator = keras.random.SeedGenerator(seed, name=f'{self.name}_seed')

  def builtin(self):
    """The Keras layer of the same distribution; see `tpu_utils.export.with_builtin_layers`."""
    return keras.layers.Dropout(
      1.0 - self.survival_prob,
      noise_shape=(None, 1, 1, 1),
      seed=self.seed,
      name=self.name,
      dtype=self.dtype_policy,
    )

  def call(self, inputs, training=False):
    if not training:
      return inputs
    shape = (ops.shape(inputs)[0],) + (1,) * (len(inputs.shape) - 1)
    uniform = keras.random.uniform(shape, dtype='float32', seed=self.seed_generator)
    return drop_connect(inputs, uniform, self.survival_prob)

  def compute_output_shape(self, input_shape):
    return input_shape

  def get_config(self):
    return {**super().get_config(), 'survival_prob': self.survival_prob, 'seed': self.seed}


@keras.saving.register_keras_serializable('efficientnet')
class Clip(keras.layers.Layer):
  """Clips its input to [low, high]."""

  def __init__(self, low, high, **kwargs):
    super().__init__(**kwargs)
    self.low = low
    self.high = high

  def call(self, inputs):
    return ops.clip(inputs, self.low, self.high)

  def compute_output_shape(self, input_shape):
    return input_shape

  def get_config(self):
    return {**super().get_config(), 'low': self.low, 'high': self.high}


def normalized(images, global_params, policy):
  """Subtracts the mean of images in [0, 255] and divides by the deviation, in full precision.

  Args:
    images: [batch, height, width, 3] float32 Keras tensor.
    global_params: `GlobalParams`, of which `mean_rgb` and `stddev_rgb` are read.
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
  """Makes the layers of one official variable scope, named as TF1 numbered them.

  Args:
    name: the official scope with `/` written as `_`.
    global_params: `GlobalParams`, of which padding, pooling and batch norm are read.
    dtype: Keras dtype policy of the layers.
  """

  def __init__(self, name, global_params, dtype):
    self._name = name
    self._params = global_params
    self._dtype = dtype
    self._counts = collections.Counter()

  def sub(self, name):
    """Returns the scope `name` inside this one."""
    return Scope(f'{self._name}_{name}', self._params, self._dtype)

  def _settings(self, kind):
    """Name and dtype of the next layer of this kind: conv2d, conv2d_1, ..."""
    number = self._counts[kind]
    self._counts[kind] += 1
    name = f'{self._name}_{kind}_{number}' if number else f'{self._name}_{kind}'
    return {'name': name, 'dtype': self._dtype}

  def routing_weights(self, x, num_experts):
    """Returns each expert's share, [batch, num_experts], computed from the means of `x`."""
    x = keras.layers.GlobalAveragePooling2D(
      data_format='channels_last', **self._settings('pooling')
    )(x)
    return keras.layers.Dense(num_experts, activation='sigmoid', **self._settings('dense'))(x)

  def _padded(self, x, kernel_size, strides):
    """Returns (x, the convolution's padding). The two kinds differ only at strides over 1."""
    if self._params.padding == 'same' or max(strides) == 1:
      return x, 'same'
    width = (kernel_size - 1) // 2
    settings = self._settings('zero_padding')
    return keras.layers.ZeroPadding2D(width, data_format='channels_last', **settings)(x), 'valid'

  def conv(self, x, filters, kernel_size, strides=(1, 1), use_bias=False, routing_weights=None):
    """Applies a convolution; with `routing_weights` a CondConv of as many experts."""
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

  def depthwise_conv(self, x, kernel_size, strides, routing_weights=None):
    """Applies a depthwise convolution; with `routing_weights` a CondConv of as many experts."""
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

  def batch_norm(self, x):
    return batch_norm.BatchNormalization(
      axis=-1,
      momentum=self._params.batch_norm_momentum,
      epsilon=self._params.batch_norm_epsilon,
      **self._settings('tpu_batch_normalization'),
    )(x)

  def activation(self, x, function):
    return keras.layers.Activation(function, **self._settings('activation'))(x)

  def max_pool(self, x, size, strides):
    return keras.layers.MaxPooling2D(
      size, strides, padding='same', data_format='channels_last', **self._settings('max_pooling')
    )(x)

  def spatial_mean(self, x, keepdims):
    """Averages over space: [batch, 1, 1, C] with `keepdims` or `local_pooling`, else [batch, C]."""
    settings = self._settings('pooling')
    if self._params.local_pooling:
      return keras.layers.AveragePooling2D(
        x.shape[1:3], strides=1, padding='valid', data_format='channels_last', **settings
      )(x)
    return keras.layers.GlobalAveragePooling2D(
      data_format='channels_last', keepdims=keepdims, **settings
    )(x)

  def classifier(self, x, num_classes):
    """Returns logits, computed in full precision."""
    settings = self._settings('dense') | {'dtype': full_precision(self._dtype)}
    initializer = dense_kernel_initializer()
    return keras.layers.Dense(num_classes, kernel_initializer=initializer, **settings)(x)

  def layer(self, layer_class, *args, **kwargs):
    """Returns any other layer, named after its class in lower case with underscores."""
    return layer_class(*args, **kwargs, **self._settings(_snake_case(layer_class.__name__)))


def _snake_case(name):
  return re.sub(r'(?<!^)(?=[A-Z])', '_', name).lower()
