"""Sizes and speeds of the files that a job exported."""
import dataclasses
import functools
import os
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tpu_utils import export, files
from tpu_utils.export import formats, model_card, saved_model, serving, tflite
from tpu_utils.export.program import Program
from tpu_utils.model_formats import FORMATS, RUNTIMES, is_installed

SAVED_MODEL = 'SavedModel'  # Name of its `Exported`.
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
  """

  name: str
  path: str
  size: int
  milliseconds: float | None = None
  images_per_second: float | None = None
  note: str = ''


def measure(folder: str) -> list[Exported]:
  """Measures the exports in a folder, on the devices of this process; takes a few seconds.

  Args:
    folder: the --export_dir.

  Raises:
    OSError: a file cannot be read.
  """
  found = []
  if files.is_file(os.path.join(folder, FORMATS['saved_model'].file)):
    found.append(_measured_saved_model(folder))
  keras_file = os.path.join(folder, export.KERAS_FILE)
  if files.is_file(keras_file):
    found.append(
      Exported('Keras', keras_file, _size(keras_file), note='keras.models.load_model; not timed')
    )
  found += [
    _measured_program(folder, name)
    for name in _FILES if files.is_file(os.path.join(folder, FORMATS[name].file))
  ]
  tpu = os.path.join(folder, saved_model.TPU_DIRECTORY)
  if files.is_folder(tpu):
    found.append(Exported('SavedModel for TPUs', tpu, _size(tpu), note='not timed: needs a TPU'))
  for path in files.paths_in(folder):
    name = os.path.basename(path)
    if name.endswith('.tflite'):
      found.append(_measured_tflite(path))
    elif name not in _KNOWN:
      found.append(Exported(name, path, _size(path), note='not timed'))
  return found


def _measured_saved_model(folder):
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
  return Exported(SAVED_MODEL, folder, size, *_speeds(predict, side), note)


def _measured_program(folder, name):
  """Measures the file of a format with the runtime that is made for it."""
  path = os.path.join(folder, FORMATS[name].file)
  size = sum(_size(os.path.join(folder, file)) for file in _FILES[name])
  title, runtime = FORMATS[name].title, FORMATS[name].runtime
  if not is_installed(runtime):
    note = f'not timed: {RUNTIMES[runtime].title} is not installed'
    return Exported(title, path, size, note=note)
  program: Program = formats.READERS[name](path)
  speeds = _speeds(program.predict, program.image_shape)
  return Exported(title, path, size, *speeds, f'by {RUNTIMES[runtime].title}')


def _speeds(predict, image_shape):
  """Returns (milliseconds for one image, images a second in batches)."""
  one, many = (
    _seconds(functools.partial(predict, _noise((count, *image_shape)))) for count in (1, _BATCH)
  )
  return 1000 * one, _BATCH / many


def _measured_tflite(path):
  classifier = tflite.Classifier(files.read_bytes(path))
  shape = tuple(classifier.input_shape)
  seconds = _seconds(lambda: classifier.predict(_noise(shape)))
  return Exported(
    'TFLite', path, _size(path), 1000 * seconds / shape[0], note=os.path.basename(path)
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
