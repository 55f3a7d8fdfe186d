"""Custom gradients that do not keep a model in memory."""
import functools
from collections.abc import Callable

import tensorflow as tf


def custom_gradient(function: Callable) -> Callable:
  """Wraps a function of tensors like `tf.custom_gradient`, but without keeping its graph alive.

  TensorFlow keeps everything that the gradient function closes over until the process ends. Within
  a model's graph that is the graph itself, with all its variables; therefore the function is traced
  in a graph of its own, which holds no variables.

  Args:
    function: function(*tensors) -> (output, gradient function), as for `tf.custom_gradient`.
  """
  differentiable = tf.custom_gradient(function)

  @functools.wraps(function)
  def call(*tensors):
    if tf.executing_eagerly():
      return differentiable(*tensors)
    specs = [tf.TensorSpec(x.shape, x.dtype) for x in tensors]
    return tf.function(differentiable, autograph=False).get_concrete_function(*specs)(*tensors)

  return call
