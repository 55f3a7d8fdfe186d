"""Random access to the records of TFRecord files."""
import functools
import os
import re
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tpu_utils import files
from tpu_utils.errors import first_line, printable
from tpu_utils.images import record_index

_MAX_BUFFER_BYTES = 16 * 2**20
_STREAM_BUFFER_BYTES = 2**18  # Fits in the processor's cache.


def find_shards(data_dir: str, split: str) -> list[str]:
  """Returns the shards of a split in order.

  Args:
    data_dir: folder, local or remote (gs://...).
    split: 'train' or 'validation'.

  Returns:
    Sorted list of the paths `data_dir/split-*`.

  Raises:
    ValueError: the folder or its shards are missing, or there are fewer than the names (-of-N) say.
  """
  if not tf.io.gfile.isdir(data_dir):
    raise ValueError(
      f'data_dir={data_dir!r} is not a folder; give one that holds TFRecord shards named {split}-*.'
    )
  paths = files.paths_in(data_dir, f'{split}-')
  if not paths:
    raise ValueError(
      f'data_dir={data_dir!r} has no TFRecord shards named {split}-* '
      f'({describe_folder(data_dir)}); give the folder that has them.'
    )
  _check_none_missing(paths)
  return paths


def describe_folder(folder: str) -> str:
  """Says what a folder contains, for an error message: 'it holds a, b, ...' or 'it is empty'."""
  names = [os.path.basename(path) for path in files.paths_in(folder)]
  if not names:
    return 'it is empty'
  return f'it holds {printable(", ".join(names[:5]))}{", ..." if len(names) > 5 else ""}'


def _check_none_missing(paths):
  matches = [re.search(r'-(\d+)-of-(\d+)$', path) for path in paths]
  if not all(matches):
    return  # Without the official names the number of shards is unknown.
  totals = {int(match[2]) for match in matches if match}
  if len(totals) > 1:
    raise ValueError(
      f'{os.path.dirname(paths[0])} holds shards of several data sets, of {sorted(totals)} shards; '
      'remove the ones that do not belong.'
    )
  total = totals.pop()
  missing = sorted(set(range(total)) - {int(match[1]) for match in matches if match})
  if missing:
    prefix = re.sub(r'-\d+-of-\d+$', '', paths[0])
    raise ValueError(
      f'{prefix}-{missing[0]:05d}-of-{total:05d} is missing ({len(missing)} of {total} shards '
      'are); copy or prepare the data set again.'
    )


class RecordFiles:
  """The records of several TFRecord files, numbered consecutively across the files.

  Args:
    paths: the files.
    index_path: path of the index of their records; see `record_index.load_or_scan`.

  Raises:
    ValueError: a file is empty, cut off or not a TFRecord file; names the file and the record.
  """

  def __init__(self, paths: Sequence[str], index_path: str | None = None):
    self.paths = list(paths)
    self._index_path = index_path
    offsets = record_index.load_or_scan(self.paths, index_path)
    counts = [len(o) - 1 for o in offsets]
    # Record r is in the file f with starts[f] <= r < starts[f + 1] and begins at byte
    # offsets[r + f]: "+ f" because the offsets of each file end with its size.
    self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    self._offsets = np.concatenate(offsets)

  @functools.cached_property
  def _tensors(self):
    # Outside the datasets' functions, which would copy a constant each. Not made in __init__,
    # because some distribution strategies must be created before any tensor.
    with tf.init_scope(), tf.device('/CPU:0'):
      return [tf.constant(x) for x in (self.paths, self._starts, self._offsets)]

  def __len__(self):
    return int(self._starts[-1])

  def read(self, first: tf.Tensor, last: tf.Tensor) -> tf.data.Dataset:
    """Returns the records first <= r < last as a dataset.

    Args:
      first: int64 scalar.
      last: int64 scalar.

    Returns:
      Dataset of (r, serialised record). If one record cannot be read, the dataset is empty; the
      others can be read by calls of their own.
    """
    # A single dataset over all the files: creating one costs as much as reading several records.
    paths, starts, offsets = self._tensors
    first_file = tf.searchsorted(starts, [first], side='right')[0] - 1
    last_file = tf.maximum(tf.searchsorted(starts, [last - 1], side='right')[0] - 1, first_file)
    begin = offsets[first + tf.cast(first_file, tf.int64)]
    end = offsets[last + tf.cast(last_file, tf.int64)]
    # A buffer for the whole range, so that remote storage gets a single request.
    size = tf.where(first_file == last_file, end - begin, _MAX_BUFFER_BYTES)
    size = tf.clip_by_value(size, _STREAM_BUFFER_BYTES, _MAX_BUFFER_BYTES)
    begins = tf.concat([[begin], tf.zeros([last_file - first_file], tf.int64)], axis=0)
    records = _from_bytes(paths[first_file : last_file + 1], begins, size)
    # After an error the reader continues with the next file. The numbers bound how much it reads
    # there; the batch is then incomplete and is dropped.
    numbered = tf.data.Dataset.zip(tf.data.Dataset.range(first, last), records)
    batch = numbered.batch(tf.maximum(last - first, 1), drop_remainder=True)
    return batch.ignore_errors().unbatch()

  def stream(self, first: tf.Tensor, last: tf.Tensor) -> tf.data.Dataset:
    """Returns the records first <= r < last as a dataset that fails at an unreadable record.

    It copies records less often than `read`, which matters for large ones.

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
      records = _from_bytes([paths[file]], [offsets[begin + file]], _STREAM_BUFFER_BYTES)
      return records.take(end - begin)

    files = tf.data.Dataset.range(tf.cast(first_file, tf.int64), tf.cast(last_file, tf.int64))
    return files.flat_map(read_file)

  def read_one(self, record: int) -> bytes:
    """Reads one record.

    Raises:
      ValueError: it cannot be read; names the file, the record and the cause.
    """
    file, number = self._locate(record)
    path = self.paths[file]
    try:
      begin = tf.data.Dataset.from_tensors(self._offsets[record + file])
      records = begin.flat_map(lambda b: _from_bytes([path], [b], _STREAM_BUFFER_BYTES))
      return next(iter(records)).numpy()
    except tf.errors.DataLossError:
      self._check_index(file)
      raise ValueError(
        f'{path}, record {number}: the data do not match their checksum; copy or prepare the file '
        'again.'
      ) from None
    except (tf.errors.OpError, StopIteration) as e:
      cause = first_line(e, default='the file has fewer records')
      raise ValueError(f'{path}, record {number}: cannot be read ({cause}).') from None

  def _check_index(self, file):
    """Raises ValueError if the index was made from another file of the same name and size."""
    begin, end = self._starts[file] + file, self._starts[file + 1] + file + 1
    offsets = record_index.record_offsets(self.paths[file])
    if not np.array_equal(offsets, self._offsets[begin:end]):
      raise ValueError(
        f'{self._index_path or self.paths[file]} does not fit {self.paths[file]}, which has since '
        'been replaced by a file of the same size; delete the index and start again.'
      )

  def where(self, record: int) -> str:
    """Returns 'path, record n' for messages, with n counted from 0 within the file."""
    file, number = self._locate(record)
    return f'{self.paths[file]}, record {number}'

  def _locate(self, record):
    file = int(np.searchsorted(self._starts, record, side='right')) - 1
    return file, int(record - self._starts[file])


def _from_bytes(paths, begins, buffer_size):
  """Returns a dataset of the records of files, starting at a byte offset in each.

  `tf.data.TFRecordDataset` has no offsets. Only call this inside a dataset's function: outside of
  one TensorFlow 2.21 cannot serialise this op.
  """
  records = tf.raw_ops.TFRecordDatasetV2(
    filenames=paths, compression_type='', buffer_size=buffer_size, byte_offsets=begins
  )
  return tf.data.experimental.from_variant(records, tf.TensorSpec([], tf.string))
