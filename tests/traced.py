"""Multiply-adds in a model's traced graph, to compare with those counted by layer."""
import keras

from tpu_utils import profile


class _Whole(keras.Model):
  """Wraps a functional model so that the counter has to trace it."""

  def __init__(self, model):
    super().__init__(name=model.name)
    self._model = model

  @property
  def input(self):
    return self._model.input

  def call(self, inputs, training=None):
    return self._model(inputs, training=training)


def multiply_adds(model: keras.Model) -> int:
  """Counts the convolutions and matrix products in the graph that TensorFlow traces for `model`."""
  return profile.flops(_Whole(model))
