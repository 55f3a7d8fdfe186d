"""Custom gradients that do not keep a model in memory."""
import functools

import tensorflow as tf


def custom_gradient(function):
  """As `tf.custom_gradient`, for functions of tensors alone, whatever they close over.

  TensorFlow keeps what the gradient closes over until the process ends. In the graph of a model that is the
  graph, and with it all variables; so the function is traced in a graph of its own, which holds none.
  """
  differentiable = tf.custom_gradient(function)

  @functools.wraps(function)
  def call(*tensors):
    if tf.executing_eagerly():
      return differentiable(*tensors)
    like = [tf.TensorSpec(x.shape, x.dtype) for x in tensors]
    return tf.function(differentiable, autograph=False).get_concrete_function(*like)(*tensors)

  return call
