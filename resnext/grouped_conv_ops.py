"""Two ways to compute a grouped convolution with any backend: its native one, and dense blocks.

The arguments are those of `grouped_conv.grouped_conv`.
"""
import keras
from keras import ops

# Below about twelve channels a dense convolution cannot fill the CPU's vector registers, and merged
# groups, zeros included, take less time than separate ones. Measured for 2 to 80 channels a group.
_LEAST_BLOCK_CHANNELS = 12


def native(inputs, kernel, strides, padding):
  """The backend's own grouped convolution."""
  if keras.backend.backend() == 'tensorflow':
    import tensorflow as tf

    # `ops.conv` would make an XLA program of it on every device.
    return tf.nn.conv2d(inputs, kernel, list(strides), padding.upper())
  return ops.conv(inputs, kernel, list(strides), padding, data_format='channels_last')


def blocks(inputs, kernel, strides, padding):
  """Dense convolutions of blocks of neighbouring groups, with block-diagonal kernels."""
  groups = inputs.shape[-1] // kernel.shape[2]
  kernels = block_diagonal(kernel, groups, groups_per_block(groups, kernel.shape[2]))
  outputs = [
    ops.conv(block, kernels[i], list(strides), padding, data_format='channels_last')
    for i, block in enumerate(ops.split(inputs, kernels.shape[0], axis=-1))
  ]
  return ops.concatenate(outputs, axis=-1)


def groups_per_block(groups, group_channels):
  """How many groups to convolve together: the fewest that make a block worth its overhead."""
  divisors = (m for m in range(1, groups + 1) if groups % m == 0)
  return next((m for m in divisors if m * group_channels >= _LEAST_BLOCK_CHANNELS), groups)


def block_diagonal(kernel, groups, merged):
  """Dense kernels of blocks of `merged` groups.

  Args:
    kernel: [h, w, i, groups * o], the kernel of a grouped convolution.
    groups: number of groups.
    merged: groups in a block; it divides `groups`.

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
