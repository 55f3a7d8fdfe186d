"""ResNeXt's layers, with Torch's conventions: symmetric padding, no convolution bias."""
from collections.abc import Callable
from typing import Any

import keras

from resnext import grouped_conv
from tpu_utils import batch_norm

BATCH_NORM_MOMENTUM = 0.9  # Torch's momentum is the complement, 0.1.
BATCH_NORM_EPSILON = 1e-5


def conv_kernel_initializer() -> keras.initializers.Initializer:
  """Returns a normal distribution with variance 2 / (kernel height * kernel width * filters).

  `filters` counts those of all groups.
  """
  return keras.initializers.VarianceScaling(2.0, 'fan_out', 'untruncated_normal')


def dense_kernel_initializer() -> keras.initializers.Initializer:
  """Returns a uniform distribution within 1 / sqrt(inputs), Torch's default for a linear layer."""
  return keras.initializers.VarianceScaling(1.0 / 3.0, 'fan_in', 'uniform')


class LayerMaker:
  """Maker of a network's layers, which all have the same dtype policy.

  Its methods apply a new layer to `x`, [batch, height, width, channels].
  """

  def __init__(self, dtype: keras.DTypePolicy):
    self.dtype = dtype

  def conv(
    self,
    x: keras.KerasTensor,
    filters: int,
    kernel_size: int,
    strides: int = 1,
    groups: int = 1,
    *,
    name: str,
  ) -> keras.KerasTensor:
    """Applies a convolution without bias, with `kernel_size // 2` zeros on every side."""
    padding = 'same' if strides == 1 else 'valid'
    if strides > 1 and kernel_size > 1:
      # With strides, 'same' would pad more after the image than before it.
      x = self.pad(x, kernel_size // 2, name=f'{name}_pad')
    settings = {
      'strides': strides,
      'padding': padding,
      'use_bias': False,
      'kernel_initializer': conv_kernel_initializer(),
      'name': name,
      'dtype': self.dtype,
    }
    if groups > 1:
      return grouped_conv.GroupedConv2D(filters, kernel_size, groups, **settings)(x)
    return keras.layers.Conv2D(filters, kernel_size, data_format='channels_last', **settings)(x)

  def pad(self, x: keras.KerasTensor, width: int, *, name: str) -> keras.KerasTensor:
    """Pads height and width with `width` zeros on every side."""
    return keras.layers.ZeroPadding2D(
      width, data_format='channels_last', name=name, dtype=self.dtype
    )(x)

  def norm(self, x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    """Applies batch norm."""
    return batch_norm.BatchNormalization(
      momentum=BATCH_NORM_MOMENTUM, epsilon=BATCH_NORM_EPSILON, name=name, dtype=self.dtype
    )(x)

  def relu(self, x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    """Applies a ReLU."""
    return keras.layers.ReLU(name=name, dtype=self.dtype)(x)

  def norm_relu(self, x: keras.KerasTensor, *, norm: str, relu: str) -> keras.KerasTensor:
    """Applies batch norm and a ReLU, named `norm` and `relu`."""
    return self.relu(self.norm(x, name=norm), name=relu)

  def layer(
    self, layer_class: Callable[..., keras.Layer], *args: Any, **settings: Any
  ) -> keras.Layer:
    """Returns a layer of any other class, without applying it."""
    return layer_class(*args, dtype=self.dtype, **settings)

  def padded_identity(
    self, x: keras.KerasTensor, filters: int, strides: int, *, name: str
  ) -> keras.KerasTensor:
    """Applies shortcut type A: every `strides`-th pixel, and zeros for the missing channels."""
    x = self.layer(
      keras.layers.AveragePooling2D, 1, strides, data_format='channels_last', name=f'{name}_pool'
    )(x)
    # Keras' layer pads the two axes after the batch, so move the channels there and back.
    x = self.layer(keras.layers.Permute, (3, 1, 2), name=f'{name}_channels_first')(x)
    x = self.layer(
      keras.layers.ZeroPadding2D, ((0, filters - x.shape[1]), (0, 0)), data_format='channels_last',
      name=f'{name}_zeros',
    )(x)
    return self.layer(keras.layers.Permute, (2, 3, 1), name=f'{name}_channels_last')(x)
