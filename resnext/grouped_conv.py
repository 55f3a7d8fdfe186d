"""Grouped convolution that trains on every device, with the same kernel shape everywhere.

TPUs and GPUs have a native grouped convolution. On CPUs oneDNN has it too, with its gradients, for
graphs in float32 (and bfloat16 on some processors). TensorFlow's own kernels for CPUs have only the
forward pass, so without oneDNN the gradients are composed of other kernels:

- Gradient of the inputs: at stride 1 this is a grouped convolution, so the native kernel; otherwise
  a dense gradient for each block of groups.
- Gradient of the kernel: a dense gradient for each block of groups; its diagonal is kept.

Keras compiles one XLA program for each layer instead, which is orders of magnitude slower.
"""
import functools
from typing import Any

import keras
from keras import ops

from tpu_utils.names import unknown_name

if keras.backend.backend() == 'tensorflow':
  import tensorflow as tf

  from tpu_utils import distribute
  from tpu_utils.custom_gradient import custom_gradient

IMPLEMENTATIONS = ('auto', 'native', 'cpu', 'blocks')

# With fewer channels a dense convolution cannot fill the CPU's vector registers, so merging groups
# is faster, although it multiplies zeros. Measured for 2 to 80 channels per group.
_LEAST_BLOCK_CHANNELS = 12


@keras.saving.register_keras_serializable('resnext')
class GroupedConv2D(keras.layers.Conv2D):
  """2-D convolution in `groups` groups, channels last.

  The kernel is (height, width, input channels / groups, filters) and the output channels are
  group-major, as in `keras.layers.Conv2D(groups=...)`, with every implementation:

  - 'native': the backend's operation and its gradient. For TPUs and GPUs.
  - 'cpu': the native forward pass, and oneDNN's gradients or ones composed of other kernels.
    TensorFlow only.
  - 'blocks': dense convolutions of blocks of groups. Any backend, any device.
  - 'auto': chosen when the layer is traced, by the devices of the current distribution strategy or,
    without one, of the machine: 'native' on TPUs and GPUs, otherwise the fastest for the CPU.
    (Without a strategy TensorFlow itself does not use a TPU.)

  'auto' ignores `tf.device` scopes and cannot know that a graph traced here will run on another
  machine; choose the implementation in these cases (with `set_implementation` for a built model).
  It changes speed, not values, and is not saved.

  Args:
    filters: output channels.
    kernel_size: as for `keras.layers.Conv2D`.
    groups: number of groups.
    strides: as for `keras.layers.Conv2D`.
    padding: 'valid' or 'same'.
    implementation: see above.
    **kwargs: other arguments of `keras.layers.Conv2D`.

  Raises:
    ValueError: a dilation, channels first, or an unknown implementation.
  """

  def __init__(
    self,
    filters: int,
    kernel_size: int | tuple[int, int],
    groups: int,
    strides: int | tuple[int, int] = 1,
    padding: str = 'valid',
    implementation: str = 'auto',
    **kwargs: Any,
  ):
    if kwargs.pop('dilation_rate', (1, 1)) not in (1, (1, 1), [1, 1]):
      raise ValueError('GroupedConv2D has no dilation; leave dilation_rate out.')
    # Ignores `keras.config.image_data_format`.
    data_format = kwargs.pop('data_format', None) or 'channels_last'
    if data_format != 'channels_last':
      raise ValueError(
        f'GroupedConv2D takes [batch, height, width, channels]; data_format={data_format!r} is not '
        'supported. Leave data_format out.'
      )
    super().__init__(
      filters,
      kernel_size,
      groups=groups,
      strides=strides,
      padding=padding,
      data_format=data_format,
      **kwargs,
    )
    self.implementation = _checked(implementation)

  def builtin(self) -> keras.layers.Conv2D:
    """Returns the equivalent Keras layer, slow on CPUs; see `export.with_builtin_layers`."""
    return keras.layers.Conv2D.from_config(self.get_config())

  def convolution_op(self, inputs: Any, kernel: Any) -> Any:
    """Applies the convolution without bias and activation; called by Keras."""
    return grouped_conv(inputs, kernel, self.strides, self.padding, self.implementation)


def set_implementation(model: keras.Model, implementation: str) -> None:
  """Sets the implementation of every `GroupedConv2D` in `model`. Call it before tracing a graph.

  Raises:
    ValueError: an unknown implementation, with the nearest names.
  """
  for layer in model._flatten_layers():
    if isinstance(layer, GroupedConv2D):
      layer.implementation = _checked(implementation)


def grouped_conv(
  inputs: Any,
  kernel: Any,
  strides: tuple[int, int] = (1, 1),
  padding: str = 'valid',
  implementation: str = 'auto',
) -> Any:
  """Applies the convolution of `GroupedConv2D`.

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
    return _native(inputs, kernel, strides, padding)
  if implementation == 'cpu':
    return _on_cpu(inputs, kernel, strides, padding)
  return _in_blocks(inputs, kernel, strides, padding)


def automatic_implementation() -> str:
  """Chooses 'native', 'cpu' or 'blocks' by the devices of the current strategy or machine."""
  if _device_types() != {'cpu'}:
    return 'native'
  return {'tensorflow': 'cpu', 'jax': 'blocks'}.get(keras.backend.backend(), 'native')


def _device_types():
  backend = keras.backend.backend()
  if backend == 'tensorflow':
    return distribute.device_types()
  if backend == 'jax':
    return {device.split(':')[0] for device in keras.distribution.list_devices()}
  return set()


def _checked(implementation):
  if implementation not in IMPLEMENTATIONS:
    raise unknown_name('implementation', implementation, IMPLEMENTATIONS)
  return implementation


# Implementations for any backend. Arguments and results as for `grouped_conv`.


def _native(inputs, kernel, strides, padding):
  """Applies the backend's own grouped convolution."""
  if keras.backend.backend() == 'tensorflow':
    # `ops.conv` would compile it with XLA on every device.
    return tf.nn.conv2d(inputs, kernel, list(strides), padding.upper())
  return ops.conv(inputs, kernel, list(strides), padding, data_format='channels_last')


def _in_blocks(inputs, kernel, strides, padding):
  """Applies dense convolutions with block-diagonal kernels to blocks of neighbouring groups."""
  groups = inputs.shape[-1] // kernel.shape[2]
  kernels = _block_diagonal(kernel, groups, _groups_per_block(groups, kernel.shape[2]))
  outputs = [
    ops.conv(block, kernels[i], list(strides), padding, data_format='channels_last')
    for i, block in enumerate(ops.split(inputs, kernels.shape[0], axis=-1))
  ]
  return ops.concatenate(outputs, axis=-1)


def _groups_per_block(groups, group_channels):
  """Returns the smallest number of groups per block that fills `_LEAST_BLOCK_CHANNELS`."""
  divisors = (m for m in range(1, groups + 1) if groups % m == 0)
  return next((m for m in divisors if m * group_channels >= _LEAST_BLOCK_CHANNELS), groups)


def _block_diagonal(kernel, groups, merged):
  """Returns the dense kernels of blocks of `merged` groups.

  Args:
    kernel: [h, w, i, groups * o], the kernel of a grouped convolution.
    groups: number of groups.
    merged: groups per block; divides `groups`.

  Returns:
    [groups / merged, h, w, merged * i, merged * o], zero between groups.
  """
  height, width, group_inputs, filters = kernel.shape
  count, group_outputs = groups // merged, filters // groups
  kernel = ops.reshape(kernel, (height, width, group_inputs, count, merged, group_outputs))
  kernel = ops.transpose(kernel, (3, 0, 1, 4, 2, 5))  # [count, h, w, merged, i, o]
  diagonal = ops.reshape(ops.eye(merged, dtype=kernel.dtype), (merged, 1, merged, 1))
  kernel = ops.expand_dims(kernel, 5) * diagonal  # [count, h, w, merged, i, merged, o]
  return ops.reshape(kernel, (count, height, width, merged * group_inputs, merged * group_outputs))


# The implementation 'cpu', of TensorFlow's kernels for CPUs.


def _on_cpu(inputs, kernel, strides, padding):
  @custom_gradient
  def convolve(inputs, kernel):
    outputs = _unfused(inputs, kernel, strides, padding)

    def gradient(upstream):
      if not tf.executing_eagerly() and _has_native_gradients(inputs.dtype):
        return _native_gradients(upstream, inputs, kernel, strides, padding)
      return (
        _input_gradient(upstream, inputs, kernel, strides, padding),
        _kernel_gradient(upstream, inputs, kernel, strides, padding),
      )

    return outputs, gradient

  return convolve(tf.convert_to_tensor(inputs), tf.convert_to_tensor(kernel))


def _unfused(inputs, kernel, strides, padding):
  """Applies the native operation, followed by a no-op that prevents fusion.

  TensorFlow fuses a convolution with a following bias, batch norm or ReLU, and a fused grouped
  convolution runs only with oneDNN, which not every machine has.
  """
  outputs = _native(inputs, kernel, strides, padding)
  return tf.ensure_shape(outputs, outputs.shape)


@functools.cache
def _has_native_gradients(dtype):
  """Returns whether graphs have gradients of grouped convolutions here: oneDNN's kernels do.

  No function of TensorFlow says so; hence a convolution is tried. A graph in bfloat16 needs a
  processor that has it, and TensorFlow can be built or started without oneDNN.
  """
  gradients = tf.function(_native_gradients, autograph=False)
  try:
    with tf.init_scope():
      values = [tf.ones(shape, dtype) for shape in ((1, 3, 3, 4), (1, 3, 3, 4), (3, 3, 2, 4))]
      gradients(*values, (1, 1), 'same')
  except tf.errors.OpError:
    return False
  return True


def _native_gradients(upstream, inputs, kernel, strides, padding):
  """Returns the gradients of the inputs and the kernel from the kernels of the operation itself."""
  settings = {'strides': [1, *strides, 1], 'padding': padding.upper()}
  return (
    tf.raw_ops.Conv2DBackpropInput(
      input_sizes=tf.shape(inputs), filter=kernel, out_backprop=upstream, **settings
    ),
    tf.raw_ops.Conv2DBackpropFilter(
      input=inputs, filter_sizes=kernel.shape, out_backprop=upstream, **settings
    ),
  )


def _input_gradient(upstream, inputs, kernel, strides, padding):
  groups = inputs.shape[-1] // kernel.shape[2]
  if tuple(strides) == (1, 1):
    explicit = _transposed_padding(kernel.shape[:2], padding)
    return tf.nn.conv2d(upstream, _transposed(kernel, groups), 1, explicit)
  merged = _groups_per_block(groups, kernel.shape[2])
  kernels = _block_diagonal(kernel, groups, merged)
  count = kernels.shape[0]
  sizes = tf.concat([tf.shape(inputs)[:3], [inputs.shape[-1] // count]], axis=0)
  gradients = [
    tf.raw_ops.Conv2DBackpropInput(
      input_sizes=sizes,
      filter=kernels[i],
      out_backprop=block,
      strides=[1, *strides, 1],
      padding=padding.upper(),
    )
    for i, block in enumerate(tf.split(upstream, count, axis=-1))
  ]
  return tf.concat(gradients, axis=-1)


def _transposed(kernel, groups):
  """Rotates the kernel by 180 degrees and swaps the inputs and outputs of each group."""
  height, width, group_inputs, filters = kernel.shape
  kernel = tf.reshape(kernel[::-1, ::-1], [height, width, group_inputs, groups, filters // groups])
  kernel = tf.transpose(kernel, [0, 1, 4, 3, 2])
  return tf.reshape(kernel, [height, width, filters // groups, groups * group_inputs])


def _transposed_padding(kernel_size, padding):
  """Returns the explicit padding with which the transposed convolution restores the input size."""
  spatial = []
  for size in kernel_size:
    before = (size - 1) // 2 if padding == 'same' else 0
    after = size - 1 - before if padding == 'same' else 0
    spatial.append([size - 1 - before, size - 1 - after])
  return [[0, 0], *spatial, [0, 0]]


def _kernel_gradient(upstream, inputs, kernel, strides, padding):
  height, width, group_inputs, filters = kernel.shape
  groups = inputs.shape[-1] // group_inputs
  merged = _groups_per_block(groups, group_inputs)
  count, group_outputs = groups // merged, filters // groups
  gradients = [
    tf.raw_ops.Conv2DBackpropFilter(
      input=block,
      filter_sizes=[height, width, merged * group_inputs, merged * group_outputs],
      out_backprop=upstream_block,
      strides=[1, *strides, 1],
      padding=padding.upper(),
    )
    for block, upstream_block in zip(
      tf.split(inputs, count, axis=-1), tf.split(upstream, count, axis=-1), strict=True
    )
  ]
  gradient = tf.reshape(
    tf.stack(gradients), [count, height, width, merged, group_inputs, merged, group_outputs]
  )
  gradient = tf.einsum('chwmimo->hwicmo', gradient)
  return tf.reshape(gradient, kernel.shape)
