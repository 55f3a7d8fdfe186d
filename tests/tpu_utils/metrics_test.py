"""Tests of accuracy against TensorFlow's op, including ties and values that are not finite."""
import numpy as np
import pytest
import tensorflow as tf

from tpu_utils import metrics


def odd_logits():
  """Returns (logits, classes): logits of few values, so with many ties, and some not finite."""
  rng = np.random.default_rng(0)
  logits = rng.integers(4, size=(200, 9)).astype(np.float32)
  logits[0], logits[1], logits[2, 4], logits[3, 2] = 1.0, np.nan, np.inf, -np.inf
  return logits, rng.integers(9, size=200)


@pytest.mark.parametrize('k', [1, 3, 5, 9, 12])
def test_in_top_k_equals_tensorflow(k):
  logits, classes = odd_logits()
  got = metrics.in_top_k(logits, classes, k)
  np.testing.assert_array_equal(got, tf.nn.in_top_k(targets=classes, predictions=logits, k=k))
  assert 0 < np.count_nonzero(got) < 200


def _floats(sums):
  return {name: float(value) for name, value in sums.items()}


def test_known_sums():
  logits = tf.constant([
    [9.0, 8, 7, 6, 5, 4],  # Class 0: first.
    [9.0, 8, 7, 6, 5, 4],  # Class 4: fifth.
    [9.0, 8, 7, 6, 5, 4],  # Class 5: sixth.
    [9.0, 8, 7, 6, 5, 4],  # Padding.
  ])
  labels = np.eye(6, dtype=np.float32)[[0, 4, 5, 0]]
  sums = metrics.classification_sums(logits, labels, tf.constant([1.0, 1, 1, 0]))
  assert _floats(sums) == {'count': 3, 'top_1': 1, 'top_5': 2}
  assert all(value.dtype == tf.float32 for value in sums.values())


def test_sums_add_up_over_batches():
  logits, classes = odd_logits()
  labels = np.eye(9, dtype=np.float32)[classes]
  weights = (np.arange(200) % 7 > 0).astype(np.float32)
  whole = metrics.classification_sums(logits, labels, weights)
  parts = [
    metrics.classification_sums(logits[rows], labels[rows], weights[rows])
    for rows in (slice(0, 50), slice(50, 120), slice(120, 200))
  ]
  for name, value in whole.items():
    assert float(value) == sum(float(part[name]) for part in parts)


def test_top_1_is_the_first_class_of_a_tie_and_wrong_if_not_finite():
  logits = tf.constant([[1.0, 1.0], [1.0, 1.0], [np.nan, np.nan]])
  labels = tf.constant([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
  sums = metrics.classification_sums(logits, labels, tf.ones([3]))
  assert float(sums['top_1']) == 1
  assert float(sums['top_5']) == 2


def test_fewer_than_five_classes_and_bfloat16():
  logits = tf.constant([[1.0, 3.0, 2.0], [3.0, 1.0, 2.0]], tf.bfloat16)
  labels = tf.constant([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
  sums = metrics.classification_sums(logits, labels, tf.ones([2]))
  assert _floats(sums) == {'count': 2, 'top_1': 1, 'top_5': 2}
