"""Datasets of a source's examples: in training order, in stored order; checked for missing ones.

Everything in here is called within `do_not_convert`: no function has Python control flow over tensors.
"""
import re

import tensorflow as tf

from tpu_utils.order import ShuffledOrder

BLOCK = 32  # About 3.5 MB of ImageNet: one request to remote storage, one seek of a disk.
# About 225 MB of ImageNet. A set no larger is shuffled without restriction. (The official pipeline reads 64
# files side by side into a shuffle buffer of 1,024; a window mixes 64 places of the whole set.)
WINDOW = 64 * BLOCK
_READS_AHEAD = 16  # Blocks read side by side; what hides the latency of remote storage.

# What the message of a missing example begins with; `missing_example` finds it.
_MISSING = 'unreadable record of split'


def training_order(first, last, seed):
  """Returns the `ShuffledOrder` of the examples first <= n < last of a source."""
  # A block of fewer examples stays last, so that all windows before it are of one size.
  return ShuffledOrder(first, last, seed, block=BLOCK, window=WINDOW // BLOCK, short_block_last=True)


def stored(source, first, last):
  """Dataset of (number, data) of the examples first <= n < last of a source, in order."""
  span = _READS_AHEAD * BLOCK

  def read(begin):
    begins = tf.range(begin, tf.minimum(begin + span, last), BLOCK)
    return _blocks(source, begins, tf.minimum(begins + BLOCK, last)).map(in_order)

  def in_order(numbers, data):
    rank = tf.argsort(numbers)
    return tf.gather(numbers, rank), tf.gather(data, rank)

  return tf.data.Dataset.range(first, last, span).flat_map(read).prefetch(1).unbatch()


def training(source, first, size, seed, start):
  """Endless dataset of (position, number, data) over `size` examples of a source, from `first` on.

  Args:
    source: see `sources/interface.py`.
    first: int, where the host's share begins.
    size: int, how many examples it has.
    seed: int.
    start: position to begin at.
  """
  order = training_order(first, first + size, seed)

  def read(number):
    window = order.window(number)
    read = _blocks(source, window.first, window.last)
    return read.map(lambda numbers, data: in_order(window, numbers, data))

  def in_order(window, numbers, data):
    # The k-th smallest example is the rank[k]-th in order. Unreadable ones are missing from `numbers`.
    rank = tf.argsort(window.example)
    place = tf.gather(rank, tf.searchsorted(tf.gather(window.example, rank), numbers))
    by_place = tf.argsort(place)
    positions = window.position + tf.cast(tf.gather(place, by_place), tf.int64)
    skipped = tf.searchsorted(positions, tf.constant([start], tf.int64))[0]  # Only in the first window.
    by_place = by_place[skipped:]
    return positions[skipped:], tf.gather(numbers, by_place), tf.gather(data, by_place)

  number, _ = order.window_at(start)
  windows = tf.data.Dataset.counter(number).flat_map(read)
  # While one window is used up the next is read.
  return windows.prefetch(1).unbatch()


def number_at(position, first, size, seed):
  """Returns the number of the example that `training` has at a position."""
  order = training_order(first, first + size, seed)
  number, place = order.window_at(position)
  return order.window(number).example[place]


def _blocks(source, begins, ends):
  """Dataset of one element: (numbers, data) of all examples of some blocks.

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
    return tf.cond(whole, lambda: (numbers, data), lambda: _with_missing(source, expected, numbers, data))

  return _as_one(read).map(complete)


def _with_missing(source, expected, numbers, data):
  """Reads singly what is missing: a bad example takes others of its block along."""
  seen = tf.sort(tf.concat([numbers, [-1]], axis=0))
  last_seen = tf.gather(seen, tf.searchsorted(seen, expected, side='right') - 1)
  missing = tf.boolean_mask(expected, last_seen != expected)
  singly = tf.data.Dataset.from_tensor_slices(missing).flat_map(lambda n: source.read(n, n + 1))
  more_numbers, more_data = _as_one(singly).get_single_element()
  return tf.concat([numbers, more_numbers], axis=0), tf.concat([data, more_data], axis=0)


def _as_one(examples):
  """Dataset of one element that holds all of a dataset's examples, even if that is none."""
  nothing = tf.zeros([0], tf.int64), tf.zeros([0], tf.string)
  return examples.batch(WINDOW).concatenate(tf.data.Dataset.from_tensors(nothing)).take(1)


def fill_gaps(dataset, start, report):
  """Puts the next example in the place of each missing one, with weight 0 where there are weights.

  What stands at a position depends on the data alone, so a job that goes on sees the same.

  Args:
    dataset: of dicts with 'position', int64 scalar, rising; negative for an example that is to be left out.
    start: the first expected position.
    report: function(position tensor) -> bool tensor, whose doing tells people; called for each missing one.

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


def checked(batches, start, batch_size, split, number_of):
  """Takes 'position' out of the batches, and fails at the first that is not the expected one.

  Examples that could not be read, decoded or used are missing from `batches`. That they are is seen here,
  once for each batch, and named; the cause is found afterwards (`missing_example`).

  Args:
    batches: batches with 'position'.
    start: the first expected position.
    batch_size: examples in a batch.
    split: for the message.
    number_of: function from a position to the number of the example in its source.
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


def fail_if(failed, split, number):
  """Op that raises the error for an example that cannot be used, if `failed`; gives `failed`."""
  with tf.control_dependencies([tf.debugging.Assert(~failed, [f'{_MISSING} {split}', number])]):
    return tf.identity(failed)


def missing_example(error):
  """(split, number) of the example that an error of these datasets is about, or None."""
  found = re.search(_MISSING + r' (\w+)\D+(\d+)', str(error))
  return (found[1], int(found[2])) if found else None
