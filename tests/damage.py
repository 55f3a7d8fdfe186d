"""Intact examples of all file formats from outside, their readers, and random damage to them."""
import base64
import contextlib
import dataclasses
import io
import json
import pathlib
import shutil
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Callable

import h5py
import numpy as np
import safetensors.numpy
import tensorflow as tf

from oscar import tokenization
from oscar.config import OscarConfig
from oscar.datasets import coco_retrieval, records, region_conversion, tsv
from oscar.metrics import cider
from tests import bert_folder
from tpu_utils import checkpoints
from tpu_utils.image_jobs import loading
from tpu_utils.images import class_names, record_index
from tpu_utils.images.preparation import labels
from tpu_utils.images.sources import manifest
from tpu_utils.images.spec import PreprocessSpec
from tpu_utils.weights import (
  keras_files,
  own_checkpoints,
  safe_pickle,
  t7,
  tf1,
  torch_files,
  torch_tensors,
)

GOLDENS = pathlib.Path(__file__).parent / 'goldens'
OSCAR = GOLDENS / 'oscar'
VALUES = {
  'a/kernel': np.arange(12, dtype=np.float32).reshape(3, 4),
  'a/bias': np.zeros(4, np.float32),
}


@dataclasses.dataclass(frozen=True)
class Reader:
  """A reader and example files for it.

  Attributes:
    write: function(folder) that writes intact files into a folder.
    read: function(folder) that reads all of them completely.
  """

  write: Callable
  read: Callable


def _copied(*files):
  def write(folder):
    for file in files:
      shutil.copy(file, folder)

  return write


def _one(folder):
  (path,) = folder.iterdir()
  return path


def _whole_torch(folder):
  def read(value):
    if isinstance(value, torch_tensors.StoredTensor):
      value.read()
    elif isinstance(value, dict):
      for item in value.values():
        read(item)
    elif isinstance(value, list | tuple):
      for item in value:
        read(item)

  read(torch_tensors.load(_one(folder)))


def _arrays(read):
  """Returns a function that copies the arrays from `read(folder)`, as an assignment would."""

  def run(folder):
    tensors = read(folder)
    for name in tensors:
      np.array(tensors[name])

  return run


def _write_keras_3(file):
  with h5py.File(file, 'w') as h5:
    for kind, arrays in {'dense': VALUES.values(), 'conv2d': [np.ones((3, 3, 2, 2))]}.items():
      group = h5.create_group(f'layers/{kind}/vars')
      group.attrs['name'] = f'my_{kind}'
      for number, array in enumerate(arrays):
        group.create_dataset(str(number), data=array, compression='gzip' if number else None)


def _write_keras(folder):
  data = io.BytesIO()
  _write_keras_3(data)
  with zipfile.ZipFile(folder / 'm.keras', 'w') as archive:
    archive.writestr('config.json', '{}')
    archive.writestr('model.weights.h5', data.getvalue(), zipfile.ZIP_DEFLATED)


def _write_keras_2(folder):
  with h5py.File(folder / 'm.h5', 'w') as h5:
    h5.attrs['layer_names'] = [b'input', b'a']
    h5.create_group('input').attrs['weight_names'] = []
    group = h5.create_group('a')
    group.attrs['weight_names'] = [f'{name}:0'.encode() for name in VALUES]
    for name, value in VALUES.items():
      group[f'{name}:0'] = value


def _read_tsv(folder):
  rows = tsv.TsvFile(folder / 'test.label.tsv')
  for row in range(len(rows)):
    rows.key(row)
    rows.json(row)


def _write_tokenizer(folder):
  shutil.copy(OSCAR / 'vocab' / 'vocab.txt', folder)
  size = len((folder / 'vocab.txt').read_text(encoding='utf-8').splitlines())
  (folder / 'added_tokens.json').write_text(f'{{"[new]": {size}, "[newer]": {size + 1}}}')
  (folder / 'tokenizer_config.json').write_text('{"do_lower_case": true}')


def _write_detections(folder):
  feature = base64.b64encode(np.ones(4, np.float32).tobytes()).decode()
  box = {'rect': [1, 1, 3, 2], 'class': 'dog', 'conf': 0.5, 'feature': feature}
  row = {'image_h': 4, 'image_w': 4, 'objects': [box, box]}
  (folder / 'predictions.tsv').write_text(f'7\t{json.dumps(row)}\n8\t{json.dumps(row)}\n')


def _read_detections(folder):
  with tempfile.TemporaryDirectory() as out:
    region_conversion.convert(str(_one(folder)), out, dim=10)


def _write_manifest(folder):
  shard = manifest.ShardRecord('train-00000-of-00001', 123, 'ab' * 32, {'cat': 3}, 'cd')
  manifest.save(str(folder), manifest.Manifest(('cat',), {'train': [shard]}, (), 'a folder'))


def _read_manifest(folder):
  loaded = manifest.load(str(folder))
  if loaded:
    for split in loaded.splits:
      loaded.num_examples(split)


def _write_records(folder):
  with tf.io.TFRecordWriter(str(folder / 'train-00000-of-00001')) as writer:
    for record in (b'one', b'', b'three' * 20):
      writer.write(record)
  path = str(folder / 'train-00000-of-00001')
  record_index.save(
    record_index.path_beside(str(folder), 'train'),
    {'train-00000-of-00001': record_index.record_offsets(path)},
  )


def _read_records(folder):
  with contextlib.redirect_stderr(io.StringIO()):  # A damaged index is reported and rebuilt.
    path = str(folder / 'train-00000-of-00001')
    record_index.load_or_scan([path], record_index.path_beside(str(folder), 'train'))


class _Module(tf.Module):
  def __init__(self):
    self.kernel = tf.Variable(tf.ones([2, 2, 3, 2]))

  @tf.function(input_signature=[tf.TensorSpec([None, 2, 2, 3])])
  def __call__(self, images):
    return {'logits': tf.nn.conv2d(images, self.kernel, 1, 'VALID')[:, 0, 0]}


def _write_saved_model(folder):
  module = _Module()
  tf.saved_model.save(module, str(folder), signatures=module.__call__)


def _read_lists(folder):
  coco_retrieval._read_lists(str(_one(folder)))


def _read_own_checkpoint(folder):
  path = str(folder / 'model.ckpt-3')
  own_checkpoints.matches(path)
  for value in own_checkpoints.read(path).values():
    np.array(value)


READERS = {
  'torch_zip': Reader(_copied(OSCAR / 'torch_files' / 'zip.pt'), _whole_torch),
  'torch_bfloat16': Reader(_copied(OSCAR / 'torch_files' / 'bfloat16.pt'), _whole_torch),
  'torch_old': Reader(_copied(OSCAR / 'torch_files' / 'old.pt'), _whole_torch),
  'torch_state_dict': Reader(
    _copied(OSCAR / 'torch_files' / 'zip.pt'), _arrays(lambda f: torch_files.read(_one(f)))
  ),
  'captions_in_torch': Reader(
    _copied(OSCAR / 'dataset' / 'coco_ir' / 'test_captions.pt'), _read_lists
  ),
  'safetensors': Reader(
    lambda f: safetensors.numpy.save_file(VALUES, f / 'm.safetensors'),
    _arrays(lambda f: torch_files.read(_one(f))),
  ),
  'pickle': Reader(
    _copied(OSCAR / 'dataset' / 'gqa' / 'trainval_testdev_all_ans2label.pkl'),
    lambda f: safe_pickle.load(_one(f)),
  ),
  'document_frequencies': Reader(
    _copied(OSCAR / 'cider_cached_tokens.p'), lambda f: cider.read(_one(f))
  ),
  't7': Reader(
    _copied(GOLDENS / 'resnext' / 'tiny_resnext_nn.t7'), _arrays(lambda f: t7.read(_one(f)))
  ),
  'weights_h5': Reader(
    lambda f: _write_keras_3(f / 'm.weights.h5'), _arrays(lambda f: keras_files.read(_one(f)))
  ),
  'h5': Reader(_write_keras_2, _arrays(lambda f: keras_files.read(_one(f)))),
  'keras': Reader(_write_keras, _arrays(lambda f: keras_files.read(_one(f)))),
  'tf1': Reader(
    lambda f: tf1.write(str(f / 'model.ckpt-3'), VALUES, 3), _arrays(lambda f: tf1.read(str(f)))
  ),
  'own_checkpoint': Reader(
    lambda f: checkpoints.write(
      str(f / 'model.ckpt-3'),
      {f'model/{name}': value for name, value in VALUES.items()},
      {'step': 3},
    ),
    _read_own_checkpoint,
  ),
  'tokenizer': Reader(_write_tokenizer, lambda f: tokenization.Tokenizer.from_folder(str(f))),
  'tokenizer_json': Reader(
    bert_folder.write_tokenizer, lambda f: tokenization.Tokenizer.from_folder(str(f))
  ),
  'detections': Reader(_write_detections, _read_detections),
  'config_json': Reader(
    lambda f: OscarConfig.from_name('tiny').to_json(str(f / 'config.json')),
    lambda f: OscarConfig.from_json(str(f)),
  ),
  'json': Reader(
    _copied(OSCAR / 'dataset' / 'gqa' / 'gqa_all_qla_train.json'),
    lambda f: records.read_json_list(_one(f)),
  ),
  'yaml': Reader(
    _copied(OSCAR / 'dataset' / 'coco_caption' / 'test.yaml'), lambda f: records.read_yaml(_one(f))
  ),
  'tsv': Reader(
    _copied(*(OSCAR / 'dataset' / 'coco_caption' / f'test.label.{e}' for e in ('tsv', 'lineidx'))),
    _read_tsv,
  ),
  'labels_map': Reader(
    lambda f: (f / 'labels.json').write_text('{"0": "cat", "1": "dog", "2": "a \\u00e9"}'),
    lambda f: class_names.read(str(_one(f)), 3),
  ),
  'validation_labels': Reader(
    lambda f: (f / 'labels.txt').write_text('a.JPEG n01\nb.JPEG n02\n'),
    lambda f: labels.read(str(_one(f)), str(f), ['a.JPEG', 'b.JPEG']),
  ),
  'manifest': Reader(_write_manifest, _read_manifest),
  'saved_model': Reader(
    _write_saved_model, lambda f: loading.from_file(str(f), PreprocessSpec(image_size=2))
  ),
  'tfrecords': Reader(_write_records, _read_records),
}

_NUMBERS = (0, 1, -1, 2**7, 2**15, 2**31 - 1, -(2**31), 2**32 - 1, 2**40, 2**63 - 1, -(2**63))
_TEXTS = (
  b'-1', b'1e999', b'99999999999999999999', b'null', b'[]', b'{}', b'"x"', b'\xff\xfe', b'[' * 5000,
)  # fmt: skip


def damaged(data, rng):
  """Returns the bytes with one to three faults such as broken disks, transfers and people cause."""
  data = bytearray(data)
  for _ in range(rng.choice((1, 1, 1, 2, 3))):
    size = len(data)
    if not size:
      break
    # Formats keep most of their headers and tables at their ends.
    anywhere, start = rng.randrange(size), rng.randrange(min(size, 200))
    place = rng.choice((anywhere, start, size - 1 - rng.randrange(min(size, 300))))
    kind = rng.randrange(8)
    if kind <= 1:
      data[place] = rng.randrange(256)
    elif kind == 2:
      data[place] ^= 1 << rng.randrange(8)
    elif kind == 3:
      number = rng.choice(_NUMBERS) & (2**64 - 1)
      width = rng.choice((1, 2, 4, 8))
      data[place : place + width] = struct.pack('<Q', number)[:width]
    elif kind == 4:
      data[place : place + rng.randrange(20)] = rng.choice(_TEXTS)
    elif kind == 5:
      del data[place : place + rng.randrange(1, 50)]
    elif kind == 6:
      data[place:place] = data[max(place - rng.randrange(1, 50), 0) : place]
    else:
      del data[place:]
  return bytes(data)


def check(reader, folder, whole, rng):
  """Damages one of the files in `folder` and reads them all.

  Args:
    reader: a `Reader`.
    folder: the folder with its intact files; they are restored afterwards.
    whole: {path: contents} of these files.
    rng: a `random.Random`.

  Raises:
    AssertionError: the reader's error is not one line that names a file.
  """
  path = rng.choice(sorted(whole))
  path.write_bytes(damaged(whole[path], rng))
  try:
    with warnings.catch_warnings(action='ignore'):
      reader.read(folder)
  except (ValueError, OSError) as error:
    assert str(folder) in str(error) and '\n' not in str(error), f'{type(error).__name__}: {error}'
  finally:
    path.write_bytes(whole[path])
