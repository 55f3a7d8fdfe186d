"""Chooses the program that runs a classifier: TensorFlow, LiteRT, OpenVINO or ONNX Runtime.

Each reads the files of its own format (OpenVINO ONNX and TFLite files, too). Keras models are
converted in memory for the others. `auto` is the fastest that is installed and has a file; on a
machine with a GPU or TPU for TensorFlow it is TensorFlow.
"""
import dataclasses
import os
from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from tpu_utils import files
from tpu_utils.errors import first_line
from tpu_utils.export import folding, formats, onnx_file, openvino_ir, tflite
from tpu_utils.export.program import Program
from tpu_utils.model_formats import (
  AUTO,
  FASTEST_FIRST,
  FORMATS,
  RUNTIMES,
  check_runtime,
  is_installed,
)

TENSORFLOWS_OWN = ('saved_model', 'keras')
# {ending of a file: its format}.
_ENDINGS = {os.path.splitext(entry.file)[1]: name for name, entry in FORMATS.items()}
_READS = {
  'tensorflow': TENSORFLOWS_OWN, 'litert': ('tflite',), 'openvino': ('openvino', 'onnx'),
  'onnxruntime': ('onnx',),
}  # fmt: skip
# Only if the runtime is named.
_READS_TOO = {'openvino': ('tflite',)}


@dataclasses.dataclass(frozen=True)
class Choice:
  """A file, and the program to run it.

  Attributes:
    runtime: a key of `RUNTIMES`.
    format: a key of `FORMATS`.
    path: the file; of a SavedModel its folder.
    converts: whether the file is a Keras model to convert for the runtime.
  """

  runtime: str
  format: str
  path: str
  converts: bool = False

  @property
  def text(self) -> str:
    """The choice in words."""
    return f'{RUNTIMES[self.runtime].title}, {self.path}'


def files_of(path: str) -> dict[str, str]:
  """Returns {format: path} of a program's files; {} for anything else, such as checkpoints.

  Args:
    path: a file of one of the formats, or a folder with some under the names that exports have.
  """
  ending = os.path.splitext(path)[1]
  if ending in _ENDINGS and ending != '.pb' and not tf.io.gfile.isdir(path):
    return {_ENDINGS[ending]: path}
  found = {}
  for name, entry in FORMATS.items():
    place = os.path.join(path, entry.file)
    if tf.io.gfile.exists(place):
      found[name] = path if name == 'saved_model' else place
  return found


def choose(path: str, runtime: str) -> Choice:
  """Chooses the file of a program and what runs it.

  Args:
    path: see `files_of`.
    runtime: 'auto' or a key of `RUNTIMES`.

  Raises:
    ValueError: the runtime is not installed, or can run none of the files.
    FileNotFoundError: there is no such file.
  """
  found = files_of(path)
  ending = os.path.splitext(path)[1]
  if not found or (ending in _ENDINGS and not files.exists(path)):
    raise FileNotFoundError(f'{path}: no such file.')
  if runtime == AUTO:
    return _fastest(found, path)
  check_runtime('runtime', runtime)
  for name in (*_READS[runtime], *_READS_TOO.get(runtime, ())):
    if name in found:
      return Choice(runtime, name, found[name])
  if 'keras' in found:
    check_runtime('runtime', runtime, converts=True)
    return Choice(runtime, 'keras', found['keras'], converts=True)
  wanted = _READS[runtime][0]
  raise ValueError(
    f'--runtime={runtime} cannot run {path}, which has {" and ".join(found)}; export it with '
    f'--export_formats={wanted},{",".join(found)}, or give --runtime=auto.'
  )


def _fastest(found, path):
  """Returns the choice for 'auto'."""
  if _has_accelerator():
    own = [name for name in TENSORFLOWS_OWN if name in found]
    if own:
      return Choice('tensorflow', own[0], found[own[0]])
  for runtime in FASTEST_FIRST:
    name = next((name for name in _READS[runtime] if name in found), None)
    if name and is_installed(runtime):
      return Choice(runtime, name, found[name])
    if runtime == 'openvino' and _is_only_tensorflows(found) and is_installed(runtime):
      return Choice(runtime, 'keras', found['keras'], converts=True)
  runtime = FORMATS[next(iter(found))].runtime
  check_runtime('runtime', runtime)
  raise AssertionError(f'{path}: {runtime} is installed and was not chosen.')


def _is_only_tensorflows(found):
  """Returns whether there is a Keras file and none for a faster runtime."""
  return 'keras' in found and set(found) <= set(TENSORFLOWS_OWN)


def _has_accelerator():
  return bool(tf.config.list_physical_devices('GPU') or tf.config.list_physical_devices('TPU'))


def load(choice: Choice) -> Program:
  """Reads the file of a choice that is not TensorFlow's own.

  Raises:
    ValueError: the file cannot be read or does not map images to classes.
    OSError: there is no such file.
  """
  if choice.runtime == 'openvino':
    return openvino_ir.load(choice.path)
  return formats.READERS[choice.format](choice.path)


_COMPILERS: Mapping[str, Callable[[keras.Model], Program]] = {
  'openvino': openvino_ir.compiled, 'onnxruntime': onnx_file.compiled, 'litert': tflite.compiled,
}  # fmt: skip


def of_model(model: keras.Model, runtime: str) -> tuple[Program, str] | None:
  """Converts a Keras model in memory for a runtime.

  Args:
    model: classifier from images to logits.
    runtime: a key of `RUNTIMES`, or 'auto': OpenVINO if it is installed and TensorFlow has no GPU
      or TPU, else TensorFlow.

  Returns:
    (Program, runtime in words); None for TensorFlow.

  Raises:
    ValueError: the runtime is not installed or cannot run the model.
  """
  chosen = runtime
  if runtime == AUTO:
    fast = is_installed('openvino') and not _has_accelerator()
    chosen = 'openvino' if fast else 'tensorflow'
  if chosen == 'tensorflow':
    return None
  check_runtime('runtime', chosen, converts=True)
  text = f'{RUNTIMES[chosen].title}, converted in memory'
  try:
    return _COMPILERS[chosen](folding.fold_batch_norm(model)), text
  except ValueError as error:
    if runtime != AUTO:
      raise
    print(f'{RUNTIMES[chosen].title} cannot run it ({first_line(error)}); TensorFlow does.')
    return None
