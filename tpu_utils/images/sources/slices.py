"""Sources made of other sources: a slice of one, and one that is kept in memory."""
import tensorflow as tf


class _Wrapper:
  """Base of a source that wraps another: takes over what it does not change."""

  def __init__(self, source):
    self._source = source
    self.format = source.format
    self.label_name = source.label_name
    self.lowest_label = source.lowest_label


class Slice(_Wrapper):
  """The examples first <= n < last of a source, numbered from 0.

  Args:
    source: see `interface`.
    first: int.
    last: int.
  """

  def __init__(self, source, first, last):
    super().__init__(source)
    self.portable = source.portable
    self._first, self._last = first, last

  def __len__(self):
    return self._last - self._first

  def read(self, first, last):
    """See `interface`."""
    read = self._source.read(first + self._first, last + self._first)
    return read.map(lambda number, data: (number - self._first, data))

  def parse(self, number, data):
    """See `interface`."""
    return self._source.parse(number + self._first, data)

  def read_one(self, number):
    """See `interface`."""
    return self._source.read_one(number + self._first)

  def where(self, number):
    """See `interface`."""
    return self._source.where(number + self._first)


class Cached(_Wrapper):
  """A source whose data stay in memory once they were read: as much of it as the data take in storage.

  The order of reading is not touched by it, so a job that goes on reads its next examples from storage
  and trains on the same ones as a job that was not stopped.

  Args:
    source: see `interface`.
  """

  portable = False  # The memory is this process's.

  def __init__(self, source):
    super().__init__(source)
    self.parse, self.read_one, self.where = source.parse, source.read_one, source.where
    with tf.init_scope(), tf.device('/CPU:0'):
      self._kept = tf.lookup.experimental.MutableHashTable(tf.int64, tf.string, default_value='')

  def __len__(self):
    return len(self._source)

  def read(self, first, last):
    """See `interface`."""
    numbers = tf.range(first, last)
    kept = self._kept.lookup(numbers)
    complete = tf.reduce_all(tf.strings.length(kept) > 0)

    def keep(number, data):
      with tf.control_dependencies([self._kept.insert(number, data)]):
        return number, tf.identity(data)

    # One of the two is empty.
    fresh = self._source.read(first, tf.where(complete, first, last)).map(keep)
    kept = tf.data.Dataset.from_tensor_slices((numbers, kept))
    return fresh.concatenate(kept.take(tf.where(complete, last - first, 0)))

  def num_kept(self):
    """How many examples are in memory."""
    return int(self._kept.size())
