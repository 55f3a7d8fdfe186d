"""Random access to the records of TFRecord files."""
import functools
import os
import re

import numpy as np
import tensorflow as tf

from tpu_utils.errors import first_line
from tpu_utils.images import record_index

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
    index_path: where the index of their records is or is to be; see `record_index.load_or_scan`.

  Raises:
    ValueError: a file that is empty, cut off or no TFRecord file; names the file and the record.
  """

  def __init__(self, paths, index_path=None):
    self.paths = list(paths)
    self._index_path = index_path
    offsets = record_index.load_or_scan(self.paths, index_path)
    counts = [len(o) - 1 for o in offsets]
    # Record r is in the file f with starts[f] <= r < starts[f + 1], and begins at the byte
    # offsets[r + f]: each file's offsets end with its size.
    self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    self._offsets = np.concatenate(offsets)

  @functools.cached_property
  def _tensors(self):
    # For the datasets, which refer to them: a constant inside would be copied with every function. Made
    # late, because some strategies must be made before any tensor.
    with tf.init_scope(), tf.device('/CPU:0'):
      return [tf.constant(x) for x in (self.paths, self._starts, self._offsets)]

  def __len__(self):
    return int(self._starts[-1])

  def read(self, first, last):
    """The records first <= r < last, as a dataset.

    Args:
      first: int64 scalar.
      last: int64 scalar.

    Returns:
      Dataset of (r, serialised record). With a record that cannot be read all are left out; reading the
      others on their own gives them.
    """
    # One dataset over all the files: every dataset that a function makes costs as much as some records.
    paths, starts, offsets = self._tensors
    first_file = tf.searchsorted(starts, [first], side='right')[0] - 1
    last_file = tf.maximum(tf.searchsorted(starts, [last - 1], side='right')[0] - 1, first_file)
    begin, end = (offsets[n + tf.cast(f, tf.int64)] for n, f in ((first, first_file), (last, last_file)))
    # In one request, which counts where storage is remote.
    size = tf.where(first_file == last_file, end - begin, _MAX_BUFFER_BYTES)
    size = tf.clip_by_value(size, _STREAM_BUFFER_BYTES, _MAX_BUFFER_BYTES)
    begins = tf.concat([[begin], tf.zeros([last_file - first_file], tf.int64)], axis=0)
    records = _from_bytes(paths[first_file : last_file + 1], begins, size)
    # The numbers bound what is read beyond an error in the files that follow; with fewer the batch is dropped.
    run = tf.data.Dataset.zip(tf.data.Dataset.range(first, last), records)
    return run.batch(tf.maximum(last - first, 1), drop_remainder=True).ignore_errors().unbatch()

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

  def read_one(self, record):
    """The bytes of one record. Raises ValueError with the cause if they cannot be read."""
    file, number = self._locate(record)
    path = self.paths[file]
    try:
      begin = tf.data.Dataset.from_tensors(self._offsets[record + file])
      return next(iter(begin.flat_map(lambda b: _from_byte(path, b, 2**18)))).numpy()
    except tf.errors.DataLossError:
      self._check_index(file)
      raise ValueError(
        f'{path}, record {number}: the data do not match their checksum; copy or prepare the file again.'
      ) from None
    except (tf.errors.OpError, StopIteration) as e:
      cause = first_line(e, default='the file has fewer records')
      raise ValueError(f'{path}, record {number}: cannot be read ({cause}).') from None

  def _check_index(self, file):
    """Raises ValueError if the file is not the one that the index was made from."""
    begin, end = self._starts[file] + file, self._starts[file + 1] + file + 1
    found = record_index.record_offsets(self.paths[file])
    if not np.array_equal(found, self._offsets[begin:end]):
      raise ValueError(
        f'{self._index_path or self.paths[file]} does not fit {self.paths[file]}, which was replaced '
        'since by a file of the same size; delete the index and start again.'
      )

  def where(self, record):
    """'path, record n' of a record, n counted from 0 within its file."""
    file, number = self._locate(record)
    return f'{self.paths[file]}, record {number}'

  def _locate(self, record):
    file = int(np.searchsorted(self._starts, record, side='right')) - 1
    return file, int(record - self._starts[file])


def _from_byte(path, begin, buffer_size):
  return _from_bytes([path], [begin], buffer_size)


def _from_bytes(paths, begins, buffer_size):
  """Dataset of the records of files, each from a byte on, which `tf.data.TFRecordDataset` can't give.

  To be called inside a dataset's function: TensorFlow 2.21 cannot serialise this op outside of one.
  """
  records = tf.raw_ops.TFRecordDatasetV2(
    filenames=paths, compression_type='', buffer_size=buffer_size, byte_offsets=begins
  )
  return tf.data.experimental.from_variant(records, tf.TensorSpec([], tf.string))
