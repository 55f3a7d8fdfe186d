"""Batch norm of a widening 1x1 convolution, with a gradient that fits the memory of a TPU.

A network's step on a TPU is as long as its traffic with memory. The plain gradient of batch norm is
a tensor as wide as the convolution's output: it is written once, and read for both gradients of the
convolution. But it is linear in its two summands, and the convolution's output is linear in its
narrow input, so both gradients follow from the gradient behind batch norm and from the input alone:

    dy = a dz - a mean(dz) + c (y - mean(y)),   with a and c for each channel, and y = x W
    dx = dy W' = dz (a W)' + (x - mean(x)) W c W' - W (a mean(dz))
    dW = x' dy = a (x - mean(x))' dz + c (x - mean(x))' (x - mean(x)) W

where c follows from W and the product of x and dz, too. The products of x with itself are as many
times smaller than those with dz as the convolution widens.
"""
import tensorflow as tf

from tpu_utils.custom_gradient import custom_gradient

# Below, the products of the narrow input with itself move about as much as is saved.
LEAST_WIDENING = 4


def convolution_of(outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor] | None:
  """Returns the inputs and the kernel of the widening 1x1 convolution that computes a tensor.

  Args:
    outputs: [batch, height, width, channels], a tensor of a graph.

  Returns:
    (inputs [batch, height, width, narrow], kernel [1, 1, narrow, channels]), or None if another
    operation computes it.
  """
  if not tf.is_symbolic_tensor(outputs) or outputs.op.type != 'Conv2D':
    return None
  operation = outputs.op
  inputs, kernel = operation.inputs
  plain = (
    operation.get_attr('data_format') == b'NHWC'
    and list(operation.get_attr('strides')) == [1, 1, 1, 1]
    and kernel.shape[:2].as_list() == [1, 1]
    and kernel.shape[2] == inputs.shape[-1]  # Not in groups.
  )
  if plain and kernel.shape[3] >= LEAST_WIDENING * kernel.shape[2]:
    return inputs, kernel
  return None


def normalized(
  inputs: tf.Tensor, kernel: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """Applies a 1x1 convolution and batch norm with the statistics of the batch.

  Args:
    inputs: [batch, height, width, narrow].
    kernel: [1, 1, narrow, channels].
    gamma: [channels] float32 scale.
    beta: [channels] float32 offset.
    epsilon: added to the variance.

  Returns:
    ([batch, height, width, channels], float32 mean [channels], float32 unbiased variance
    [channels]), as `FusedBatchNormV3` does. The statistics have no gradient.
  """
  narrow, wide = kernel.shape[2:]

  @custom_gradient
  def apply(inputs, kernel, gamma, beta):
    features = tf.nn.conv2d(inputs, kernel, 1, 'VALID')
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
      x=features, scale=gamma, offset=beta, mean=tf.zeros([0]), variance=tf.zeros([0]),
      epsilon=epsilon, is_training=True,
    )  # fmt: skip
    # Here, not in the gradient: XLA fuses the mean with what computes the inputs.
    input_mean = tf.reduce_mean(_float(inputs), [0, 1, 2])

    def gradient(upstream, *unused):
      del unused  # Of the statistics.
      count = tf.cast(tf.reduce_prod(tf.shape(features)[:3]), tf.float32)
      biased = variance * tf.maximum(count - 1.0, 1.0) / count
      scale = tf.math.rsqrt(biased + epsilon)
      weights = _float(kernel)
      centred = tf.cast(_float(inputs) - input_mean, inputs.dtype)
      pairs = _kernel_gradient(centred, upstream)
      sums = tf.reduce_sum(_float(upstream), [0, 1, 2])
      products = scale * tf.reduce_sum(weights * pairs, [0, 1, 2])
      a, c = gamma * scale, -gamma * scale**2 * products / count
      of_kernel = a * pairs + tf.reshape(
        c * tf.matmul(_squares(centred), tf.reshape(weights, [narrow, wide])), kernel.shape
      )
      of_inputs = _input_gradient(centred, weights, upstream, a, -a * sums / count, c)
      return (
        tf.cast(of_inputs, inputs.dtype), tf.cast(of_kernel, kernel.dtype), products, sums
      )

    return (outputs, mean, variance), gradient

  return apply(inputs, kernel, gamma, beta)


def _input_gradient(centred, weights, upstream, a, shift, c):
  """Returns the gradient of the inputs for `a upstream + shift + c (features - mean)`, float32."""
  narrow, wide = weights.shape[2:]
  matrix = tf.reshape(weights, [narrow, wide])
  direct = tf.raw_ops.Conv2DBackpropInput(
    input_sizes=tf.shape(centred),
    filter=tf.cast(a * weights, upstream.dtype),
    out_backprop=upstream,
    strides=[1, 1, 1, 1],
    padding='VALID',
  )
  within = tf.reshape(tf.matmul(c * matrix, matrix, transpose_b=True), [1, 1, narrow, narrow])
  correction = tf.nn.conv2d(centred, tf.cast(within, centred.dtype), 1, 'VALID')
  return _float(direct) + _float(correction) + tf.linalg.matvec(matrix, shift)


def _squares(centred):
  """Returns float32 [narrow, narrow]: sums of the products of all pairs of channels."""
  narrow = centred.shape[-1]
  return tf.reshape(_kernel_gradient(centred, centred), [narrow, narrow])


def _kernel_gradient(inputs, upstream):
  """Returns float32 [1, 1, inputs' channels, upstream's channels]: sums of all pairs' products."""
  return tf.raw_ops.Conv2DBackpropFilter(
    input=_float(inputs),
    filter_sizes=[1, 1, inputs.shape[-1], upstream.shape[-1]],
    out_backprop=_float(upstream),
    strides=[1, 1, 1, 1],
    padding='VALID',
  )


def _float(x):
  return tf.cast(x, tf.float32)
