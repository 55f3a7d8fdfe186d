"""Sizes, speeds and accuracies of the files that a job exported."""
import dataclasses
import functools
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tpu_utils import export, files, local_copies
from tpu_utils.export import formats, model_card, saved_model, serving, tflite
from tpu_utils.export.program import Program
from tpu_utils.model_formats import FORMATS, RUNTIMES, is_installed

SAVED_MODEL = 'SavedModel'  # Name of its `Exported`.
MOST_IMAGES = 200  # For an accuracy.
_SECONDS = 1.0  # Aimed time for one measurement, without the first call.
_MOST_CALLS, _BATCH = 50, 16
_SAVED_MODEL = ('saved_model.pb', 'variables', 'assets', 'fingerprint.pb')
_FILES = {'openvino': ('model.xml', 'model.bin'), 'onnx': ('model.onnx',)}
_KNOWN = (
  *_SAVED_MODEL, export.KERAS_FILE, export.EXPORT_INFO_FILE, saved_model.TPU_DIRECTORY,
  model_card.FILE, *(name for names in _FILES.values() for name in names),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Exported:
  """One exported file or folder.

  Attributes:
    name: of its format.
    path: where it is.
    size: bytes.
    milliseconds: median time for one image; None if it was not measured.
    images_per_second: in batches of 16; None if it was not measured, or takes no batches.
    note: what to know about it.
    accuracy: share of the images that it classifies correctly; None if it was not measured.
    images: number of these images.
  """

  name: str
  path: str
  size: int
  milliseconds: float | None = None
  images_per_second: float | None = None
  note: str = ''
  accuracy: float | None = None
  images: int = 0


# Function() -> (images float32 [n, height, width, 3], classes int [n]) of evaluation.
Evaluation = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]


def measure(folder: str, evaluation: Evaluation | None = None) -> list[Exported]:
  """Measures the exports in a folder, on the devices of this process; takes some seconds.

  Args:
    folder: the --export_dir.
    evaluation: see `Evaluation`, for the accuracies that export.json does not have; None for none.

  Raises:
    OSError: a file cannot be read.
    ValueError: an image of the evaluation cannot be read.
  """
  found = []
  accuracy = functools.partial(_accuracy, _known(folder), evaluation)
  if files.is_file(os.path.join(folder, FORMATS['saved_model'].file)):
    found.append(_measured_saved_model(folder, accuracy))
  keras_file = os.path.join(folder, export.KERAS_FILE)
  if files.is_file(keras_file):
    found.append(_measured_keras(keras_file, accuracy))
  found += [
    _measured_program(folder, name, accuracy)
    for name in _FILES if files.is_file(os.path.join(folder, FORMATS[name].file))
  ]
  tpu = os.path.join(folder, saved_model.TPU_DIRECTORY)
  if files.is_folder(tpu):
    found.append(Exported('SavedModel for TPUs', tpu, _size(tpu), note='not timed: needs a TPU'))
  for path in files.paths_in(folder):
    name = os.path.basename(path)
    if name.endswith('.tflite'):
      found.append(_measured_tflite(path, accuracy))
    elif name not in _KNOWN:
      found.append(Exported(name, path, _size(path), note='not timed'))
  return found


def info_of(folder: str) -> Mapping[str, Any]:
  """Returns the content of an export's export.json; {} without one."""
  path = os.path.join(folder, export.EXPORT_INFO_FILE)
  return files.read_json(path) if files.is_file(path) else {}


def _known(folder):
  """Returns {format: fields of its accuracy} of the measurements in export.json."""
  found = {
    name: {'accuracy': result['top_1_accuracy'], 'images': result['images']}
    for name, result in info_of(folder).get('measured', {}).items()
    if isinstance(result, dict) and 'top_1_accuracy' in result
  }
  if 'model' in found:  # Which the Keras file holds.
    found['keras'] = found['model']
  return found


def _accuracy(known, evaluation, name, predict):
  """Returns the fields of the accuracy of a format; {} without images."""
  if name in known:
    return known[name]
  right = count = 0
  for images, classes in evaluation() if evaluation else ():
    right += int((predict(images).argmax(-1) == classes).sum())
    count += len(classes)
  return {'accuracy': right / count, 'images': count} if count else {}


def _measured_saved_model(folder, accuracy):
  own = [os.path.join(folder, name) for name in _SAVED_MODEL]
  size = sum(_size(path) for path in own if files.exists(path))
  loaded = tf.saved_model.load(folder)
  signature = loaded.signatures['images']
  side = signature.structured_input_signature[1]['images'].shape[1:]
  output = 'probabilities' if 'probabilities' in signature.structured_outputs else serving.OUTPUT

  def predict(pixels):
    return signature(images=tf.constant(pixels))[output].numpy()

  named = serving.CLASS_NAMES in loaded.signatures
  note = 'class names inside' if named else 'no class names'
  right = accuracy('saved_model', predict)
  return Exported(SAVED_MODEL, folder, size, *_speeds(predict, side), note, **right)


def _measured_keras(path, accuracy):
  with local_copies.local_copy(path) as copy:
    model = keras.models.load_model(copy, compile=False)
  infer = tf.function(lambda images: model(images, training=False), autograph=False)

  def predict(pixels):
    return infer(tf.constant(pixels)).numpy()

  speeds, right = _speeds(predict, model.input_shape[1:]), accuracy('keras', predict)
  return Exported('Keras', path, _size(path), *speeds, 'keras.models.load_model', **right)


def _measured_program(folder, name, accuracy):
  """Measures the file of a format with the runtime that is made for it."""
  path = os.path.join(folder, FORMATS[name].file)
  size = sum(_size(os.path.join(folder, file)) for file in _FILES[name])
  title, runtime = FORMATS[name].title, FORMATS[name].runtime
  if not is_installed(runtime):
    note = f'not timed: {RUNTIMES[runtime].title} is not installed'
    return Exported(title, path, size, note=note)
  program: Program = formats.READERS[name](path)
  speeds, right = _speeds(program.predict, program.image_shape), accuracy(name, program.predict)
  return Exported(title, path, size, *speeds, f'by {RUNTIMES[runtime].title}', **right)


def _speeds(predict, image_shape):
  """Returns (milliseconds for one image, images a second in batches)."""
  one, many = (
    _seconds(functools.partial(predict, _noise((count, *image_shape)))) for count in (1, _BATCH)
  )
  return 1000 * one, _BATCH / many


def _measured_tflite(path, accuracy):
  classifier = tflite.Classifier(files.read_bytes(path))
  shape = tuple(classifier.input_shape)
  seconds = _seconds(lambda: classifier.predict(_noise(shape)))
  name = os.path.basename(path)
  right = accuracy('tflite' if name == FORMATS['tflite'].file else name, classifier.predict)
  return Exported(
    'TFLite', path, _size(path), 1000 * seconds / shape[0], note=f'{name} by LiteRT', **right
  )


def _noise(shape):
  return np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)


def _seconds(call: Callable[[], object]) -> float:
  """Returns the median time of a call, after a first one that compiles."""
  call()
  times: list[float] = []
  start = time.perf_counter()
  while len(times) < 3 or (
    len(times) < _MOST_CALLS and time.perf_counter() - start < _SECONDS
  ):
    before = time.perf_counter()
    call()
    times.append(time.perf_counter() - before)
    if time.perf_counter() - start > 10 * _SECONDS:
      break
  return statistics.median(times)


def _size(path: str) -> int:
  return sum(_stat(file) for file in _files(path))


def _stat(path):
  return tf.io.gfile.stat(path).length


def _files(path) -> Iterator[str]:
  if not files.is_folder(path):
    yield path
    return
  for entry in files.paths_in(path):
    yield from _files(entry)
