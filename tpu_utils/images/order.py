"""The order in which training reads its examples: a function of the seed and the position alone.

An epoch over n examples is a permutation of them, made so that storage is read in long runs: the examples
are cut into blocks of `BLOCK` consecutive ones, the blocks are shuffled, and the examples of each
`WINDOW` of blocks are shuffled among themselves. (The official pipeline reads 64 files side by side into a
shuffle buffer of 1,024; a window mixes 64 places of the whole set.) Nothing but one window is ever held,
and a job that goes on at position p reads at most the window that p is in over again.
"""
import tensorflow as tf

BLOCK = 32  # About 3.5 MB of ImageNet: one request to remote storage, one seek of a disk.
WINDOW = 64 * BLOCK  # About 225 MB of ImageNet. A set no larger is shuffled without restriction.


def windows_per_epoch(num_examples):
  """Number of windows in an epoch; the last may be short."""
  return -(-num_examples // WINDOW)


def window_at(position, num_examples):
  """(number of the window, over all epochs, that `position` is in; place within it)."""
  epoch, place = position // num_examples, position % num_examples
  return epoch * windows_per_epoch(num_examples) + place // WINDOW, place % WINDOW


def window_blocks(window, num_examples, seed):
  """The blocks that a window reads, in the order of reading.

  Args:
    window: int64 scalar, counted over all epochs.
    num_examples: int, examples in an epoch.
    seed: int.

  Returns:
    (first, last): int64 vectors; block i is the examples first[i] <= example < last[i].
  """
  epoch, window_in_epoch = _epoch_and_window(window, num_examples)
  # A tail shorter than a block stays last, so that all others are of one size.
  full = num_examples // BLOCK
  tail = [full] if num_examples % BLOCK else []
  # Even numbers are the seeds of blocks; the odd ones are left for windows.
  blocks = tf.concat([_permutation(full, seed, 2 * epoch), tf.constant(tail, tf.int64)], axis=0)
  per_window = WINDOW // BLOCK
  first = blocks[window_in_epoch * per_window : (window_in_epoch + 1) * per_window] * BLOCK
  return first, tf.minimum(first + BLOCK, num_examples)


def window_examples(window, num_examples, seed):
  """The examples of a window in the order of training.

  Args: as for `window_blocks`.

  Returns:
    (examples, position): int64 vector, each in 0..num_examples - 1; and the place of the first of them in
    the stream of all epochs. The others follow one by one.
  """
  epoch, window_in_epoch = _epoch_and_window(window, num_examples)
  first, last = window_blocks(window, num_examples, seed)
  examples = tf.ragged.range(first, last).flat_values
  examples = tf.gather(examples, _permutation(tf.size(examples), seed, 2 * window + 1))
  return examples, epoch * num_examples + window_in_epoch * WINDOW


def _epoch_and_window(window, num_examples):
  per_epoch = windows_per_epoch(num_examples)
  return window // per_epoch, window % per_epoch


def _permutation(size, seed, number):
  seed = tf.stack([tf.constant(seed, tf.int64), tf.cast(number, tf.int64)])
  size = tf.cast(size, tf.int64)
  return tf.random.experimental.stateless_shuffle(tf.range(size), seed, alg='philox')
