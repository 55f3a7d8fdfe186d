"""Metadata of a TFLite file: how its images come, and the names of its classes.

The names are the associated file `labels.txt` of the output: one a line, in the order of the
probabilities, in a zip archive at the end of the file. Android Studio, MediaPipe's ImageClassifier
and TFLite's task library read it; so do `unzip -p FILE labels.txt` and Python's zipfile. The
archive has the content of export.json, too, for programs of this package.

Format: tensorflow/tflite-support, metadata/metadata_schema.fbs (version 1.0.0).
"""
import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from tpu_utils.export.program import info_text, parse_info
from tpu_utils.images import class_names as names_in_words
from tpu_utils.reading import check_unpacked

LABELS_FILE = 'labels.txt'
INFO_FILE = 'export.json'
_METADATA = 'TFLITE_METADATA'
_IDENTIFIER = b'M001'
_MIN_PARSER_VERSION = '1.0.0'
# Values of enumerations and unions in the schema.
_AXIS_LABELS = 2  # AssociatedFileType.TENSOR_AXIS_LABELS
_IMAGE = 2  # ContentProperties.ImageProperties
_RGB = 1  # ColorSpaceType.RGB
_NORMALIZATION = 1  # ProcessUnitOptions.NormalizationOptions


def labels(class_names: Sequence[str]) -> str:
  """Returns the content of `labels.txt`.

  Line breaks in names become spaces: the format has a name a line, and none may be empty.
  """
  lines = [names_in_words.on_one_line(name) for name in class_names]
  return ''.join(f'{line or f"class {number}"}\n' for number, line in enumerate(lines))


def add(
  content: bytes, class_names: Sequence[str] | None, export_info: Mapping[str, Any] | None = None
) -> bytes:
  """Adds metadata with the names of the classes, and export.json, to a TFLite file.

  Args:
    content: of the file: from `images` in [0, 255] to `probabilities`, as `tflite.convert` makes.
    class_names: names of the classes in the order of the probabilities; None for no metadata.
    export_info: the content of export.json; None for none.

  Returns:
    The content of the new file; interpreters run it as the old one.
  """
  if class_names:
    content = _with_metadata(content)
  file = io.BytesIO(content)
  with zipfile.ZipFile(file, 'a') as archive:  # Appended, with places counted from the beginning.
    if class_names:
      archive.writestr(zipfile.ZipInfo(LABELS_FILE), labels(class_names).encode())
    if export_info is not None:
      archive.writestr(zipfile.ZipInfo(INFO_FILE), info_text(export_info))
  return file.getvalue()


def class_names(content: bytes) -> list[str] | None:
  """Reads the names of the classes from a TFLite file, of any program; None without."""
  text = _packed(content, LABELS_FILE)
  return None if text is None else text.decode('utf-8', 'replace').splitlines()


def info(content: bytes) -> Mapping[str, Any]:
  """Reads the content of export.json from a TFLite file; {} without."""
  return parse_info(_packed(content, INFO_FILE))


def _packed(content, name):
  """Returns a file in the archive at the end of a TFLite file; None if there is none."""
  file = io.BytesIO(content)
  if not zipfile.is_zipfile(file):
    return None
  with zipfile.ZipFile(file) as archive:
    if name not in archive.namelist():
      return None
    entry = archive.getinfo(name)
    check_unpacked(name, entry.file_size, entry.compress_size)
    return archive.read(entry)


def _with_metadata(content):
  model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
  buffer = schema.BufferT()
  buffer.data = _model_metadata()
  model.buffers.append(buffer)
  entry = schema.MetadataT()
  entry.name, entry.buffer = _METADATA, len(model.buffers) - 1
  model.metadata = [*(model.metadata or ()), entry]
  return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _model_metadata():
  """Returns the serialised ModelMetadata."""
  builder = flatbuffers.Builder(1024)
  tensors = [_input_metadata(builder), _output_metadata(builder)]
  inputs, outputs = (_vector(builder, tensor) for tensor in tensors)
  subgraphs = _vector(builder, _table(builder, {2: inputs, 3: outputs}))
  version = builder.CreateString(_MIN_PARSER_VERSION)
  root = _table(builder, {3: subgraphs, 7: version})
  builder.Finish(root, file_identifier=_IDENTIFIER)
  return np.frombuffer(builder.Output(), np.uint8)


def _input_metadata(builder):
  """Builds the TensorMetadata of the images."""
  # Pixels need no preparation: (x - 0) / 1.
  mean, deviation = (builder.CreateNumpyVector(np.float32([value])) for value in (0, 1))
  normalization = _table(builder, {0: mean, 1: deviation})
  units = _vector(builder, _table(builder, {1: normalization}, {0: _NORMALIZATION}))
  content = _table(builder, {1: _table(builder, {}, {0: _RGB})}, {0: _IMAGE})
  name, description = map(builder.CreateString, ('images', 'RGB pixels in [0, 255]'))
  return _table(builder, {0: name, 1: description, 3: content, 4: units})


def _output_metadata(builder):
  """Builds the TensorMetadata of the probabilities, with the file of the names."""
  file_name, names = map(builder.CreateString, (LABELS_FILE, 'names of the classes'))
  labels_file = _table(builder, {0: file_name, 1: names}, {2: _AXIS_LABELS})
  name, description = map(
    builder.CreateString, ('probabilities', 'probability of each class')
  )
  return _table(builder, {0: name, 1: description, 6: _vector(builder, labels_file)})


def _table(builder, offsets, numbers=None):
  """Builds a table of the schema.

  Args:
    builder: the `flatbuffers.Builder`.
    offsets: {place of a field in its table: text, vector or table}; a union has two places.
    numbers: {place: number of one byte}.
  """
  numbers = numbers or {}
  builder.StartObject(max([*offsets, *numbers]) + 1)
  for place, offset in offsets.items():
    builder.PrependUOffsetTRelativeSlot(place, offset, 0)
  for place, number in numbers.items():
    builder.PrependUint8Slot(place, number, 0)
  return builder.EndObject()


def _vector(builder, table):
  """Builds a vector of one table."""
  builder.StartVector(4, 1, 4)
  builder.PrependUOffsetTRelative(table)
  return builder.EndVector()
