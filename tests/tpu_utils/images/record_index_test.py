"""Tests scanning for records, and that the index is not used for changed files."""
import io
import os

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tpu_utils.images import record_index, tfrecords


@pytest.fixture(autouse=True)
def any_size_is_worth_saving(monkeypatch):
  monkeypatch.setattr(record_index, '_WORTH_SAVING_BYTES', 1)


def write(path, records):
  with tf.io.TFRecordWriter(str(path)) as writer:
    for record in records:
      writer.write(record)
  return str(path)


@pytest.fixture
def paths(tmp_path):
  return [write(tmp_path / f'train-{i}', [b'x' * n for n in range(i, i + 9)]) for i in range(3)]


def scans(monkeypatch):
  """Returns a list to which every scanned path is appended from now on."""
  scanned, scan = [], record_index.record_offsets
  monkeypatch.setattr(record_index, 'record_offsets', lambda p: scanned.append(p) or scan(p))
  return scanned


def test_offsets_are_where_the_records_are(tmp_path):
  records = [b'a', b'', b'c' * 1000]
  offsets = record_index.record_offsets(write(tmp_path / 'file', records))
  assert offsets.tolist() == [0, 17, 33, 1049]
  data = (tmp_path / 'file').read_bytes()
  for begin, record in zip(offsets, records, strict=False):
    assert data[begin + 12 : begin + 12 + len(record)] == record


@hypothesis.given(
  lengths=st.lists(st.integers(0, 40), min_size=1, max_size=30), chunk=st.integers(1, 100)
)
def test_reading_in_chunks_finds_the_same(tmp_path_factory, lengths, chunk):
  """Remote files are read in chunks."""
  path = write(tmp_path_factory.mktemp('x') / 'file', [b'r' * n for n in lengths])
  expected = np.cumsum([0, *(n + 16 for n in lengths)])
  for chunk_bytes in (0, chunk):
    np.testing.assert_array_equal(record_index.record_offsets(path, chunk_bytes), expected)


@hypothesis.given(data=st.binary(max_size=60), keep=st.integers(0, 60))
def test_any_bytes_are_records_or_one_clear_line(tmp_path_factory, data, keep):
  """Arbitrary bytes after `keep` bytes of a good file."""
  path = tmp_path_factory.mktemp('x') / 'file'
  write(path, [b'good one', b'good two'])
  content = path.read_bytes()[:keep] + data
  path.write_bytes(content)
  try:
    offsets = record_index.record_offsets(str(path))
  except ValueError as e:
    assert str(e).startswith(str(path)) and '\n' not in str(e)
  else:
    assert offsets[0] == 0 and offsets[-1] == len(content)
    assert (np.diff(offsets) >= 16).all()


def test_the_index_saves_the_scan(tmp_path, paths, monkeypatch):
  index = record_index.path_beside(tmp_path, 'train')
  scanned = scans(monkeypatch)
  first = record_index.load_or_scan(paths, index)
  assert sorted(scanned) == paths and os.path.basename(index) == 'offsets-train.npz'
  scanned.clear()
  again = record_index.load_or_scan(paths, index)
  assert not scanned
  for a, b in zip(first, again, strict=True):
    np.testing.assert_array_equal(a, b)
  # It also serves a part of the files, and it is not taken for a shard.
  assert len(record_index.load_or_scan(paths[1:2], index)) == 1 and not scanned
  assert tfrecords.find_shards(str(tmp_path), 'train') == paths


def test_a_file_of_another_size_is_scanned_again(tmp_path, paths, monkeypatch):
  index = record_index.path_beside(tmp_path, 'train')
  record_index.load_or_scan(paths, index)
  write(paths[1], [b'other'] * 3)
  scanned = scans(monkeypatch)
  assert [len(o) - 1 for o in record_index.load_or_scan(paths, index)] == [9, 3, 9]
  assert scanned == [paths[1]]
  assert len(record_index.load(index)['train-1']) == 4  # The index is updated.


def test_the_index_may_be_moved_with_the_files(tmp_path, paths, monkeypatch):
  record_index.load_or_scan(paths, record_index.path_beside(tmp_path, 'train'))
  moved = tmp_path.with_name(tmp_path.name + '_moved')
  os.rename(tmp_path, moved)
  scanned = scans(monkeypatch)
  record_index.load_or_scan(
    [str(moved / os.path.basename(p)) for p in paths], record_index.path_beside(moved, 'train')
  )
  assert not scanned


@pytest.mark.parametrize('damage', [b'', b'no archive', 'cut', 'keys'])
def test_a_damaged_index_is_replaced(tmp_path, paths, damage, capsys):
  index = record_index.path_beside(tmp_path, 'train')
  expected = record_index.load_or_scan(paths, index)
  with open(index, 'rb') as file:
    content = file.read()
  if damage == 'keys':
    other = io.BytesIO()
    np.savez(other, something=np.zeros(3))
    damage = other.getvalue()
  with open(index, 'wb') as file:
    file.write(content[:-30] if damage == 'cut' else damage)
  for a, b in zip(record_index.load_or_scan(paths, index), expected, strict=True):
    np.testing.assert_array_equal(a, b)
  assert f'{index} cannot be read as an index' in capsys.readouterr().err
  assert set(record_index.load(index)) == {'train-0', 'train-1', 'train-2'}


def test_an_index_that_cannot_be_written_is_no_error(tmp_path, paths, capsys):
  index = str(tmp_path / 'nowhere' / 'offsets-train.npz')
  assert len(record_index.load_or_scan(paths, index)) == 3
  assert f'{index} cannot be written' in capsys.readouterr().err


def test_another_file_of_the_same_size_is_detected(tmp_path, paths):
  index = record_index.path_beside(tmp_path, 'train')
  tfrecords.RecordFiles(paths, index)
  write(paths[0], [b'x' * n for n in reversed(range(9))])
  records = tfrecords.RecordFiles(paths, index)
  with pytest.raises(ValueError, match=f'{index} does not fit {paths[0]}, .*; delete the index'):
    records.read_one(3)
