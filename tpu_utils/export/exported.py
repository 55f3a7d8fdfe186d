"""An image model with all that its exported files tell of it."""
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Exported:
  """A model to export.

  Attributes:
    model: model from images, float32 [batch, height, width, 3] in [0, 255], to logits, or
      to an endpoint.
    folded: the same with its batch norm folded.
    preprocess: function from one image file's bytes (string scalar) to the model's input.
    info: the content of export.json.
    class_names: names of the classes in the order of the logits; None if they are unknown.
    to_tpu: whether the SavedModel has a graph for TPUs, too.
    endpoint: name of the endpoint, the only output, as `output`; None for a classifier.
  """

  model: keras.Model
  folded: keras.Model
  preprocess: Callable[[tf.Tensor], tf.Tensor]
  info: Mapping[str, Any]
  class_names: Sequence[str] | None = None
  to_tpu: bool = False
  endpoint: str | None = None
