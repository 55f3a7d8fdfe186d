"""ResNeXt's layers, with Torch's conventions: symmetric padding, no convolution bias."""
import keras

from resnext import grouped_conv
from tpu_utils import batch_norm

BATCH_NORM_MOMENTUM = 0.9  # Torch counts the other way: 0.1.
BATCH_NORM_EPSILON = 1e-5


def conv_kernel_initializer() -> keras.initializers.Initializer:
  """Returns a normal distribution with variance 2 / (kernel height * kernel width * filters).

  Filters of all groups count.
  """
  return keras.initializers.VarianceScaling(2.0, 'fan_out', 'untruncated_normal')


def dense_kernel_initializer() -> keras.initializers.Initializer:
  """Returns a uniform distribution within 1 / sqrt(inputs), Torch's default for a linear layer."""
  return keras.initializers.VarianceScaling(1.0 / 3.0, 'fan_in', 'uniform')


class LayerMaker:
  """Makes a network's layers, all with one dtype policy."""

  def __init__(self, dtype: keras.DTypePolicy):
    self.dtype = dtype

  def conv(self, x, filters, kernel_size, strides=1, groups=1, *, name):
    """Applies a convolution without bias, with `kernel_size // 2` zeros on every side."""
    padding = 'same' if strides == 1 else 'valid'
    if strides > 1 and kernel_size > 1:
      # 'same' would put the odd zero after the image when it strides.
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

  def pad(self, x, width, *, name):
    return keras.layers.ZeroPadding2D(
      width, data_format='channels_last', name=name, dtype=self.dtype
    )(x)

  def norm(self, x, *, name):
    return batch_norm.BatchNormalization(
      momentum=BATCH_NORM_MOMENTUM, epsilon=BATCH_NORM_EPSILON, name=name, dtype=self.dtype
    )(x)

  def relu(self, x, *, name):
    return keras.layers.ReLU(name=name, dtype=self.dtype)(x)

  def norm_relu(self, x, *, norm, relu):
    return self.relu(self.norm(x, name=norm), name=relu)

  def layer(self, layer_class, *args, **settings):
    """Returns a layer of any other class."""
    return layer_class(*args, dtype=self.dtype, **settings)

  def padded_identity(self, x, filters, strides, *, name):
    """Returns shortcut type A: every `strides`-th pixel, and zeros for the missing channels."""
    x = self.layer(
      keras.layers.AveragePooling2D, 1, strides, data_format='channels_last', name=f'{name}_pool'
    )(x)
    # Keras' own layer pads the two axes after the batch, so the channels come first for a moment.
    x = self.layer(keras.layers.Permute, (3, 1, 2), name=f'{name}_channels_first')(x)
    x = self.layer(
      keras.layers.ZeroPadding2D, ((0, filters - x.shape[1]), (0, 0)), data_format='channels_last',
      name=f'{name}_zeros',
    )(x)
    return self.layer(keras.layers.Permute, (2, 3, 1), name=f'{name}_channels_last')(x)
