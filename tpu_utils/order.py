"""The shuffle order of training as a function of the seed and the position alone.

An epoch is a permutation of all examples that reads storage in long runs: blocks of consecutive
records are shuffled, then the examples within each window of blocks. A record holds one example (an
image with its label) or several (an image with all its texts). Readers keep only one window in
memory, and a job that resumes at position p reads again at most the window that contains p.

Both `tpu_utils.images.stream` and `oscar.input` read in this order. Changing it changes which
examples a resumed job reads next; `tests/tpu_utils/order_test.py` compares it with stored orders.
"""
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf


class Window(NamedTuple):
  """Examples that are read and shuffled together.

  Attributes:
    position: int64 scalar: position of the first example in the sequence of all epochs.
    first, last: int64 [blocks]; block i holds the records first[i] <= record < last[i].
    slot: int64 [examples], in training order: index of the example's record in order of reading.
    example: int64 [examples], in training order: number of the example.
  """

  position: tf.Tensor
  first: tf.Tensor
  last: tf.Tensor
  slot: tf.Tensor
  example: tf.Tensor


class ShuffledOrder:
  """The training order of the examples in a range of records.

  Examples are numbered record by record, starting with record 0.

  Args:
    first: the first record of the range.
    last: the record after the range.
    seed: seed of the order.
    block: records per block.
    window: blocks per window.
    counts: int [all records]: examples in each record; None for one each.
    short_block_last: whether a final block with fewer records stays at the end of each epoch; it is
      shuffled with the others otherwise.

  Attributes:
    num_examples: examples per epoch.
    num_windows: windows per epoch; the last may hold fewer blocks.
  """

  def __init__(
    self,
    first: int,
    last: int,
    seed: int,
    *,
    block: int,
    window: int,
    counts: Sequence[int] | None = None,
    short_block_last: bool = False,
  ):
    self._first, self._last, self._seed = first, last, seed
    self._block, self._window = block, window
    self._short_block_last = short_block_last
    self._num_blocks = -(-(last - first) // block)
    self.num_windows = -(-self._num_blocks // window)
    self.num_examples = last - first
    self._counts = None
    if counts is not None:
      self._index(np.asarray(counts, np.int64))

  def _index(self, counts):
    starts = np.concatenate([[0], np.cumsum(counts)])
    bounds = np.minimum(self._first + self._block * np.arange(self._num_blocks + 1), self._last)
    self.num_examples = int(starts[self._last] - starts[self._first])
    # Datasets capture these; a constant created inside a dataset is copied with every function.
    with tf.init_scope(), tf.device('/CPU:0'):
      self._counts = tf.constant(counts)
      self._starts = tf.constant(starts)
      self._per_block = tf.constant(np.diff(starts[bounds]))

  def window_at(self, position: int | tf.Tensor) -> tuple:
    """Returns (number of the window of `position`, counted over all epochs; index within it)."""
    epoch, place = position // self.num_examples, position % self.num_examples
    if self._counts is None and self._short_block_last:  # All windows but the last are full.
      size = self._block * self._window
      return epoch * self.num_windows + place // size, place % size
    ends = tf.cumsum(self._sizes(self._shuffled_blocks(epoch)))
    block = tf.searchsorted(ends, tf.cast([place], tf.int64), side='right')[0]
    number = tf.cast(block // self._window, tf.int64)
    before = tf.concat([[0], ends], axis=0)[number * self._window]
    return epoch * self.num_windows + number, place - before

  def window(self, number: tf.Tensor) -> Window:
    """Returns the window with this number (int64 scalar, counted over all epochs)."""
    epoch, place = number // self.num_windows, (number % self.num_windows) * self._window
    blocks = self._shuffled_blocks(epoch)
    before = tf.reduce_sum(self._sizes(blocks[:place]))
    first = self._first + blocks[place : place + self._window] * self._block
    last = tf.minimum(first + self._block, self._last)
    example = tf.ragged.range(first, last).flat_values  # Record numbers, for now.
    slot = tf.range(tf.size(example, tf.int64))
    if self._counts is not None:
      counts, starts = tf.gather(self._counts, example), tf.gather(self._starts, example)
      slot = tf.repeat(slot, counts)
      example = tf.ragged.range(starts, starts + counts).flat_values
    order = _permutation(tf.size(example), self._seed, 2 * number + 1)
    position = epoch * self.num_examples + before
    return Window(position, first, last, tf.gather(slot, order), tf.gather(example, order))

  def _sizes(self, blocks):
    """Returns int64 [n]: the number of examples in each of `blocks`."""
    if self._counts is None:
      return tf.minimum(self._last - self._first - blocks * self._block, self._block)
    return tf.gather(self._per_block, blocks)

  def _shuffled_blocks(self, epoch):
    count, tail = self._num_blocks, []
    if self._short_block_last and (self._last - self._first) % self._block:
      count -= 1
      tail = [count]
    # Even numbers shuffle the blocks of epochs, odd ones the examples of windows.
    blocks = _permutation(count, self._seed, 2 * epoch)
    return tf.concat([blocks, tf.constant(tail, tf.int64)], axis=0)


def _permutation(size, seed, number):
  seed = tf.stack([tf.constant(seed, tf.int64), tf.cast(number, tf.int64)])
  size = tf.cast(size, tf.int64)
  return tf.random.experimental.stateless_shuffle(tf.range(size), seed, alg='philox')
