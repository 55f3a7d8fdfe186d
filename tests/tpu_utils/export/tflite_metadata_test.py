"""Names of classes in a TFLite file: as a zip archive and as its metadata, and the same outputs."""
import io
import zipfile

import flatbuffers.table
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

from tests.tpu_utils.export import tiny
from tpu_utils import export
from tpu_utils.export import tflite_metadata

ODD = ['cat, black', 'tab\there', 'line\nbreak', 'naïve 猫', '']
LABELS = 'cat, black\ntab here\nline break\nnaïve 猫\nclass 4\n'


@pytest.fixture(scope='module', params=['float32', 'int8'])
def contents(request):
  """(file without names, the same with names)."""
  images = list(tiny.images(3).astype(np.float32))
  plain = export.tflite.convert(tiny.build_model(), request.param, images)
  return plain, tflite_metadata.add(plain, ODD)


def test_the_outputs_are_the_same(contents):
  images = tiny.images(3).astype(np.float32)
  plain, named = (export.tflite.Classifier(content).predict(images) for content in contents)
  np.testing.assert_array_equal(named, plain)


def test_zipfile_and_unzip_read_the_labels(contents):
  with zipfile.ZipFile(io.BytesIO(contents[1])) as archive:
    assert archive.namelist() == ['labels.txt'] and archive.testzip() is None
    assert archive.read('labels.txt').decode() == LABELS


def read(table, *places):
  """Follows the fields of a table by their places; a vector's first element counts as its value."""
  for place, kind in places:
    offset = table.Offset(4 + 2 * place)
    assert offset, place
    position = offset + table.Pos
    if kind == 'table':
      table = flatbuffers.table.Table(table.Bytes, table.Indirect(position))
    elif kind == 'vector':
      start = table.Vector(offset)
      assert table.VectorLen(offset) == 1
      table = flatbuffers.table.Table(table.Bytes, table.Indirect(start))
    elif kind == 'text':
      return table.String(position).decode()
    else:
      return table.Get(getattr(flatbuffers.number_types, kind), position)
  return table


def test_the_metadata_follow_the_schema(contents):
  model = schema.ModelT.InitFromPackedBuf(bytearray(contents[1]), 0)
  (entry,) = [entry for entry in model.metadata if entry.name == b'TFLITE_METADATA']
  data = bytearray(model.buffers[entry.buffer].data.tobytes())
  assert data[4:8] == b'M001'
  root = flatbuffers.table.Table(data, int.from_bytes(data[:4], 'little'))
  assert read(root, (7, 'text')) == '1.0.0'
  subgraph = (3, 'vector')
  images, output = (subgraph, (2, 'vector')), (subgraph, (3, 'vector'))
  assert read(root, *images, (0, 'text')) == 'images'
  assert read(root, *images, (3, 'table'), (0, 'Uint8Flags')) == 2  # ImageProperties
  assert read(root, *images, (3, 'table'), (1, 'table'), (0, 'Int8Flags')) == 1  # RGB
  unit = (*images, (4, 'vector'))
  assert read(root, *unit, (0, 'Uint8Flags')) == 1  # NormalizationOptions
  labels = (*output, (6, 'vector'))
  assert read(root, *labels, (0, 'text')) == 'labels.txt'
  assert read(root, *labels, (2, 'Int8Flags')) == 2  # TENSOR_AXIS_LABELS


def test_the_converters_own_metadata_stay(contents):
  names = [
    {entry.name for entry in schema.ModelT.InitFromPackedBuf(bytearray(c), 0).metadata or ()}
    for c in contents
  ]
  assert names[1] == names[0] | {b'TFLITE_METADATA'}
  tf.lite.Interpreter(model_content=contents[1]).allocate_tensors()
