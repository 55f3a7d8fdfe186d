"""The order in which training goes through texts that lie several to a record (an image).

The order is a function of the seed and the position alone. An epoch is a permutation of all texts,
made so that storage is read in long runs and each record once: blocks of consecutive records are
shuffled, and all texts of the records of each window of blocks are shuffled among themselves.
Nothing but a window is held; a job that goes on at position p reads at most the window that p is in
over again.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

BLOCK = 8  # Records; 3 MB of images with 50 regions.
WINDOW = 64  # Blocks; 200 MB of images with 50 regions.


class Window(NamedTuple):
  """What is read and shuffled together.

  Attributes:
    position: int64 scalar, the place of its first text in the stream of all epochs.
    first, last: int64 [blocks]; block i is the records first[i] <= record < last[i].
    slot: int64 [texts], in the order of training: which of the records, in order of reading.
    text: int64 [texts], which of all texts.
  """

  position: tf.Tensor
  first: tf.Tensor
  last: tf.Tensor
  slot: tf.Tensor
  text: tf.Tensor


class TextOrder:
  """The order over some records.

  Texts are numbered through, record by record.

  Args:
    counts: int [records], how many texts each has.
    first: the first record to go through.
    last: the record behind the last one.
    seed: int.
    block: records in a block.
    window: blocks in a window.

  Attributes:
    num_texts: texts in an epoch.
  """

  def __init__(self, counts, first, last, seed, block=BLOCK, window=WINDOW):
    counts = np.asarray(counts, np.int64)
    self._first, self._last, self._seed, self._block, self._window = (
      first,
      last,
      seed,
      block,
      window,
    )
    self._blocks = -(-(last - first) // block)
    self._windows = -(-self._blocks // window)
    starts = np.concatenate([[0], np.cumsum(counts)])
    bounds = np.minimum(first + block * np.arange(self._blocks + 1), last)
    self.num_texts = int(starts[last] - starts[first])
    # For the datasets, which refer to them: a constant inside would be copied with every function.
    with tf.init_scope(), tf.device('/CPU:0'):
      self._counts = tf.constant(counts)
      self._starts = tf.constant(starts)
      self._per_block = tf.constant(np.diff(starts[bounds]))

  def window_at(self, position):
    """(number of the window, over all epochs, that `position` is in; place within it): ints."""
    epoch, place = divmod(position, self.num_texts)
    ends = np.cumsum(tf.gather(self._per_block, self._shuffled_blocks(epoch)).numpy())
    window = int(np.searchsorted(ends, place, side='right')) // self._window
    before = ends[window * self._window - 1] if window else 0
    return epoch * self._windows + window, int(place - before)

  def window(self, number):
    """The `Window` of a number; int64 scalar, counted over all epochs."""
    epoch, place = number // self._windows, (number % self._windows) * self._window
    blocks = self._shuffled_blocks(epoch)
    before = tf.reduce_sum(tf.gather(self._per_block, blocks[:place]))
    first = self._first + blocks[place : place + self._window] * self._block
    last = tf.minimum(first + self._block, self._last)
    records = tf.ragged.range(first, last).flat_values
    counts = tf.gather(self._counts, records)
    slot = tf.repeat(tf.range(tf.size(records, tf.int64)), counts)
    starts = tf.gather(self._starts, records)
    text = tf.ragged.range(starts, starts + counts).flat_values
    order = _permutation(tf.size(text), self._seed, 2 * number + 1)
    position = epoch * self.num_texts + before
    return Window(position, first, last, tf.gather(slot, order), tf.gather(text, order))

  def _shuffled_blocks(self, epoch):
    # Even numbers are the seeds of blocks; the odd ones are left for windows.
    return _permutation(self._blocks, self._seed, 2 * epoch)


def _permutation(size, seed, number):
  seed = tf.stack([tf.constant(seed, tf.int64), tf.cast(number, tf.int64)])
  size = tf.cast(size, tf.int64)
  return tf.random.experimental.stateless_shuffle(tf.range(size), seed, alg='philox')


def batches(windows, batch_size, skip=0):
  """Cuts a stream of windows into batches, each row copied once into its batch.

  Args:
    windows: dataset of (rows [n], slot int64 [n], values): row i of the stream is rows[i] and what
      is at slot[i] of each tensor of the tuple `values`.
    batch_size: rows in a batch.
    skip: rows of the first window to leave out.

  Returns:
    Dataset of (rows, *values) of `batch_size` rows each; a shorter rest at the end is left out.
  """
  rows, _, values = windows.element_spec
  rest = tuple(tf.zeros([0, *spec.shape[1:]], spec.dtype) for spec in (rows, *values))

  def take(rest, window, begin, end):
    """Rows begin..end of those that are left over followed by those of the window."""
    rows, slot, values = window
    old, begin, end = tf.size(rest[0]), tf.cast(begin, tf.int32), tf.cast(end, tf.int32)
    place = slice(tf.maximum(begin - old, 0), tf.maximum(end - old, 0))
    new = (rows[place], *(tf.gather(value, slot[place]) for value in values))

    def join():
      return tuple(tf.concat([a[begin:end], b], axis=0) for a, b in zip(rest, new, strict=True))

    return tf.cond(begin < old, join, lambda: new)

  def carry(state, window):
    rest, skip = state
    rows, slot, values = window
    window = rows[skip:], slot[skip:], values
    total = tf.size(rest[0]) + tf.size(window[0])
    whole = total // batch_size * batch_size
    left = take(rest, window, whole, total)
    return (left, tf.zeros_like(skip)), (rest, window, whole)

  def cut(rest, window, whole):
    starts = tf.data.Dataset.range(0, tf.cast(whole, tf.int64), batch_size)

    def batch(start):
      taken = take(rest, window, start, start + batch_size)
      return tuple(tf.ensure_shape(x, [batch_size, *x.shape[1:]]) for x in taken)

    return starts.map(batch, tf.data.AUTOTUNE, deterministic=True)

  state = (rest, tf.constant(skip, tf.int64))
  return windows.scan(state, carry).flat_map(cut)
