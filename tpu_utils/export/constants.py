"""A model as a TensorFlow function with constant weights."""
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


def constant_function(
  model: keras.Model,
  batch_size: int | None = None,
  outputs: Callable[[tf.Tensor], Any] = lambda logits: logits,
) -> tf.types.experimental.ConcreteFunction:
  """Traces the inference of a model with its current weights.

  With constants, TensorFlow's CPU kernels lay the weights out only once, and TFLite can store them.

  Args:
    model: model from one tensor of images to one of logits.
    batch_size: None for any.
    outputs: function from the logits to the traced function's outputs.

  Returns:
    Concrete function of `images`, float32 [batch, height, width, 3].
  """
  values = [(variable, variable.numpy()) for variable in model.variables]

  def infer(images):
    mapping = [(variable, tf.constant(value)) for variable, value in values]
    with keras.StatelessScope(state_mapping=mapping):
      return outputs(model(images, training=False))

  images = tf.TensorSpec((batch_size, *model.inputs[0].shape[1:]), tf.float32, 'images')
  return tf.function(infer, autograph=False).get_concrete_function(images)
