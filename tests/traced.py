"""Multiply-adds of a model's graph, to compare with those counted layer by layer."""
import keras

from tpu_utils import profile


class _Whole(keras.Model):
  """Hides that a model is functional, so that its layers can be counted only by tracing."""

  def __init__(self, model):
    super().__init__(name=model.name)
    self._model = model

  @property
  def input(self):
    return self._model.input

  def call(self, inputs, training=None):
    return self._model(inputs, training=training)


def multiply_adds(model: keras.Model) -> int:
  """Counts the convolutions and matrix products of the graph that TensorFlow traces of `model`."""
  return profile.flops(_Whole(model))
