"""Image classifiers from a checkpoint, a `.keras` file or a SavedModel."""
import dataclasses
import json
import os
import zipfile
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tpu_utils import checkpoints, weights
from tpu_utils.image_jobs.script import PRETRAINED
from tpu_utils.images.spec import PreprocessSpec, fitted
from tpu_utils.names import unknown_name
from tpu_utils.reading import reading

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
  with reading(path, 'a .keras file', foreign=True):
    return keras.models.load_model(path, compile=False)


def _load_saved_model(path):
  """((input shape, output shape), function) of the signature that takes images."""
  with reading(path, 'a SavedModel', foreign=True):
    loaded = tf.saved_model.load(path)
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
  with reading(file_name, 'JSON'), tf.io.gfile.GFile(file_name) as file:
    record = json.loads(file.read())
  return record if isinstance(record, dict) else {}


def _spec_of(record, spec):
  fields = {field.name for field in dataclasses.fields(PreprocessSpec)}
  preprocessing = record.get('preprocessing', {})
  if not isinstance(preprocessing, dict):
    raise ValueError(f'The preprocessing in {_RECORD} is {preprocessing!r:.80}; expected an object.')
  said = {k: v for k, v in preprocessing.items() if k in fields}
  return dataclasses.replace(spec, **said)


def load(
  model_spec, model_config, spec, checkpoint, *, num_classes=None, advprop=False, source='auto', use_ema=True
):
  """Builds the model and loads its weights; prints what was loaded.

  Args:
    model_spec: `script.ModelSpec`.
    model_config: `script.ModelConfig` that it was resolved from.
    spec: `PreprocessSpec` of its images.
    checkpoint: what `weights.load` reads, 'pretrained', or the --model_dir of a job, of which the best checkpoint
      is taken.
    num_classes: None for the model's own.
    advprop: whether `spec` has AdvProp's scaling.
    source: see `weights.load`.
    use_ema: take the moving averages where the checkpoint has them.

  Returns:
    `keras.Model` from images to logits.

  Raises:
    ValueError, OSError: the checkpoint cannot be read or does not fit.
  """
  scaling = {'mean_rgb': spec.mean_rgb, 'stddev_rgb': spec.stddev_rgb} if advprop else {}
  model = model_spec.build_model(
    model_config.model_name,
    num_classes=num_classes,
    image_size=spec.image_size,
    weights=PRETRAINED if checkpoint == PRETRAINED else None,
    **model_config.overrides(),
    **scaling,
  )
  if checkpoint != PRETRAINED:
    print(weights.load(model, checkpoints.best_of(checkpoint), source, use_ema))
  return model


def fitted_spec(spec, model_config, data, is_digits):
  """Returns the `PreprocessSpec` of a network, with the given settings in place of its own.

  Args:
    spec: the network's own.
    model_config: `script.ModelConfig`.
    data: settings with `crop_rule`, `interpolation` and `advprop`.
    is_digits: whether the images are the embedded digits, which are too small to lose a pixel.
  """
  return fitted(
    spec,
    image_size=model_config.input_image_size,
    crop=data.crop_rule,
    interpolation=data.interpolation,
    advprop=data.advprop,
    is_digits=is_digits,
  )
