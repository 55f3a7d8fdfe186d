"""Random access to the records of TFRecord files, from an index of where each record begins.

A TFRecord file is a row of records, each a length (8 bytes, little endian), a checksum of it (4 bytes), the
data and a checksum of the data (4 bytes). The index is made by reading the lengths alone.
"""
import concurrent.futures
import os
import re
import struct

import numpy as np
import tensorflow as tf

_HEADER = struct.Struct('<QI')
_FOOTER_BYTES = 4
_INDEXING_THREADS = 16
_MAX_BUFFER_BYTES = 16 * 2**20
_STREAM_BUFFER_BYTES = 2**18  # Stays in the processor's cache.


def find_shards(data_dir, split):
  """The shards of a split, in order.

  Args:
    data_dir: folder, local or remote (gs://...).
    split: 'train' or 'validation'.

  Returns:
    Sorted list of the paths `data_dir/split-*`.

  Raises:
    ValueError: no such folder, no such files, or one missing of the N that the names (-of-N) speak of.
  """
  if not tf.io.gfile.isdir(data_dir):
    raise ValueError(
      f'data_dir={data_dir!r} is no folder; give one that holds TFRecord shards named {split}-*.'
    )
  paths = sorted(tf.io.gfile.glob(os.path.join(data_dir, f'{split}-*')))
  if not paths:
    found = sorted(tf.io.gfile.listdir(data_dir))
    found = f'it holds {", ".join(found[:5])}{", ..." if len(found) > 5 else ""}' if found else 'it is empty'
    raise ValueError(
      f'data_dir={data_dir!r} has no TFRecord shards named {split}-* ({found}); give the folder that '
      'has them.'
    )
  _check_none_missing(paths)
  return paths


def _check_none_missing(paths):
  numbers = [re.search(r'-(\d+)-of-(\d+)$', path) for path in paths]
  if not all(numbers):
    return  # Not named in the official way: nothing says how many there should be.
  totals = {int(n[2]) for n in numbers}
  if len(totals) > 1:
    raise ValueError(
      f'{os.path.dirname(paths[0])} holds shards of several data sets, of {sorted(totals)} shards; '
      'remove the ones that do not belong.'
    )
  total = totals.pop()
  missing = sorted(set(range(total)) - {int(n[1]) for n in numbers})
  if missing:
    prefix = paths[0][: -len(numbers[0][0])]
    raise ValueError(
      f'{prefix}-{missing[0]:05d}-of-{total:05d} is missing ({len(missing)} of {total} shards are); '
      'copy or prepare the data set again.'
    )


class RecordFiles:
  """The records of some TFRecord files, numbered through in the order of the files.

  Args:
    paths: the files.

  Raises:
    ValueError: a file that is empty, cut off or no TFRecord file; names the file and the record.
  """

  def __init__(self, paths):
    self.paths = list(paths)
    with concurrent.futures.ThreadPoolExecutor(_INDEXING_THREADS) as pool:
      offsets = list(pool.map(record_offsets, self.paths))
    counts = [len(o) - 1 for o in offsets]
    # Record r is in the file f with starts[f] <= r < starts[f + 1], and begins at the byte
    # offsets[r + f]: each file's offsets end with its size.
    self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    self._offsets = np.concatenate(offsets)
    # For the datasets, which refer to them: a constant inside would be copied with every function.
    with tf.init_scope(), tf.device('/CPU:0'):
      self._tensors = [tf.constant(x) for x in (self.paths, self._starts, self._offsets)]

  def __len__(self):
    return int(self._starts[-1])

  def read(self, first, last):
    """The records first <= r < last, as a dataset.

    Args:
      first: int64 scalar.
      last: int64 scalar.

    Returns:
      Dataset of (r, serialised record). Records that cannot be read are left out (what follows in the
      same file too, as far as `last`).
    """
    _, starts, _ = self._tensors
    first_file = tf.searchsorted(starts, [first], side='right')[0] - 1
    last_file = tf.searchsorted(starts, [last], side='left')[0]
    files = tf.data.Dataset.range(tf.cast(first_file, tf.int64), tf.cast(last_file, tf.int64))
    return files.flat_map(
      lambda f: self._read_file(f, tf.maximum(first, starts[f]), tf.minimum(last, starts[f + 1]))
    )

  def stream(self, first, last):
    """The records first <= r < last, as a dataset that fails at one that cannot be read.

    Less goes on for each record than in `read`, which counts where records are large.

    Args:
      first: int64 scalar.
      last: int64 scalar.

    Returns:
      Dataset of serialised records.
    """
    paths, starts, offsets = self._tensors
    first_file = tf.searchsorted(starts, [first], side='right')[0] - 1
    last_file = tf.searchsorted(starts, [last], side='left')[0]

    def read_file(file):
      begin, end = tf.maximum(first, starts[file]), tf.minimum(last, starts[file + 1])
      return _from_byte(paths[file], offsets[begin + file], _STREAM_BUFFER_BYTES).take(end - begin)

    files = tf.data.Dataset.range(tf.cast(first_file, tf.int64), tf.cast(last_file, tf.int64))
    return files.flat_map(read_file)

  def _read_file(self, file, first, last):
    paths, _, offsets = self._tensors
    begin, end = offsets[first + file], offsets[last + file]
    records = _from_byte(paths[file], begin, tf.minimum(end - begin, _MAX_BUFFER_BYTES))
    # The numbers come first and go on past an error, which bounds the errors that are ignored.
    return tf.data.Dataset.zip(tf.data.Dataset.range(first, last), records).ignore_errors()

  def read_one(self, record):
    """The bytes of one record. Raises ValueError with the cause if they cannot be read."""
    file, number = self._locate(record)
    path = self.paths[file]
    try:
      begin = tf.data.Dataset.from_tensors(self._offsets[record + file])
      return next(iter(begin.flat_map(lambda b: _from_byte(path, b, 2**18)))).numpy()
    except tf.errors.DataLossError:
      raise ValueError(
        f'{path}, record {number}: the data do not match their checksum; copy or prepare the file again.'
      ) from None
    except (tf.errors.OpError, StopIteration) as e:
      raise ValueError(f'{path}, record {number}: cannot be read ({_brief(e)}).') from None

  def where(self, record):
    """'path, record n' of a record, n counted from 0 within its file."""
    file, number = self._locate(record)
    return f'{self.paths[file]}, record {number}'

  def _locate(self, record):
    file = int(np.searchsorted(self._starts, record, side='right')) - 1
    return file, int(record - self._starts[file])


def _from_byte(path, begin, buffer_size):
  """Dataset of the records of a file from a byte on, which `tf.data.TFRecordDataset` can't give.

  To be called inside a dataset's function: TensorFlow 2.21 cannot serialise this op outside of one.
  """
  records = tf.raw_ops.TFRecordDatasetV2(
    filenames=[path], compression_type='', buffer_size=buffer_size, byte_offsets=[begin]
  )
  return tf.data.experimental.from_variant(records, tf.TensorSpec([], tf.string))


def record_offsets(path):
  """Where the records of a file begin.

  Args:
    path: a TFRecord file, local or remote.

  Returns:
    int64 [records + 1]: the byte at which each record begins, and the size of the file.

  Raises:
    ValueError: the file is empty, cut off or no TFRecord file.
  """
  offsets = [0]
  with _open(path) as file:
    size = tf.io.gfile.stat(path).length
    while offsets[-1] < size:
      offsets.append(_next_offset(file, path, offsets, size))
  if len(offsets) == 1:
    raise ValueError(f'{path} is empty; expected TFRecords. Copy or prepare it again.')
  return np.array(offsets, np.int64)


def _next_offset(file, path, offsets, size):
  begin = offsets[-1]
  file.seek(begin)
  header = file.read(_HEADER.size)
  if len(header) == _HEADER.size:
    length, checksum = _HEADER.unpack(header)
    if len(offsets) == 1 and checksum != _masked_crc32c(header[:8]):
      raise ValueError(f'{path} is no TFRecord file: its first 12 bytes are no length and checksum.')
    end = begin + _HEADER.size + length + _FOOTER_BYTES
    if end <= size:
      return end
  raise ValueError(
    f'{path}, record {len(offsets) - 1}: the file ends within it, at byte {size}; it is cut off or '
    'damaged. Copy or prepare it again.'
  )


def _open(path):
  # Python's own file is ten times as fast, where it will do.
  return tf.io.gfile.GFile(path, 'rb') if '://' in path else open(path, 'rb', buffering=0)


def _masked_crc32c(data):
  """The checksum that TFRecord files use, of a few bytes."""
  crc = 0xFFFFFFFF
  for byte in data:
    crc ^= byte
    for _ in range(8):
      crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
  crc ^= 0xFFFFFFFF
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _brief(error):
  return str(getattr(error, 'message', error)).split('\n')[0] or 'the file has fewer records'
