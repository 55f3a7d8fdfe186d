"""Accuracy as sums and counts, which add up over batches and replicas; merging of metrics."""
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf


def classification_sums(
  logits: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor
) -> dict[str, tf.Tensor]:
  """Computes the weighted numbers of examples and of correct top-1 and top-5 predictions.

  Args:
    logits: [batch, classes], any floating-point type.
    labels: [batch, classes] probabilities; the true class is the most probable one.
    weights: [batch] float32, 0 for rows that only pad the batch.

  Returns:
    {'count', 'top_1', 'top_5'}: float32 scalars; an accuracy is top_k / count.
  """
  weights = tf.cast(weights, tf.float32)
  true_class = tf.argmax(labels, axis=-1)
  top_1 = tf.logical_and(
    tf.equal(tf.argmax(logits, axis=-1), true_class), in_top_k(logits, true_class, 1)
  )
  top_5 = in_top_k(logits, true_class, 5)
  return {
    'count': tf.reduce_sum(weights),
    'top_1': tf.reduce_sum(weights * tf.cast(top_1, tf.float32)),
    'top_5': tf.reduce_sum(weights * tf.cast(top_5, tf.float32)),
  }


def in_top_k(logits: tf.Tensor, classes: tf.Tensor, k: int) -> tf.Tensor:
  """Returns whether fewer than k classes have a larger logit than the given one: [batch] bool.

  Equals tf.nn.in_top_k: equal logits share the better rank; an example with a logit that isn't
  finite is wrong; with at most k classes all others are right. That op is not used because its
  kernels on accelerators may treat these cases differently.

  Args:
    logits: [batch, classes], any floating-point type.
    classes: [batch] integers.
    k: number of ranks that count as correct.
  """
  logits = tf.cast(logits, tf.float32)
  own = tf.gather(logits, classes, batch_dims=1)
  larger = tf.math.count_nonzero(logits > own[:, tf.newaxis], axis=-1)
  finite = tf.reduce_all(tf.math.is_finite(logits), axis=-1)
  return tf.logical_and(larger < k, finite)


def merged(results: Mapping, more: Mapping, source: str) -> dict[str, float]:
  """Returns the metrics of both mappings as {name: float}.

  Args:
    results: {name: number}.
    more: {name: number}.
    source: the evaluator that computed `more`, for the error.

  Raises:
    ValueError: a name is in both.
  """
  taken = sorted(results.keys() & more.keys())
  if taken:
    raise ValueError(f'{source}: the metric {taken[0]!r} is there already; give it another name.')
  return {**results, **{name: float(value) for name, value in more.items()}}


def stack(pairs: Sequence) -> tf.Tensor:
  """Returns (sum, weight) pairs of numbers or scalars as float32 [pairs, 2]."""
  if not pairs:
    return tf.zeros([0, 2])
  return tf.stack([tf.stack([tf.cast(x, tf.float32) for x in pair]) for pair in pairs])


def means(names: Iterable[str], totals: Any) -> dict[str, float]:
  """Returns {name: sum / weight}.

  Args:
    names: of the rows of `totals`.
    totals: [names, 2], a sum and a weight each.
  """
  pairs = zip(names, totals, strict=True)
  return {name: float(total / weight) for name, (total, weight) in pairs}
