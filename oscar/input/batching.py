"""Cuts windows of shuffled examples into batches."""

import tensorflow as tf


def batches(
  windows: tf.data.Dataset, batch_size: int, skip: int | tf.Tensor = 0
) -> tf.data.Dataset:
  """Cuts a sequence of windows into batches, each row copied once into its batch.

  Args:
    windows: dataset of (rows [n, ...], slot int64 [n], values): row i is rows[i] with the element
      slot[i] of each tensor of the tuple `values`. With slot [n, k], with the k elements slot[i] of
      each: first slot[i, 0] of all tensors, then slot[i, 1], ...
    batch_size: rows in a batch.
    skip: rows of the first window to skip.

  Returns:
    Dataset of (rows, *values) of `batch_size` rows each; a shorter rest at the end is dropped.
  """
  rows, slot, values = windows.element_spec
  columns = slot.shape[1] if slot.shape.rank == 2 else 1
  specs = (rows, *(columns * values))
  rest = tuple(tf.zeros([0, *spec.shape[1:]], spec.dtype) for spec in specs)

  def take(rest, window, begin, end):
    """Returns the rows begin..end of the rest of earlier windows followed by the window."""
    rows, slot, values = window
    old, begin, end = tf.shape(rest[0])[0], tf.cast(begin, tf.int32), tf.cast(end, tf.int32)
    place = slice(tf.maximum(begin - old, 0), tf.maximum(end - old, 0))
    chosen = tf.reshape(slot[place], [-1, columns])
    new = (
      rows[place],
      *(tf.gather(value, chosen[:, column]) for column in range(columns) for value in values),
    )

    def join():
      return tuple(tf.concat([a[begin:end], b], axis=0) for a, b in zip(rest, new, strict=True))

    return tf.cond(begin < old, join, lambda: new)

  def carry(state, window):
    rest, skip = state
    rows, slot, values = window
    window = rows[skip:], slot[skip:], values
    total = tf.shape(rest[0])[0] + tf.shape(window[0])[0]
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
