"""Gradients of activations in one pass over memory, for CPUs.

TensorFlow computes the gradient of swish or GELU by six to ten operations, each of which reads and
writes a whole tensor. XLA makes one loop of them. Its result differs by float32 rounding.
"""
import functools
from collections.abc import Callable
from typing import Any

import keras

if keras.backend.backend() == 'tensorflow':
  import tensorflow as tf

  from tpu_utils import distribute
  from tpu_utils.custom_gradient import custom_gradient

# Smaller tensors stay in the caches, and each of their shapes would be compiled.
_LEAST_ELEMENTS = 2**17


def with_fused_gradient(activation: Callable[[Any], Any], x: Any) -> Any:
  """Applies an activation in training; its gradient is one operation where that is faster.

  That is for large float32 tensors of a known shape, on CPUs, in graphs. Anywhere else it is
  `activation(x)`.

  Args:
    activation: function from a tensor to one of its shape, elementwise; always the same object.
    x: the tensor.
  """
  if not _is_faster(x):
    return activation(x)
  return _fused(activation)(x)


def _is_faster(x):
  if keras.backend.backend() != 'tensorflow' or not tf.is_tensor(x) or tf.executing_eagerly():
    return False
  count = x.shape.num_elements()
  return (
    x.dtype == tf.float32
    and count is not None
    and count >= _LEAST_ELEMENTS
    and distribute.device_types() == {'cpu'}
    and not distribute.has_tpu_kernels()  # XLA of that build does not compile for CPUs.
  )


@functools.cache
def _fused(activation):
  @tf.function(autograph=False, jit_compile=True)
  def gradient(x, upstream):
    with tf.GradientTape() as tape:
      tape.watch(x)
      y = activation(x)
    return tape.gradient(y, x, output_gradients=upstream)

  @custom_gradient
  def call(x):
    return activation(x), lambda upstream: gradient(x, upstream)

  return call


@keras.saving.register_keras_serializable('tpu_utils')
class Activation(keras.layers.Activation):
  """`keras.layers.Activation` that trains with `with_fused_gradient`."""

  def builtin(self) -> keras.layers.Activation:
    """Returns Keras' own layer; see `tpu_utils.export.with_builtin_layers`."""
    return keras.layers.Activation.from_config(self.get_config())

  def call(self, inputs: Any, training: bool = False) -> Any:
    """Applies the activation elementwise."""
    if training:
      return with_fused_gradient(self.activation, inputs)
    return super().call(inputs)
