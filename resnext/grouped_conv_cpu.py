"""Grouped convolution on TensorFlow's CPU kernels, which have its forward pass but no gradient.

- Forward: the native kernel.
- Gradient of the inputs: at stride 1 it is a grouped convolution itself, so the native kernel
  again; else a dense one for each block of groups.
- Gradient of the kernel: a dense one for each block of groups, of which the diagonal is kept.
"""
import tensorflow as tf

from resnext import grouped_conv_ops
from tpu_utils.custom_gradient import custom_gradient


def grouped_conv(inputs, kernel, strides, padding):
  """As `grouped_conv.grouped_conv`, for CPUs."""

  @custom_gradient
  def convolve(inputs, kernel):
    outputs = _unfused(inputs, kernel, strides, padding)

    def gradient(upstream):
      return (
        _input_gradient(upstream, inputs, kernel, strides, padding),
        _kernel_gradient(upstream, inputs, kernel, strides, padding),
      )

    return outputs, gradient

  return convolve(tf.convert_to_tensor(inputs), tf.convert_to_tensor(kernel))


def _unfused(inputs, kernel, strides, padding):
  """The native operation, apart from the operations behind it.

  TensorFlow fuses a convolution with the bias, batch norm and ReLU that follow, and a fused grouped one runs only
  where there is oneDNN, which not every machine has. The operation between, which does nothing, prevents that.
  """
  outputs = grouped_conv_ops.native(inputs, kernel, strides, padding)
  return tf.ensure_shape(outputs, outputs.shape)


def _input_gradient(upstream, inputs, kernel, strides, padding):
  groups = inputs.shape[-1] // kernel.shape[2]
  if tuple(strides) == (1, 1):
    explicit = _transposed_padding(kernel.shape[:2], padding)
    return tf.nn.conv2d(upstream, _transposed(kernel, groups), 1, explicit)
  merged = grouped_conv_ops.groups_per_block(groups, kernel.shape[2])
  kernels = grouped_conv_ops.block_diagonal(kernel, groups, merged)
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
  """The kernel turned by 180 degrees, with inputs and outputs of each group exchanged."""
  height, width, group_inputs, filters = kernel.shape
  kernel = tf.reshape(kernel[::-1, ::-1], [height, width, group_inputs, groups, filters // groups])
  kernel = tf.transpose(kernel, [0, 1, 4, 3, 2])
  return tf.reshape(kernel, [height, width, filters // groups, groups * group_inputs])


def _transposed_padding(kernel_size, padding):
  """Explicit padding under which the transposed convolution gives back the inputs' size."""
  spatial = []
  for size in kernel_size:
    before = (size - 1) // 2 if padding == 'same' else 0
    after = size - 1 - before if padding == 'same' else 0
    spatial.append([size - 1 - before, size - 1 - after])
  return [[0, 0], *spatial, [0, 0]]


def _kernel_gradient(upstream, inputs, kernel, strides, padding):
  height, width, group_inputs, filters = kernel.shape
  groups = inputs.shape[-1] // group_inputs
  merged = grouped_conv_ops.groups_per_block(groups, group_inputs)
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
