"""Image classifiers from whatever holds one: a Keras model with a checkpoint, a `.keras` file, a SavedModel."""
import dataclasses
import json
import os
import zipfile
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tpu_utils.images.spec import PreprocessSpec
from tpu_utils.names import unknown_name

_SAVED_MODEL = 'saved_model.pb'
_RECORD = 'export.json'  # Of our own exports.


@dataclasses.dataclass(frozen=True)
class Classifier:
  """What evaluation needs.

  Attributes:
    predict: function(images float32 [n, height, width, 3] in [0, 255]) -> probabilities float32 [n, classes].
    num_classes: how many.
    spec: `PreprocessSpec` of the images.
    class_names: list, or None if the file does not say.
    model: the `keras.Model`; None for a SavedModel.
  """

  predict: Callable
  num_classes: int
  spec: PreprocessSpec
  class_names: list | None = None
  model: keras.Model | None = None


def is_program(path):
  """Whether a path is a SavedModel or a `.keras` file, which hold a network and not its weights alone."""
  return path.endswith('.keras') or tf.io.gfile.exists(os.path.join(path, _SAVED_MODEL))


def from_model(model, spec):
  """The classifier of a `keras.Model` from images to logits."""
  return _classifier(lambda images: model(images, training=False), model.output_shape[-1], spec, model=model)


def from_file(path, spec):
  """The classifier in a SavedModel or a `.keras` file.

  Args:
    path: folder or file. Images go to the SavedModel's signature that takes them.
    spec: `PreprocessSpec` of the images, but what an export of ours says of itself, and the size, come first.

  Raises:
    ValueError: it cannot be read, or does not map images to classes.
  """
  record = _record(path)
  if path.endswith('.keras'):
    model = _load_keras(path)
    shapes, function = (model.input_shape, model.output_shape), lambda images: model(images, training=False)
  else:
    model, (shapes, function) = None, _load_saved_model(path)
  images, outputs = shapes
  if len(images) != 4 or images[-1] != 3 or len(outputs) != 2 or None in (*images[1:], outputs[1]):
    raise ValueError(
      f'{path} maps {list(images)} to {list(outputs)}; expected images of a fixed size, [batch, height, width, '
      '3], to classes, [batch, classes].'
    )
  if images[1] != images[2]:
    raise ValueError(f'{path} takes images of {images[1]} by {images[2]} pixels; only squares are prepared here.')
  spec = _spec_of(record, spec)
  spec = dataclasses.replace(spec, image_size=images[1])
  return _classifier(function, outputs[1], spec, record.get('class_names'), model)


def _classifier(function, num_classes, spec, class_names=None, model=None):
  run = tf.function(function, reduce_retracing=True, autograph=False)

  def predict(images):
    return probabilities(run(tf.convert_to_tensor(images, tf.float32)).numpy())

  return Classifier(predict, num_classes, spec, class_names, model)


def probabilities(outputs):
  """Softmax of logits; what is a probability distribution in each row already stays as it is."""
  outputs = np.asarray(outputs, np.float32)
  if outputs.min() >= 0 and np.allclose(outputs.sum(-1), 1, atol=1e-3):
    return outputs
  shifted = np.exp(outputs - outputs.max(-1, keepdims=True))
  return shifted / shifted.sum(-1, keepdims=True)


def _load_keras(path):
  if not os.path.isfile(path):
    raise FileNotFoundError(f'{path}: no such file.')
  if path.endswith('.keras') and not zipfile.is_zipfile(path):
    raise ValueError(f'{path} is no whole .keras file; copy it anew.')  # Keras would say that there is none.
  try:
    return keras.models.load_model(path, compile=False)
  except Exception as error:  # Whatever Keras meets in a file that is damaged or not its own.
    raise ValueError(f'{path} cannot be read as a .keras file ({_first_line(error)}).') from error


def _load_saved_model(path):
  """((input shape, output shape), function) of the signature that takes images."""
  try:
    loaded = tf.saved_model.load(path)
  except (tf.errors.OpError, OSError, ValueError, RuntimeError) as error:
    raise ValueError(f'{path} cannot be read as a SavedModel ({_first_line(error)}).') from error
  found = []
  for name, signature in loaded.signatures.items():
    (argument, tensor), *others = signature.structured_input_signature[1].items()
    if others or tensor.dtype != tf.float32 or tensor.shape.rank != 4:
      found.append(name)
      continue
    outputs = signature.structured_outputs
    output = next((o for o in ('probabilities', 'logits') if o in outputs), None)
    if output is None and len(outputs) == 1:
      (output,) = outputs
    if output is None:
      raise unknown_name(f'output of {path} among', 'probabilities', outputs)

    def run(images, signature=signature, argument=argument, output=output, loaded=loaded):
      del loaded  # Kept alive with its variables.
      return signature(**{argument: images})[output]

    return (tuple(tensor.shape), tuple(outputs[output].shape)), run
  raise ValueError(
    f'{path} has no signature that takes images, float32 [batch, height, width, 3]; it has '
    f'{", ".join(found) or "none"}. Export the model with one.'
  )


def _record(path):
  """What our exports write beside the model: {} for others."""
  folder = os.path.dirname(path) if path.endswith('.keras') else path
  file_name = os.path.join(folder, _RECORD)
  if not tf.io.gfile.exists(file_name):
    return {}
  with tf.io.gfile.GFile(file_name) as file:
    try:
      record = json.loads(file.read())
    except ValueError as error:
      raise ValueError(f'{file_name} is no JSON ({error}); export the model again.') from error
  return record if isinstance(record, dict) else {}


def _spec_of(record, spec):
  fields = {field.name for field in dataclasses.fields(PreprocessSpec)}
  said = {k: v for k, v in record.get('preprocessing', {}).items() if k in fields}
  return dataclasses.replace(spec, **said)


def _first_line(error):
  lines = str(error).strip().splitlines()
  return lines[0] if lines else type(error).__name__
