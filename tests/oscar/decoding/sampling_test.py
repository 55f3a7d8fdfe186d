"""Filters and penalties equal the official loops; words are drawn by their probabilities."""
import numpy as np
import pytest
import tensorflow as tf

from oscar.decoding import sampling


def kept_words(scores, top_k, top_p):
  """Returns the indices of the words that the definitions keep, one row."""
  order = np.argsort(-scores, kind='stable')
  if top_k:
    order = [i for i in order if scores[i] >= scores[order[top_k - 1]]]
  chosen = np.array([np.exp(scores[i]) for i in order])
  total, kept = 0.0, []
  for i, probability in zip(order, chosen / chosen.sum(), strict=True):
    if kept and total > top_p:
      break
    kept.append(i)
    total += probability
  return set(kept)


@pytest.mark.parametrize(
  ('top_k', 'top_p'), [(0, 1.0), (1, 1.0), (5, 1.0), (0, 0.6), (0, 0.0), (7, 0.5), (100, 0.9)]
)
def test_filters(top_k, top_p):
  scores = np.random.default_rng(1).normal(0, 2, [4, 3, 20]).astype('float32')
  found = sampling.filter_words(tf.constant(scores), top_k, top_p).numpy()
  for row, values in zip(scores.reshape(-1, 20), found.reshape(-1, 20), strict=True):
    kept = kept_words(row, min(top_k, 20), top_p)
    assert set(np.flatnonzero(values > -np.inf)) == kept
    np.testing.assert_array_equal(values[list(kept)], row[list(kept)])


def test_words_of_equal_score():
  scores = tf.zeros([1, 1, 4])
  assert sampling.filter_words(scores, 2, 1.0).numpy().tolist() == [[[0, 0, 0, 0]]]
  # The sum passes one half with the third word.
  kept = sampling.filter_words(scores, 0, 0.5).numpy() > -np.inf
  assert kept.tolist() == [[[True, True, True, False]]]


def test_repetition_penalty():
  rng = np.random.default_rng(2)
  scores = rng.normal(0, 2, [2, 3, 12]).astype('float32')
  ids = rng.integers(0, 12, [2, 3, 6]).astype('int32')
  found = sampling.penalize_repetition(tf.constant(scores), tf.constant(ids), 4, 2.0)
  expected = scores.copy()
  for row, words in zip(expected.reshape(-1, 12), ids.reshape(-1, 6), strict=True):
    for word in set(words[:4].tolist()):
      row[word] *= 2 if row[word] < 0 else 0.5
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_draws_follow_the_softmax():
  scores = np.log(np.array([0.5, 0.2, 0.2, 0.1, 1e-30], np.float32))
  scores[4] = -np.inf
  words = sampling.draw(tf.tile(scores[None], [20000, 1]), tf.constant([5, 6]))
  shares = np.bincount(words, minlength=5) / 20000
  np.testing.assert_allclose(shares, [0.5, 0.2, 0.2, 0.1, 0], atol=0.015)
  assert shares[4] == 0
