"""Grouped convolution that trains on every device, with one kernel shape everywhere.

TPUs and GPUs have a native grouped convolution. TensorFlow's CPU kernels have only its forward pass,
so on the CPU the gradient is written with kernels that exist (`grouped_conv_cpu`). Keras' own way
round, one XLA program a layer, is orders of magnitude slower.
"""
import keras
from keras import ops

from resnext import grouped_conv_ops
from tpu_utils.names import unknown_name

IMPLEMENTATIONS = ('auto', 'native', 'cpu', 'blocks')


@keras.saving.register_keras_serializable('resnext')
class GroupedConv2D(keras.layers.Conv2D):
  """2-D convolution in `groups` groups, channels last.

  The kernel is (height, width, input channels / groups, filters) and the output channels are group-major,
  as in `keras.layers.Conv2D(groups=...)`, whatever the implementation:

  - 'native': the backend's operation and its gradient. For TPUs and GPUs.
  - 'cpu': TensorFlow only. The native forward pass, and a gradient from other kernels.
  - 'blocks': dense convolutions of blocks of groups. Any backend, any device.
  - 'auto': chosen when the layer is traced, by the devices of the current distribution strategy or,
    without one, by the machine's: 'native' if they are TPUs or GPUs, else the best for the CPU.

  'auto' does not see a `tf.device` scope, nor that a program traced here is meant for another machine;
  give the implementation in these cases (`set_implementation` for the layers of a built model). It
  changes speed, never values, and it is not saved.
  """

  def __init__(
    self, filters, kernel_size, groups, strides=1, padding='valid', implementation='auto', **kwargs
  ):
    if kwargs.pop('dilation_rate', (1, 1)) not in (1, (1, 1), [1, 1]):
      raise ValueError('GroupedConv2D has no dilation; leave dilation_rate out.')
    # The default of `keras.config.image_data_format` is for other layers.
    data_format = kwargs.pop('data_format', None) or 'channels_last'
    if data_format != 'channels_last':
      raise ValueError(
        f'GroupedConv2D takes [batch, height, width, channels]; data_format={data_format!r} is not made. '
        'Leave data_format out.'
      )
    super().__init__(
      filters, kernel_size, groups=groups, strides=strides, padding=padding, data_format=data_format, **kwargs
    )
    self.implementation = _checked(implementation)

  def builtin(self):
    """The Keras layer that computes the same, on a CPU much slower; see `export.with_builtin_layers`."""
    return keras.layers.Conv2D.from_config(self.get_config())

  def convolution_op(self, inputs, kernel):
    return grouped_conv(inputs, kernel, self.strides, self.padding, self.implementation)


def set_implementation(model, implementation):
  """Sets the implementation of every `GroupedConv2D` of `model`. Call before the step is traced."""
  for layer in model._flatten_layers():
    if isinstance(layer, GroupedConv2D):
      layer.implementation = _checked(implementation)


def grouped_conv(inputs, kernel, strides=(1, 1), padding='valid', implementation='auto'):
  """The function of `GroupedConv2D`.

  Args:
    inputs: [batch, height, width, channels].
    kernel: [kernel height, kernel width, channels / groups, filters].
    strides: (vertical, horizontal).
    padding: 'valid' or 'same'.
    implementation: see `GroupedConv2D`.

  Returns:
    [batch, new height, new width, filters].
  """
  kernel = ops.convert_to_tensor(kernel)
  groups = inputs.shape[-1] // kernel.shape[2]
  if implementation == 'auto':
    implementation = automatic_implementation()
  if groups == 1 or implementation == 'native':
    return grouped_conv_ops.native(inputs, kernel, strides, padding)
  if implementation == 'cpu':
    from resnext import grouped_conv_cpu  # It needs TensorFlow, which is not everyone's backend.

    return grouped_conv_cpu.grouped_conv(inputs, kernel, strides, padding)
  return grouped_conv_ops.blocks(inputs, kernel, strides, padding)


def automatic_implementation():
  """'native', 'cpu' or 'blocks', by the devices that the current strategy or else the machine has."""
  if _device_types() != {'cpu'}:
    return 'native'
  return {'tensorflow': 'cpu', 'jax': 'blocks'}.get(keras.backend.backend(), 'native')


def _device_types():
  backend = keras.backend.backend()
  if backend == 'tensorflow':
    import tensorflow as tf

    if tf.distribute.has_strategy():
      devices = tf.distribute.get_strategy().extended.worker_devices
      return {tf.DeviceSpec.from_string(device).device_type.lower() for device in devices}
  if backend in ('tensorflow', 'jax'):
    return {device.split(':')[0] for device in keras.distribution.list_devices()}
  return set()


def _checked(implementation):
  if implementation not in IMPLEMENTATIONS:
    raise unknown_name('implementation', implementation, IMPLEMENTATIONS)
  return implementation
