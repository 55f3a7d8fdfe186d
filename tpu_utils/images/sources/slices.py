"""Sources that wrap another source: a slice of it, or a cache of it in memory."""
import tensorflow as tf

from tpu_utils.images.sources.interface import Source


class _Wrapper:
  """Base class with the attributes that a wrapper copies from its source."""

  def __init__(self, source: Source):
    self._source = source
    self.format = source.format
    self.label_name = source.label_name
    self.lowest_label = source.lowest_label


class Slice(_Wrapper):
  """Source: the examples first <= n < last of another one, numbered from 0."""

  def __init__(self, source: Source, first: int, last: int):
    super().__init__(source)
    self.portable = source.portable
    self._first, self._last = first, last

  def __len__(self):
    return self._last - self._first

  def read(self, first: tf.Tensor, last: tf.Tensor) -> tf.data.Dataset:
    """Reads a range of examples; see `Source`."""
    read = self._source.read(first + self._first, last + self._first)
    return read.map(lambda number, data: (number - self._first, data))

  def parse(self, number: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Extracts the image and label; see `Source`."""
    return self._source.parse(number + self._first, data)

  def read_one(self, number: int) -> bytes:
    """Reads the data of an example; see `Source`."""
    return self._source.read_one(number + self._first)

  def where(self, number: int) -> str:
    """Returns the name of an example for messages; see `Source`."""
    return self._source.where(number + self._first)


class Cached(_Wrapper):
  """Source: another one, with data kept in memory after they are read for the first time.

  It takes as much memory as the data take in storage. It does not change the order of examples, so
  a resumed job trains on the same ones as a job that was not stopped.
  """

  portable = False  # The cache is in this process's memory.

  def __init__(self, source: Source):
    super().__init__(source)
    self.parse, self.read_one, self.where = source.parse, source.read_one, source.where
    with tf.init_scope(), tf.device('/CPU:0'):
      self._kept = tf.lookup.experimental.MutableHashTable(tf.int64, tf.string, default_value='')

  def __len__(self):
    return len(self._source)

  def read(self, first: tf.Tensor, last: tf.Tensor) -> tf.data.Dataset:
    """Reads a range of examples; see `Source`."""
    numbers = tf.range(first, last)
    kept = self._kept.lookup(numbers)
    complete = tf.reduce_all(tf.strings.length(kept) > 0)

    def keep(number, data):
      with tf.control_dependencies([self._kept.insert(number, data)]):
        return number, tf.identity(data)

    # One of the two is empty: either all examples are in memory or all are read.
    fresh = self._source.read(first, tf.where(complete, first, last)).map(keep)
    kept = tf.data.Dataset.from_tensor_slices((numbers, kept))
    return fresh.concatenate(kept.take(tf.where(complete, last - first, 0)))
