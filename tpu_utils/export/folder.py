"""Exports an image model as a folder of files that need nothing of this package to load.

    saved_model.pb, variables/ ...   SavedModel, its batch norm folded (`saved_model.py`)
    tpu/                             optional SavedModel for TensorFlow Serving on TPUs (`tpu.py`)
    model.keras                      the Keras model, for `keras.models.load_model`
    model.tflite                     TFLite file in float32, one image at a time (`tflite.py`)
    model.xml, model.bin             OpenVINO model (`openvino_ir.py`)
    model.onnx                       ONNX file (`onnx_file.py`)
    export.json                      model name, preprocessing, classes, precision, versions, files
    README.md                        model card with the checksums of the files (`model_card.py`)

SavedModel and Keras file are the default; `formats` of `tpu_utils.model_formats.FORMATS` chooses.
The folder is written under a temporary name and renamed, so no partial export is ever visible.
"""
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tpu_utils import files
from tpu_utils.export import model_card
from tpu_utils.export.exported import Exported
from tpu_utils.export.folding import fold_batch_norm
from tpu_utils.export.formats import WRITERS
from tpu_utils.model_formats import DEFAULT_FORMATS, FORMATS, check_endpoint

EXPORT_INFO_FILE = 'export.json'


def export(
  model: keras.Model,
  directory: str | os.PathLike,
  preprocess: Callable[[tf.Tensor], tf.Tensor],
  preprocessing: Mapping[str, Any],
  class_names: Sequence[str] | None = None,
  *,
  to_tpu: bool = False,
  formats: Sequence[str] = DEFAULT_FORMATS,
  measure: Callable[[str, Mapping[str, Any]], Mapping[str, Any]] | None = None,
  endpoint: str | None = None,
  card: model_card.ModelCard | Callable[[], model_card.ModelCard] | None = None,
) -> None:
  """Writes a model with its current weights; a complete new export replaces an earlier one.

  Args:
    model: model from images, float32 [batch, height, width, 3] in [0, 255], to logits,
      [batch, classes], or to an endpoint, [batch, ...].
    directory: of the export; local or anything that `tf.io.gfile` writes to.
    preprocess: evaluation's function from one image file's bytes (string scalar) to the model's
      input, float32 [height, width, 3] in [0, 255].
    preprocessing: JSON-able description of `preprocess`, for export.json.
    class_names: names of the classes in the order of the logits; None if they are unknown.
    to_tpu: whether to write `tpu/`, too.
    formats: files to write, keys of `FORMATS`.
    measure: called with the folder when it holds the files, and the content of export.json; returns
      JSON-able results for `measured` in it. None to measure nothing.
    endpoint: name of the endpoint, the only output, as `output` in all files but the Keras file;
      None for a classifier.
    card: model card for README.md, without the checksums, or a function that makes it after the
      measurement; None for one that says only what the model is.

  Raises:
    ValueError: `model` is not an image classifier, `class_names` has another length, or a format
      cannot be written.
    OSError: the files could not be written; an earlier export is unchanged.
  """
  check_endpoint(endpoint, formats)
  image_shape, num_classes = _check_model(model, endpoint)
  if class_names is not None and len(class_names) != num_classes:
    raise ValueError(
      f'class_names: expected one name for each of the {num_classes} classes of {model.name}, '
      f'found {len(class_names)}; give {num_classes} names or none.'
    )
  info = {
    'model_name': model.name,
    **({'endpoint_name': endpoint} if endpoint else {}),
    'image_shape': list(image_shape),
    'preprocessing': dict(preprocessing),
    'num_classes': num_classes,
    'class_names': None if class_names is None else list(class_names),
    'precision': _precision(model),
    'versions': files.versions(),
    'formats': {name: FORMATS[name].file for name in formats},
  }

  def write(staged):
    folded = fold_batch_norm(model)
    exported = Exported(model, folded, preprocess, info, class_names, to_tpu, endpoint)
    for name in formats:
      WRITERS[name](exported, staged)
    measured = {'measured': measure(staged, info)} if measure else {}
    files.write_json(os.path.join(staged, EXPORT_INFO_FILE), {**info, **measured})
    made = (card() if callable(card) else card) or _plain_card(model, num_classes, endpoint)
    model_card.write(staged, made)  # Last: it has checksums.

  files.replace_folder(os.fspath(directory), write, marker=EXPORT_INFO_FILE)


def _plain_card(model, num_classes, endpoint):
  if endpoint:
    task, what = 'image-feature-extraction', f'A network, {model.name}, up to its {endpoint}'
  else:
    task, what = 'image-classification', f'An image classifier, {model.name}, of {num_classes}'
    what = f'{what} classes'
  return model_card.ModelCard(model.name, task, f'{what}; export.json describes it.')


def _check_model(model, endpoint):
  """Returns ((height, width, 3), number of classes or None); raises ValueError for other models."""
  if keras.backend.backend() != 'tensorflow':
    raise ValueError(
      f'A SavedModel needs the TensorFlow backend of Keras, found {keras.backend.backend()!r}; '
      'set KERAS_BACKEND=tensorflow.'
    )
  shapes = [tuple(tensor.shape) for tensor in (*model.inputs, *model.outputs)]
  if endpoint:
    return shapes[0][1:], None
  if len(model.inputs) != 1 or len(model.outputs) != 1 or [len(s) for s in shapes] != [4, 2]:
    raise ValueError(
      f'Only image classifiers can be exported: expected {model.name} to map [batch, height, '
      f'width, 3] to [batch, classes], found inputs and outputs {shapes}; build it with its top.'
    )
  return shapes[0][1:], shapes[1][1]


def _precision(model):
  """Returns the dtype in which most of a model computes: 'bfloat16' or 'float32'."""
  dtypes = {layer.compute_dtype for layer in model.layers}
  return 'bfloat16' if 'bfloat16' in dtypes else 'float32'
