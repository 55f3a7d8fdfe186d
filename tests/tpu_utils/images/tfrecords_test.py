"""Tests random access to TFRecord files, and the errors for damaged ones."""
import numpy as np
import pytest
import tensorflow as tf

from tpu_utils.images import record_index, tfrecords


def write(path, records):
  with tf.io.TFRecordWriter(str(path)) as writer:
    for record in records:
      writer.write(record)
  return str(path)


def contents(file, number):
  return b'%d/%d ' % (file, number) * (number % 5 + 1)


@pytest.fixture
def files(tmp_path):
  """(paths, records) of three files with 5, 1 and 70 records."""
  records, paths = [], []
  for file, count in enumerate((5, 1, 70)):
    paths.append(
      write(tmp_path / f'train-{file:05d}-of-00003', [contents(file, i) for i in range(count)])
    )
    records += [contents(file, i) for i in range(count)]
  return paths, records


def read(record_files, first, last):
  """Calls `read` inside a dataset's function, where it is meant to be used."""
  bounds = tf.data.Dataset.from_tensors((np.int64(first), np.int64(last)))
  return [(int(n), r.numpy()) for n, r in bounds.flat_map(record_files.read)]


@pytest.mark.parametrize(
  'first, last', [(0, 76), (0, 1), (4, 7), (5, 6), (6, 76), (40, 75), (3, 3)]
)
def test_any_range_is_read_in_order(files, first, last):
  paths, records = files
  assert read(tfrecords.RecordFiles(paths), first, last) == list(enumerate(records))[first:last]


def test_single_records_and_their_names(files):
  paths, records = files
  record_files = tfrecords.RecordFiles(paths)
  assert len(record_files) == 76
  assert [record_files.read_one(i) for i in (0, 4, 5, 6, 75)] == [
    records[i] for i in (0, 4, 5, 6, 75)
  ]
  assert record_files.where(5) == f'{paths[1]}, record 0'
  assert record_files.where(75) == f'{paths[2]}, record 69'


@pytest.mark.parametrize('cut', [1, 4, 5, 20])
def test_a_truncated_file_names_file_and_record(files, cut):
  paths, _ = files
  with open(paths[2], 'rb') as file:
    data = file.read()
  with open(paths[2], 'wb') as file:
    file.write(data[:-cut])
  with pytest.raises(
    ValueError, match=rf'{paths[2]}, record 69: the file ends within it, at byte {len(data) - cut}'
  ):
    tfrecords.RecordFiles(paths)


def test_a_file_of_another_format_is_named(tmp_path):
  path = tmp_path / 'train-00000-of-00001'
  path.write_bytes(b'\xff\xd8\xff' + bytes(range(100)))
  with pytest.raises(ValueError, match=f'{path} is not a TFRecord file'):
    tfrecords.RecordFiles([str(path)])
  path.write_bytes(b'')
  with pytest.raises(ValueError, match=f'{path} is empty'):
    tfrecords.RecordFiles([str(path)])


def test_a_damaged_record_is_left_out_and_named(files):
  paths, records = files
  record_files = tfrecords.RecordFiles(paths)
  damaged = 30
  begin = int(record_index.record_offsets(paths[2])[damaged])
  with open(paths[2], 'r+b') as file:
    file.seek(begin + 12)
    file.write(b'X')
  good = list(enumerate(records))
  assert read(record_files, 20, 50) == []  # The whole range, as `read` documents.
  assert read(record_files, 20, 6 + damaged) == good[20 : 6 + damaged]
  assert read(record_files, 6 + damaged + 1, 50) == good[6 + damaged + 1 : 50]
  with pytest.raises(ValueError, match=f'{paths[2]}, record {damaged}: .*checksum'):
    record_files.read_one(6 + damaged)


def test_records_of_a_deleted_file_are_left_out_and_named(files, tmp_path):
  paths, records = files
  record_files = tfrecords.RecordFiles(paths)
  (tmp_path / 'train-00001-of-00003').unlink()
  good = list(enumerate(records))
  assert read(record_files, 3, 10) == []
  assert [read(record_files, n, n + 1) for n in range(3, 8)] == [
    [good[3]],
    [good[4]],
    [],
    [good[6]],
    [good[7]],
  ]
  with pytest.raises(ValueError, match=f'{paths[1]}, record 0: cannot be read'):
    record_files.read_one(5)


class TestFindShards:
  def test_in_order(self, files, tmp_path):
    paths, _ = files
    write(tmp_path / 'validation-00000-of-00001', [b'v'])
    assert tfrecords.find_shards(str(tmp_path), 'train') == paths

  def test_no_folder(self, tmp_path):
    with pytest.raises(ValueError, match='nowhere.* is not a folder'):
      tfrecords.find_shards(str(tmp_path / 'nowhere'), 'train')

  def test_empty_folder(self, tmp_path):
    with pytest.raises(ValueError, match=r'no TFRecord shards named train-\* \(it is empty\)'):
      tfrecords.find_shards(str(tmp_path), 'train')

  def test_other_files(self, files, tmp_path):
    with pytest.raises(ValueError, match=r'named validation-\* \(it holds train-00000-of-00003, '):
      tfrecords.find_shards(str(tmp_path), 'validation')

  def test_missing_shard(self, files, tmp_path):
    (tmp_path / 'train-00001-of-00003').unlink()
    with pytest.raises(ValueError, match=f'{tmp_path}/train-00001-of-00003 is missing'):
      tfrecords.find_shards(str(tmp_path), 'train')

  def test_two_data_sets_in_one_folder(self, files, tmp_path):
    write(tmp_path / 'train-00000-of-00001', [b'x'])
    with pytest.raises(ValueError, match='several data sets'):
      tfrecords.find_shards(str(tmp_path), 'train')
