"""The Keras file of an export, `model.keras`, for `keras.models.load_model`.

Its `metadata.json` has the names of the classes (`keras_metadata`).
"""
import os

import keras

from tpu_utils.export import keras_metadata
from tpu_utils.export.exported import Exported
from tpu_utils.model_formats import FORMATS

KERAS_FILE = FORMATS['keras'].file


def write(exported: Exported, folder: str) -> None:
  """Writes `model.keras` to a local folder."""
  path = os.path.join(folder, KERAS_FILE)
  with_builtin_layers(exported.model).save(path)
  if exported.class_names is not None:
    keras_metadata.add(path, exported.class_names)


def with_builtin_layers(model: keras.Model) -> keras.Model:
  """Copies a model and its weights, with Keras' own layers for ours that define `builtin()`.

  Keras refuses to load a file with layers that the reading program has not registered; this copy
  loads anywhere.
  """

  def copy(layer):
    if hasattr(layer, 'builtin'):
      return layer.builtin()
    return layer.__class__.from_config(layer.get_config())

  clone = keras.models.clone_model(model, clone_function=copy)
  clone.set_weights(model.get_weights())
  return clone
