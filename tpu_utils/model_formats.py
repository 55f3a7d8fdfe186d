"""Formats of exported image models, and the programs (runtimes) that run them.

Only names and packages, so that flags can be checked at once; `tpu_utils.export` writes and runs
the files.
"""
import dataclasses
import importlib.util
from collections.abc import Iterable, Sequence

from tpu_utils.names import check_name, listed_names


@dataclasses.dataclass(frozen=True)
class Format:
  """A format of an exported model.

  Attributes:
    file: name of its file in the folder of an export.
    title: its name in sentences.
    runtime: the runtime that reads it, a key of `RUNTIMES`.
    packages: modules that are needed to write and to measure it, besides TensorFlow.
    extra: the extra of this package that installs them.
    takes_endpoints: whether it can hold a model to an endpoint in place of classes.
  """

  file: str
  title: str
  runtime: str
  packages: tuple[str, ...] = ()
  extra: str = ''
  takes_endpoints: bool = True


@dataclasses.dataclass(frozen=True)
class Runtime:
  """A program that runs exported models.

  Attributes:
    title: its name in sentences.
    packages: modules that it consists of, besides TensorFlow.
    converters: modules that are needed to convert a Keras model for it in memory.
    extra: the extra of this package that installs both.
  """

  title: str
  packages: tuple[str, ...] = ()
  converters: tuple[str, ...] = ()
  extra: str = ''


FORMATS = {
  'saved_model': Format('saved_model.pb', 'SavedModel', 'tensorflow'),
  'keras': Format('model.keras', 'Keras file', 'tensorflow'),
  'tflite': Format('model.tflite', 'TFLite file', 'litert'),
  'openvino': Format('model.xml', 'OpenVINO model', 'openvino', ('openvino',), 'openvino', False),
  'onnx': Format(
    'model.onnx', 'ONNX file', 'onnxruntime', ('tf2onnx', 'onnxruntime'), 'onnx', False
  ),
}
DEFAULT_FORMATS = ('saved_model', 'keras')
RUNTIMES = {
  'tensorflow': Runtime('TensorFlow'),
  # TensorFlow has an interpreter of its own, for as long as it keeps `tf.lite`.
  'litert': Runtime('LiteRT'),
  'openvino': Runtime('OpenVINO', ('openvino',), extra='openvino'),
  'onnxruntime': Runtime('ONNX Runtime', ('onnxruntime',), ('tf2onnx',), extra='onnx'),
}
# Which one `auto` takes: the order of their speed at batch 8 and at batch 1, as measured in
# tpu_utils/benchmarking/LEDGER.md.
FASTEST_FIRST = ('openvino', 'onnxruntime', 'litert', 'tensorflow')
AUTO = 'auto'


def parse_formats(flag: str, text: str) -> tuple[str, ...]:
  """Parses names of formats with commas between; each counts once.

  Args:
    flag: name of the flag, for messages.
    text: its value.

  Raises:
    ValueError: a name is unknown, or a package that a format needs is missing.
  """
  names = tuple(listed_names(f'format of --{flag}', text, FORMATS))
  for name in names:
    _check_installed(f'--{flag}={name}', FORMATS[name].packages, FORMATS[name].extra)
  return names


def check_endpoint(endpoint: str | None, names: Iterable[str]) -> None:
  """Checks that formats can hold a model to an endpoint.

  Args:
    endpoint: its name; None for a classifier.
    names: keys of `FORMATS`.

  Raises:
    ValueError: one of them holds classifiers alone.
  """
  others = [name for name in names if not FORMATS[name].takes_endpoints]
  if endpoint and others:
    able = ', '.join(name for name, entry in FORMATS.items() if entry.takes_endpoints)
    raise ValueError(
      f'--endpoint_name={endpoint} is for the formats {able}; leave {",".join(others)} out of '
      '--export_formats.'
    )


def is_installed(runtime: str) -> bool:
  """Returns whether a runtime of `RUNTIMES` can be used."""
  return not _missing(RUNTIMES[runtime].packages)


def check_runtime(flag: str, runtime: str, converts: bool = False) -> None:
  """Checks that the packages of a runtime are installed.

  Args:
    flag: name of the flag, for messages.
    runtime: its value, a key of `RUNTIMES`.
    converts: whether a Keras model must be converted for it, too.

  Raises:
    ValueError: the runtime is unknown, or a package is missing.
  """
  check_name(f'value of --{flag}', runtime, RUNTIMES)
  found = RUNTIMES[runtime]
  packages = (*found.packages, *(found.converters if converts else ()))
  _check_installed(f'--{flag}={runtime}', packages, found.extra)


def _check_installed(what, packages: Iterable[str], extra):
  missing = _missing(packages)
  if missing:
    verb = 'is' if len(missing) == 1 else 'are'
    raise ValueError(
      f"{what} needs {' and '.join(missing)}, which {verb} not installed: pip install '.[{extra}]'"
    )


def _missing(packages: Iterable[str]) -> Sequence[str]:
  return [name for name in packages if importlib.util.find_spec(name) is None]
