"""Datasets of a source's examples in training or stored order, with checks for missing examples.

Callers disable AutoGraph (`do_not_convert`): no function has Python control flow over tensors.
"""
import re
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tpu_utils.order import ShuffledOrder

BLOCK = 32  # About 3.5 MB of ImageNet: one request to remote storage, one seek of a disk.
# About 225 MB of ImageNet. A set no larger is shuffled without restriction. (The official pipeline
# reads 64 files in parallel into a shuffle buffer of 1,024; a window mixes 64 blocks of the set.)
WINDOW = 64 * BLOCK
_READS_AHEAD = 16  # Blocks read in parallel, which hides the latency of remote storage.

# Prefix of the message about a missing example; `missing_example` looks for it.
_MISSING = 'unreadable record of split'


def training_order(first: int, last: int, seed: int) -> ShuffledOrder:
  """Returns the `ShuffledOrder` of the examples first <= n < last of a source."""
  # A block of fewer examples stays last, so that all windows before it have the same size.
  return ShuffledOrder(
    first, last, seed, block=BLOCK, window=WINDOW // BLOCK, short_block_last=True
  )


def stored(source: Any, first: int, last: int) -> tf.data.Dataset:
  """Returns a dataset of (number, data) of the examples first <= n < last of a source, in order."""
  span = _READS_AHEAD * BLOCK

  def read(begin):
    begins = tf.range(begin, tf.minimum(begin + span, last), BLOCK)
    return _blocks(source, begins, tf.minimum(begins + BLOCK, last)).map(in_order)

  def in_order(numbers, data):
    rank = tf.argsort(numbers)
    return tf.gather(numbers, rank), tf.gather(data, rank)

  return tf.data.Dataset.range(first, last, span).flat_map(read).prefetch(1).unbatch()


def training(source: Any, first: int, size: int, seed: int, start: int) -> tf.data.Dataset:
  """Returns an endless dataset of (position, number, data) in training order.

  Args:
    source: see `sources/interface.py`.
    first: number of the first example of the host's share.
    size: examples in the share.
    seed: determines the order.
    start: position to begin at.
  """
  order = training_order(first, first + size, seed)

  def read(number):
    window = order.window(number)
    read = _blocks(source, window.first, window.last)
    return read.map(lambda numbers, data: in_order(window, numbers, data))

  def in_order(window, numbers, data):
    # The k-th smallest example is the rank[k]-th in order. `numbers` lacks unreadable ones.
    rank = tf.argsort(window.example)
    place = tf.gather(rank, tf.searchsorted(tf.gather(window.example, rank), numbers))
    by_place = tf.argsort(place)
    positions = window.position + tf.cast(tf.gather(place, by_place), tf.int64)
    # Not 0 only in the first window, which may begin before `start`.
    skipped = tf.searchsorted(positions, tf.constant([start], tf.int64))[0]
    by_place = by_place[skipped:]
    return positions[skipped:], tf.gather(numbers, by_place), tf.gather(data, by_place)

  number, _ = order.window_at(start)
  windows = tf.data.Dataset.counter(number).flat_map(read)
  # Reads the next window while one is consumed.
  return windows.prefetch(1).unbatch()


def number_at(position: tf.Tensor, first: int, size: int, seed: int) -> tf.Tensor:
  """Returns the number of the example at a position of `training`."""
  order = training_order(first, first + size, seed)
  number, place = order.window_at(position)
  return order.window(number).example[place]


def _blocks(source, begins, ends):
  """Returns a dataset of one element: (numbers, data) of all examples of some blocks.

  Args:
    source: see `sources/interface.py`.
    begins: int64 vector.
    ends: int64 vector; block i is the examples begins[i] <= n < ends[i].
  """
  read = tf.data.Dataset.from_tensor_slices((begins, ends)).interleave(
    source.read,
    cycle_length=_READS_AHEAD,
    block_length=BLOCK,
    num_parallel_calls=_READS_AHEAD,
    deterministic=True,
  )

  def complete(numbers, data):
    expected = tf.ragged.range(begins, ends).flat_values
    whole = tf.size(numbers) == tf.size(expected)
    return tf.cond(
      whole, lambda: (numbers, data), lambda: _with_missing(source, expected, numbers, data)
    )

  return _as_one(read).map(complete)


def _with_missing(source, expected, numbers, data):
  """Reads missing examples one by one, because a bad one also hides others of its block."""
  seen = tf.sort(tf.concat([numbers, [-1]], axis=0))
  last_seen = tf.gather(seen, tf.searchsorted(seen, expected, side='right') - 1)
  missing = tf.boolean_mask(expected, last_seen != expected)
  singly = tf.data.Dataset.from_tensor_slices(missing).flat_map(lambda n: source.read(n, n + 1))
  more_numbers, more_data = _as_one(singly).get_single_element()
  return tf.concat([numbers, more_numbers], axis=0), tf.concat([data, more_data], axis=0)


def _as_one(examples):
  """Returns a dataset of one element with all examples of a dataset, which may be empty."""
  nothing = tf.zeros([0], tf.int64), tf.zeros([0], tf.string)
  return examples.batch(WINDOW).concatenate(tf.data.Dataset.from_tensors(nothing)).take(1)


def fill_gaps(dataset: tf.data.Dataset, start: int, report: Callable) -> tf.data.Dataset:
  """Replaces each missing example by the next one, with weight 0 if examples have weights.

  The example at a position depends on the data alone, so a resumed job gets the same one.

  Args:
    dataset: dicts with 'position', int64 scalar, increasing; negative for an example to skip.
    start: the first expected position.
    report: called with each missing position; logs it, and fails if there are too many. Returns a
      bool tensor, evaluated before the replacement is used.

  Returns:
    Dataset of dicts with every position from `start` on.
  """

  def fill(expected, example):
    example = dict(example)
    present = example.pop('position')

    def copy(position):
      missing = position < present
      reported = tf.cond(missing, lambda: report(position), lambda: False)
      with tf.control_dependencies([reported]):
        copied = example | {'position': tf.identity(position)}
      if 'weights' in example:
        copied['weights'] = tf.where(missing, 0.0, example['weights'])
      return copied

    return tf.data.Dataset.range(expected, present + 1).map(copy)

  def with_expected(expected, example):
    return example['position'] + 1, (expected, example)

  present = dataset.filter(lambda example: example['position'] >= 0)
  return present.scan(tf.constant(start, tf.int64), with_expected).flat_map(fill)


def checked(
  batches: tf.data.Dataset, start: int, batch_size: int, split: str, number_of: Callable
) -> tf.data.Dataset:
  """Removes 'position' from the batches; fails at the first position that is not as expected.

  Examples that could not be read, decoded or used are missing from `batches`. This checks for them
  once per batch, and the error names the first; `missing_example` helps to find the cause.

  Args:
    batches: batches with 'position'.
    start: the first expected position.
    batch_size: examples in a batch.
    split: name of the split, for the error message.
    number_of: called with a position; returns the number of the example in its source.
  """

  def check(number, batch):
    batch = dict(batch)
    expected = start + number * batch_size + tf.range(batch_size, dtype=tf.int64)
    wrong = expected != batch.pop('position')
    first_wrong = expected[tf.argmax(tf.cast(wrong, tf.int8))]
    bad = tf.reduce_any(wrong)
    example = tf.cond(bad, lambda: tf.cast(number_of(first_wrong), tf.int64), lambda: first_wrong)
    with tf.control_dependencies([fail_if(bad, split, example)]):
      return {name: tf.identity(value) for name, value in batch.items()}

  return batches.enumerate().map(check)


def fail_if(failed: tf.Tensor, split: str, number: tf.Tensor) -> tf.Tensor:
  """Returns `failed`; if it is true, fails with an error that names the unusable example."""
  with tf.control_dependencies([tf.debugging.Assert(~failed, [f'{_MISSING} {split}', number])]):
    return tf.identity(failed)


def missing_example(error: Exception) -> tuple[str, int] | None:
  """Returns (split, number) of the example that an error of these datasets names, or None."""
  match = re.search(_MISSING + r' (\w+)\D+(\d+)', str(error))
  return (match[1], int(match[2])) if match else None
