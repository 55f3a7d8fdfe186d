"""Converts image classifiers to TFLite files, and runs these.

A file maps `images`, [batch, height, width, 3] in [0, 255], to `probabilities`, [batch, classes].
Both are float32, except in the variant int8 (see `VARIANTS`): it takes pixels as uint8 and returns
about 255 times the probability as uint8. The first blocks of networks with swish stay in 32 bits
(`float_start`), except in the variant full_int8. A file of an endpoint has it as `output` instead.

Files are run by LiteRT if `ai-edge-litert` is installed, else by TensorFlow's own interpreter,
which is the same and deprecated. Quantised kernels have a scale for each output channel.

Source: tensorflow/tpu, models/official/efficientnet/export_model.py (its files need normalised
images).
"""
import importlib.util
import itertools
import os
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tpu_utils import files
from tpu_utils.export import float_start, ranges, serving, tflite_metadata
from tpu_utils.export.constants import constant_function
from tpu_utils.export.exported import Exported
from tpu_utils.export.folding import fold_batch_norm
from tpu_utils.export.program import Program
from tpu_utils.export.quiet import quiet
from tpu_utils.model_formats import FORMATS
from tpu_utils.names import check_name
from tpu_utils.reading import reading

VARIANTS = {
  'float32': 'all numbers in 32 bits',
  'float16': 'weights in 16 bits, arithmetic in 32 (or 16 on a GPU)',
  'dynamic_range': 'weights in 8 bits, activations with a range for each image',
  'int8': 'in 8 bits with ranges measured on representative images; first swish blocks in 32 bits',
  'full_int8': 'everything in 8 bits, for processors without floating point',
}
IN_8_BITS = ('int8', 'full_int8')

# Batches from which the ranges of an int8 file are chosen, and their most bytes.
_REMEMBERED, _REMEMBERED_BYTES = 200, 2**28


def write(exported: Exported, folder: str) -> None:
  """Writes `model.tflite`, float32 and one image at a time, to a local folder."""
  content = convert(exported.model, endpoint=exported.endpoint)
  content = tflite_metadata.add(content, exported.class_names, exported.info)
  files.write_bytes(os.path.join(folder, FORMATS['tflite'].file), content)


def load(path: str) -> Program:
  """Reads a TFLite file, local or remote.

  Raises:
    ValueError: the file cannot be read or does not map images to classes.
    OSError: there is no such file.
  """
  classifier, info = read(files.read_bytes(path), path)
  return _program(classifier, info)


def read(content: bytes, path: str) -> tuple['Classifier', dict[str, Any]]:
  """Reads the content of a TFLite file; returns the classifier and what export.json says of it.

  Args:
    content: of the file.
    path: for messages.

  Raises:
    ValueError: the content cannot be read or does not map images to classes.
  """
  with reading(path, 'a TFLite file', foreign=True):
    classifier = Classifier(content)
    info = dict(tflite_metadata.info(content))
    names = tflite_metadata.class_names(content)
  shapes = [list(classifier.input_shape), list(classifier.output_shape)]
  if [len(shape) for shape in shapes] != [4, 2]:
    raise ValueError(f'{path} maps {shapes[0]} to {shapes[1]}; expected images to classes.')
  if info.get('class_names') is None and names:
    info['class_names'] = names
  return classifier, info


def _program(classifier, info):
  return Program(
    classifier.predict, tuple(classifier.input_shape[1:]), classifier.output_shape[1], info
  )


def compiled(model: keras.Model) -> Program:
  """Converts a model from images to logits in memory, in float32 and for one image at a time."""
  return _program(*read(convert(model), model.name))


def convert(
  model: keras.Model,
  variant: str = 'float32',
  representative: Iterable[np.ndarray] | None = None,
  batch_size: int = 1,
  endpoint: str | None = None,
) -> bytes:
  """Returns the content of a TFLite file; folds batch norm.

  Args:
    model: model from images, float32 [batch, height, width, 3] in [0, 255], to logits, or
      to an endpoint.
    variant: a key of `VARIANTS`.
    representative: for int8 and full_int8: model inputs, float32 [height, width, 3], to measure the
      ranges of all activations on (see `ranges`); a few hundred of the training set are enough.
      Iterated once.
    batch_size: images at a time; the file takes no other number.
    endpoint: name of the endpoint; None for logits.

  Raises:
    ValueError: the variant is unknown, or 8 bits have no representative images.
  """
  check_name('TFLite variant', variant, VARIANTS)
  outputs = _endpoint if endpoint else _probabilities
  function = constant_function(fold_batch_norm(model), batch_size, outputs)
  with quiet():
    converter = _converter(function, variant)
    if variant in IN_8_BITS:
      return _int8(converter, representative, batch_size, variant == 'full_int8')
    return converter.convert()


def _converter(function, variant):
  converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
  if variant != 'float32':
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
  if variant == 'float16':
    converter.target_spec.supported_types = [tf.float16]
  return converter


def _int8(converter, representative, batch_size, full):
  """Returns the 8-bit file that comes nearer to the float32 one on some of the images.

  Its activations have the ranges that TensorFlow's converter measures, or those of `ranges.narrow`.
  """
  seen: list[np.ndarray] = []
  batches = _remembering(_calibration_batches(iter(representative or ()), batch_size), seen)
  converter.representative_dataset = lambda: batches
  converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
  converter._experimental_calibrate_only = True
  calibrated = converter.convert()
  measured = ranges.measure(calibrated, seen)
  narrowed = ranges.narrow(calibrated, measured)
  in_float = set() if full else float_start.operations(calibrated)

  def distance(content):
    predict = Classifier(content).predict
    return np.abs(np.concatenate([predict(batch) for batch in seen]) - measured.outputs).mean()

  return min((_quantize(content, in_float) for content in (calibrated, narrowed)), key=distance)


def _quantize(calibrated, in_float):
  """Returns the 8-bit file of a float32 file with ranges; the named operations stay as they are.

  The converter's two steps, measuring and this one, are apart only under names that
  `tf.lite.experimental.QuantizationDebugger` uses, too.
  """
  from tensorflow.lite.python import convert as tensorflow_convert
  from tensorflow.lite.python import util

  content = tensorflow_convert.mlir_quantize(calibrated, denylisted_nodes=in_float or None)
  return util.modify_model_io_type(content, tf.uint8, tf.uint8)


def _remembering(batches, seen):
  """Yields batches, and keeps some of them in `seen`, each with the same chance."""
  random = np.random.default_rng(0)
  for number, batch in enumerate(batches):
    most = min(_REMEMBERED, max(1, _REMEMBERED_BYTES // batch[0].nbytes))
    if number < most:
      seen.append(batch[0])
    elif (place := random.integers(number + 1)) < most:
      seen[place] = batch[0]
    yield batch


def _probabilities(logits):
  return {'probabilities': tf.nn.softmax(tf.cast(logits, tf.float32))}


def _endpoint(values):
  return {serving.OUTPUT: tf.cast(values, tf.float32)}


def _calibration_batches(images, batch_size):
  """Returns an iterator of [batch]; sets one pixel of the first image to 0 and one to 255.

  The measured range of the input is then [0, 255], so that uint8 pixels need no conversion.
  """
  first = next(images, None)
  if first is None:
    raise ValueError(
      'int8 needs representative images, to measure the ranges of the activations, and there are '
      'none; give some of the training set, or take another variant.'
    )
  first = np.array(first, np.float32)
  first[0, 0], first[0, -1] = 0.0, 255.0
  images = itertools.chain([first], images)

  def batches():
    while batch := list(itertools.islice(images, batch_size)):
      batch += batch[-1:] * (batch_size - len(batch))
      yield [np.clip(np.asarray(batch, np.float32), 0.0, 255.0)]

  return batches()


class Classifier:
  """An image classifier run by TFLite's interpreter.

  Args:
    content: of the file.
  """

  def __init__(self, content: bytes):
    with quiet():
      self._interpreter = _interpreter(content)
      self._interpreter.allocate_tensors()
    (self._input,) = self._interpreter.get_input_details()
    (self._output,) = self._interpreter.get_output_details()

  @property
  def input_shape(self) -> tuple[int, ...]:
    """Shape of the images that the file takes at a time: (batch, height, width, 3)."""
    return tuple(int(size) for size in self._input['shape'])

  @property
  def output_shape(self) -> tuple[int, ...]:
    """(batch, classes)."""
    return tuple(int(size) for size in self._output['shape'])

  def predict(self, images: np.ndarray) -> np.ndarray:
    """Returns probabilities, float32 [n, classes].

    Args:
      images: [n, height, width, 3] in [0, 255]; n may be 0.
    """
    if not len(images):
      return np.zeros((0, self._output['shape'][-1]), np.float32)
    batch_size = self._input['shape'][0]
    missing = -len(images) % batch_size
    padded = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
    batches = padded.reshape(-1, batch_size, *images.shape[1:])
    return np.concatenate([self._run(batch) for batch in batches])[: len(images)]

  def _run(self, images):
    self._interpreter.set_tensor(self._input['index'], self.quantized(images))
    self._interpreter.invoke()
    return self.dequantized(self._interpreter.get_tensor(self._output['index']))

  def quantized(self, images: np.ndarray) -> np.ndarray:
    """Returns images as the file takes them: float32, or uint8 for int8 files."""
    return _quantized(images, self._input)

  def dequantized(self, values: np.ndarray) -> np.ndarray:
    """Returns the file's outputs as float32."""
    return _dequantized(values, self._output)


def _interpreter(content: bytes) -> Any:
  """Returns an interpreter that uses all processors of this process; by itself it uses one."""
  threads = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
  if importlib.util.find_spec('ai_edge_litert'):
    from ai_edge_litert import interpreter

    return interpreter.Interpreter(model_content=content, num_threads=threads)
  return tf.lite.Interpreter(model_content=content, num_threads=threads)


def _quantized(values, tensor):
  if tensor['dtype'] == np.float32:
    return np.asarray(values, np.float32)
  scale, zero = tensor['quantization']
  limits = np.iinfo(tensor['dtype'])
  return np.clip(np.rint(values / scale + zero), limits.min, limits.max).astype(tensor['dtype'])


def _dequantized(values, tensor):
  if tensor['dtype'] == np.float32:
    return values
  scale, zero = tensor['quantization']
  return (values.astype(np.float32) - zero) * np.float32(scale)
