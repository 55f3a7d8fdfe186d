"""Loads image classifiers from checkpoints and from exported files, for any runtime.

A checkpoint holds weights alone: `load_model` builds the network and assigns them. A program (an
export's folder, or a file of one of its formats) holds the network, too: `from_file` reads it. Both
end in a `Classifier`, the interface of evaluation. `runtimes` chooses what runs it.
"""
import dataclasses
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tpu_utils import checkpoints, files, local_copies, weights
from tpu_utils.errors import first_line
from tpu_utils.export import keras_metadata, serving
from tpu_utils.export.program import Program
from tpu_utils.functional_model import functional_model
from tpu_utils.image_jobs import classes, runtimes, saved_model_ops, script
from tpu_utils.image_jobs.specs import PRETRAINED
from tpu_utils.images.spec import PreprocessSpec
from tpu_utils.names import unknown_name
from tpu_utils.reading import reading
from tpu_utils.weights import keras_files

_EXPORT_INFO = 'export.json'  # Written by `tpu_utils.export`.


@dataclasses.dataclass(frozen=True)
class Classifier:
  """An image classifier as evaluation uses it.

  Attributes:
    predict: function(images float32 [n, height, width, 3] in [0, 255]) -> probabilities, float32
      [n, classes].
    num_classes: number of classes.
    spec: `PreprocessSpec` of the images.
    class_names: list of one name for each class, or None if the file does not name them.
    model: the `keras.Model`; None for files that hold none.
    runtime: the program that runs it, in words.
  """

  predict: Callable[[np.ndarray], np.ndarray]
  num_classes: int
  spec: PreprocessSpec
  class_names: list | None = None
  model: keras.Model | None = None
  runtime: str = 'TensorFlow'


def load_model(
  model_spec: script.ModelSpec,
  model_config: script.ModelConfig,
  spec: PreprocessSpec,
  checkpoint: str,
  *,
  num_classes: int | None = None,
  advprop: bool = False,
  source: str = 'auto',
  use_ema: bool = True,
  dtype_policy: str | None = None,
) -> keras.Model:
  """Builds a network, loads its weights and prints a report of them.

  Args:
    model_spec: the network.
    model_config: its settings.
    spec: `PreprocessSpec` of its images.
    checkpoint: 'pretrained', a path that `weights.load` reads, or the --model_dir of a job, from
      which the best checkpoint is taken.
    num_classes: None for the network's own.
    advprop: whether the images are scaled as for AdvProp, by `spec`.
    source: see `weights.load`.
    use_ema: whether to load the moving averages if the checkpoint has them.
    dtype_policy: Keras dtype policy of the network; None is float32.

  Returns:
    `keras.Model` from images to logits.

  Raises:
    ValueError, OSError: the checkpoint cannot be read or does not fit.
  """
  package = PRETRAINED if checkpoint == PRETRAINED else None
  model = model_spec.build(
    model_config, spec, num_classes, advprop, weights=package, dtype_policy=dtype_policy
  )
  if checkpoint != PRETRAINED:
    print(weights.load(model, checkpoints.best_of(checkpoint), source, use_ema))
  return model


def endpoint_model(
  model: keras.Model,
  model_spec: script.ModelSpec,
  model_config: script.ModelConfig,
  spec: PreprocessSpec,
  endpoint: str,
  *,
  advprop: bool = False,
  dtype_policy: str | None = None,
) -> keras.Model:
  """Returns the model from images to an endpoint, with the weights of a whole model.

  Args:
    model: the whole model, from `load_model` with the other arguments.
    model_spec: the network.
    model_config: its settings.
    spec: `PreprocessSpec` of its images.
    endpoint: its name; official for EfficientNet.
    advprop: as for `load_model`.
    dtype_policy: as for `load_model`.

  Raises:
    ValueError: the network has no such endpoint, or none at all.
  """
  if model_spec.feature_extractor is None:
    raise ValueError(f'--endpoint_name={endpoint}: {model.name} has no named endpoints.')
  builder = dataclasses.replace(model_spec, build_model=model_spec.feature_extractor)
  features = builder.build(
    model_config, spec, model.output_shape[-1], advprop, endpoints=[endpoint],
    dtype_policy=dtype_policy,
  )  # fmt: skip
  values = {variable.path: variable for variable in model.variables}
  for variable in features.variables:
    variable.assign(values[variable.path])
  return functional_model(features.inputs[0], features.output[endpoint], model.name)


def from_model(
  model: keras.Model, spec: PreprocessSpec, runtime: str = 'tensorflow'
) -> Classifier:
  """Returns the classifier of a `keras.Model` from images to logits.

  Args:
    model: the model.
    spec: preprocessing of its images.
    runtime: see `runtimes.of_model`.

  Raises:
    ValueError: the runtime is not installed or cannot run the model.
  """
  program = runtimes.of_model(model, runtime)
  if program is not None:
    return _of_program(*program, spec, model=model)
  return _classifier(
    lambda images: model(images, training=False), model.output_shape[-1], spec, model=model
  )


def is_program(path: str) -> bool:
  """Returns whether a path is an export's folder or one of its files, which hold the network."""
  return bool(runtimes.files_of(path))


def from_file(path: str, spec: PreprocessSpec, runtime: str = 'tensorflow') -> Classifier:
  """Reads the classifier in an export's folder, or in a file of one of its formats.

  Args:
    path: folder or file.
    spec: default preprocessing; export.json and the network's input size override it.
    runtime: see `runtimes.choose`.

  Raises:
    ValueError: the file cannot be read or does not map square images to classes, or the runtime
      cannot run it.
    OSError: there is no such file.
  """
  folder = path if tf.io.gfile.isdir(path) else os.path.dirname(path)
  files.check_finished(folder)
  choice = runtimes.choose(path, runtime)
  if choice.format in runtimes.TENSORFLOWS_OWN:
    return _read_tensorflows_own(path, choice, spec)
  program = runtimes.load(choice)
  export_info = program.info or _read_export_info(folder)
  _check_has_classes(path, export_info)
  spec = _spec_of(path, program.image_shape, export_info, spec)
  names = _names_of(path, export_info, None, program.num_classes)
  return _of_program(program, choice.text, spec, names)


def _read_tensorflows_own(path, choice, spec):
  """Reads the classifier in a SavedModel or Keras file."""
  folder = os.path.dirname(choice.path) if choice.format == 'keras' else choice.path
  export_info = _read_export_info(folder)
  _check_has_classes(path, export_info)
  if choice.format == 'keras':
    model, own_names = _read_keras_file(choice.path)
    images, outputs, function = model.input_shape, model.output_shape, None
  else:
    model, (images, outputs, function, own_names) = None, _read_saved_model(choice.path)
  if len(images) != 4 or images[-1] != 3 or len(outputs) != 2 or None in (*images[1:], outputs[1]):
    raise ValueError(
      f'{path} maps {list(images)} to {list(outputs)}; expected images of a fixed size, [batch, '
      'height, width, 3], to classes, [batch, classes].'
    )
  spec = _spec_of(path, images[1:], export_info, spec)
  names = _names_of(path, export_info, own_names, outputs[1])
  if model is None:
    return _classifier(function, outputs[1], spec, names)
  classifier = from_model(model, spec, choice.runtime if choice.converts else 'tensorflow')
  return dataclasses.replace(classifier, class_names=names)


def _check_has_classes(path, export_info):
  endpoint = export_info.get('endpoint_name')
  if endpoint:
    raise ValueError(
      f'{path} outputs the endpoint {endpoint!r:.80}; expected classes: export it without '
      '--endpoint_name.'
    )


def _spec_of(path, image_shape, export_info, spec):
  """Returns the preprocessing of a program's images."""
  height, width, channels = image_shape
  if height != width or channels != 3:
    raise ValueError(
      f'{path} takes images of {height} by {width} pixels; only squares are prepared here.'
    )
  return dataclasses.replace(_exported_spec(export_info, spec, path), image_size=int(height))


def _names_of(path, export_info, own_names, num_classes):
  """Returns the names of a program's classes, or None."""
  names = export_info.get('class_names')
  source = f'{path}: class_names in {_EXPORT_INFO}'
  if names is None:
    names, source = own_names, f'{path}: class_names'
  return None if names is None else classes.checked(names, num_classes, source)


def _of_program(program: Program, text, spec, names=None, model=None):
  def predict(images):
    return probabilities(program.predict(images))

  return Classifier(predict, program.num_classes, spec, names, model, text)


def probabilities(outputs: np.ndarray) -> np.ndarray:
  """Returns the softmax of logits; rows that already are probabilities stay.

  Args:
    outputs: [n, classes].
  """
  outputs = np.asarray(outputs, np.float32)
  if not outputs.size:
    return outputs
  if outputs.min() >= 0 and np.allclose(outputs.sum(-1), 1, atol=1e-3):
    return outputs
  shifted = np.exp(outputs - outputs.max(-1, keepdims=True))
  return shifted / shifted.sum(-1, keepdims=True)


def _classifier(function, num_classes, spec, class_names=None, model=None):
  run = tf.function(function, reduce_retracing=True, autograph=False)

  def predict(images):
    return probabilities(run(tf.convert_to_tensor(images, tf.float32)).numpy())

  return Classifier(predict, num_classes, spec, class_names, model)


def _read_keras_file(path):
  """Returns (model, names of its classes or None)."""
  if not files.is_file(path):
    raise FileNotFoundError(f'{path}: no such file.')
  with local_copies.local_copy(path) as copy:
    if not zipfile.is_zipfile(copy):  # Keras would report that there is no file.
      raise ValueError(f'{copy} is not a complete .keras file; copy it again.')
    keras_files.check(copy)
    with reading(copy, 'a .keras file', foreign=True):
      model = keras.models.load_model(copy, compile=False)
      return model, keras_metadata.class_names(copy)


def _read_saved_model(path):
  """Returns (input shape, output shape, function, names of the classes or None).

  The function is the first signature that takes images.
  """
  saved_model_ops.check(path)
  with reading(path, 'a SavedModel', foreign=True):
    loaded = tf.saved_model.load(path)
  others = []
  for name, signature in loaded.signatures.items():
    arguments = list(signature.structured_input_signature[1].items())
    if len(arguments) != 1 or not _takes_images(arguments[0][1]):
      others.append(name)
      continue
    argument, tensor = arguments[0]
    outputs = signature.structured_outputs
    output = next((o for o in ('probabilities', 'logits') if o in outputs), None)
    if output is None and len(outputs) == 1:
      (output,) = outputs
    if output is None:
      raise unknown_name(f'output of {path} among', 'probabilities', outputs)

    def run(images, signature=signature, argument=argument, output=output, loaded=loaded):
      del loaded  # The default keeps its variables alive.
      return signature(**{argument: images})[output]

    return tuple(tensor.shape), tuple(outputs[output].shape), run, _names_in(loaded, path)
  raise ValueError(
    f'{path} has no signature that takes images, float32 [batch, height, width, 3]; it has '
    f'{", ".join(others) or "none"}. Export the model with one.'
  )


def _names_in(loaded, path):
  """Returns the names that the signature `class_names` of our SavedModels returns."""
  signature = loaded.signatures.get(serving.CLASS_NAMES)
  if signature is None or signature.structured_input_signature[1]:
    return None
  with reading(path, 'a SavedModel', foreign=True):
    names = signature()[serving.CLASS_NAMES].numpy()
    return [name.decode('utf-8') for name in names.tolist()]


def _takes_images(tensor):
  return tensor.dtype == tf.float32 and tensor.shape.rank == 4


def _read_export_info(path) -> Mapping[str, Any]:
  """Returns export.json from the folder of the model, {} without one."""
  file_name = os.path.join(path, _EXPORT_INFO)
  if not tf.io.gfile.exists(file_name):
    return {}
  with reading(file_name, 'JSON'), tf.io.gfile.GFile(file_name, 'rb') as file:
    content = json.loads(file.read())
  return content if isinstance(content, dict) else {}


def _exported_spec(export_info, spec, path):
  preprocessing = export_info.get('preprocessing', {})
  if not isinstance(preprocessing, dict):
    raise ValueError(
      f'{path}: the preprocessing in {_EXPORT_INFO} is {preprocessing!r:.80}; expected an object.'
    )
  fields = {field.name for field in dataclasses.fields(PreprocessSpec)}
  own = {name: value for name, value in preprocessing.items() if name in fields}
  for name in ('mean_rgb', 'stddev_rgb'):
    color = own.get(name, spec.mean_rgb)
    numbers = isinstance(color, list | tuple) and all(type(x) in (int, float) for x in color)
    if not numbers or len(color) != 3:
      raise ValueError(f'{path}: {name} in {_EXPORT_INFO} is {color!r:.80}; expected 3 numbers.')
  try:
    return dataclasses.replace(spec, **own)
  except (ValueError, TypeError) as error:  # TypeError: a list in the place of a name.
    raise ValueError(f'{path}: {_EXPORT_INFO}: {first_line(error)}') from error
