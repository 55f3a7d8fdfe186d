"""Exports an image model as files that need nothing of this package to load.

An export is one directory:

    saved_model.pb, variables/ ...   SavedModel with the signatures below, its batch norm folded
    tpu/                             optional SavedModel for TensorFlow Serving on TPUs (`tpu.py`)
    model.keras                      the Keras model, for `keras.models.load_model`
    export.json                      model name, preprocessing, classes, precision, versions
    README.md                        model card with the checksums of the files (`model_card.py`)

Signatures, each with the outputs `classes` (int64 [batch]), `probabilities` and `logits`
(float32 [batch, classes]), for any batch size, 0 too:

    serving_default, image_bytes     image_bytes: string [batch], contents of image files
    serve, images                    images: float32 [batch, height, width, 3] in [0, 255]

With known names of classes there is another signature, `class_names`, without inputs: its output
`class_names`, string [classes], has the name of each class in the order of the logits:

    tf.saved_model.load(directory).signatures['class_names']()['class_names']

`model.keras` has the same names in its `metadata.json` (`keras_metadata`).

Files are read by the rule of `images/decoding.py`: a batch with one that is not (cut off, another
format, too large) fails with a message that names its place, `image_bytes[2]`; of a GIF animation
the first picture is classified.

The directory is written under a temporary name and renamed, so no partial export is ever visible.
"""
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tpu_utils import files
from tpu_utils.export import keras_metadata, model_card, serving, tpu
from tpu_utils.export.folding import fold_batch_norm

KERAS_FILE = 'model.keras'
EXPORT_INFO_FILE = 'export.json'
TPU_DIRECTORY = 'tpu'


def export(
  model: keras.Model,
  directory: str | os.PathLike,
  preprocess: Callable[[tf.Tensor], tf.Tensor],
  preprocessing: Mapping[str, Any],
  class_names: Sequence[str] | None = None,
  *,
  to_tpu: bool = False,
  endpoint: str | None = None,
  card: model_card.ModelCard | None = None,
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
    endpoint: name of the endpoint, the only output of all signatures, as `output`; None for a
      classifier.
    card: model card for README.md, without the checksums; None for one that says only what the
      model is.

  Raises:
    ValueError: `model` is not an image classifier, or `class_names` has another length.
    OSError: the files could not be written; an earlier export is unchanged.
  """
  image_shape, num_classes = _check_model(model, endpoint)
  if class_names is not None and len(class_names) != num_classes:
    raise ValueError(
      f'class_names: expected one name for each of the {num_classes} classes of {model.name}, '
      f'found {len(class_names)}; give {num_classes} names or none.'
    )
  export_info = {
    'model_name': model.name,
    **({'endpoint_name': endpoint} if endpoint else {}),
    'image_shape': list(image_shape),
    'preprocessing': dict(preprocessing),
    'num_classes': num_classes,
    'class_names': None if class_names is None else list(class_names),
    'precision': _precision(model),
    'versions': files.versions(),
  }

  def write(staged):
    folded = fold_batch_norm(model)
    _write_saved_model(folded, preprocess, staged, class_names, endpoint)
    if to_tpu:
      tpu.write(folded, preprocess, os.path.join(staged, TPU_DIRECTORY), class_names, endpoint)
    keras_file = os.path.join(staged, KERAS_FILE)
    with_builtin_layers(model).save(keras_file)
    if class_names is not None:
      keras_metadata.add(keras_file, class_names)
    files.write_json(os.path.join(staged, EXPORT_INFO_FILE), export_info)
    model_card.write(staged, card or _plain_card(model, num_classes))  # Last: it has checksums.

  files.replace_folder(os.fspath(directory), write, marker=EXPORT_INFO_FILE)


def _plain_card(model, num_classes):
  return model_card.ModelCard(
    model.name,
    'image-classification',
    f'An image classifier, {model.name}, with {num_classes} outputs; export.json describes it.',
  )


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


class _Servable(tf.Module):
  """The signatures' functions, with raw variables, so that loading needs no Keras."""

  def __init__(self, model, preprocess, class_names, endpoint):
    super().__init__()
    self._weights = [variable.value for variable in model.variables]
    shape = model.inputs[0].shape[1:]
    decode = serving.decoder(preprocess, shape)

    def infer(images):
      return serving.predictions(model, images, endpoint)

    @tf.function(input_signature=[serving.images_spec(shape)])
    def serve_images(images):
      return serving.for_any_batch(infer, images)

    @tf.function(input_signature=[serving.IMAGE_BYTES_SPEC])
    def serve_image_bytes(image_bytes):
      return serving.for_any_batch(infer, decode(image_bytes))

    self.images = serve_images
    self.image_bytes = serve_image_bytes
    self.class_names = None if class_names is None else _naming_function(class_names)


def _naming_function(class_names):
  @tf.function(input_signature=[])
  def name_classes():
    return {serving.CLASS_NAMES: tf.constant(list(class_names), tf.string)}

  return name_classes


def _write_saved_model(model, preprocess, directory, class_names, endpoint):
  servable = _Servable(model, preprocess, class_names, endpoint)
  functions = {'images': servable.images, 'image_bytes': servable.image_bytes}
  signatures = serving.signatures(functions)
  if class_names is not None:
    signatures[serving.CLASS_NAMES] = servable.class_names
  tf.saved_model.save(servable, directory, signatures)
