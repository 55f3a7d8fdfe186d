"""Sizes and speeds of the files that a job exported."""
import dataclasses
import os
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tpu_utils import export, files
from tpu_utils.export import model_card, saved_model, serving, tflite
from tpu_utils.export.quiet import quiet

_SECONDS = 1.0  # Aimed time for one measurement, without the first call.
_MOST_CALLS, _BATCH = 50, 16
_SAVED_MODEL = ('saved_model.pb', 'variables', 'assets', 'fingerprint.pb')
_KNOWN = (
  *_SAVED_MODEL, export.KERAS_FILE, export.EXPORT_INFO_FILE, saved_model.TPU_DIRECTORY,
  model_card.FILE,
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
  found = [_measured_saved_model(folder)]
  keras_file = os.path.join(folder, export.KERAS_FILE)
  found.append(
    Exported('Keras', keras_file, _size(keras_file), note='keras.models.load_model; not timed')
  )
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

  def run(count):
    pixels = tf.constant(_noise((count, *side)))
    return lambda: signature(images=pixels)['probabilities'].numpy()

  one, many = _seconds(run(1)), _seconds(run(_BATCH))
  named = serving.CLASS_NAMES in loaded.signatures
  note = 'class names inside' if named else 'no class names'
  return Exported('SavedModel', folder, size, 1000 * one, _BATCH / many, note)


def _measured_tflite(path):
  with quiet():
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
