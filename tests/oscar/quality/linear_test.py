"""The linear classifier learns what a sum of features tells, and nothing else."""

import numpy as np

from oscar.quality import linear


def test_ngrams_are_all_runs_of_words():
  assert linear.ngrams('Is it RED?') == ['is', 'it', 'red', 'is it', 'it red', 'is it red']
  assert linear.ngrams('a a', longest=1) == ['a', 'a'] and linear.ngrams('?') == []


def test_labels_follow_the_features_and_their_counts():
  examples = [['a'], ['b'], ['a', 'c'], ['b', 'c'], ['c', 'c', 'c'], ['c']]
  labels = [0, 1, 0, 1, 2, 0]
  model = linear.LinearClassifier(examples * 20, labels * 20, 3)
  assert model.predict(examples).tolist() == labels
  # Unknown features and their order say nothing.
  assert model.predict([['b', 'new'], ['c', 'b']]).tolist() == [1, 1]


def test_without_features_the_most_frequent_label_is_predicted():
  model = linear.LinearClassifier([[], [], []], [1, 1, 0], 2)
  assert model.predict([[], ['x']]).tolist() == [1, 1]


def test_the_weights_are_those_of_the_regularised_minimum():
  """At the minimum of the mean cross-entropy plus |w|^2 / 2n the gradient is zero."""
  rng = np.random.default_rng(0)
  features = rng.integers(0, 3, [40, 4])
  labels = rng.integers(0, 3, 40)
  examples = [[f'f{j}' for j, count in enumerate(row) for _ in range(count)] for row in features]
  model = linear.LinearClassifier(examples, labels, 3)
  weights, bias = np.array(model._weights), np.array(model._bias)
  logits = features @ weights + bias
  chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
  error = (chances - np.eye(3)[labels]) / 40
  np.testing.assert_allclose(features.T @ error + weights / 40, 0, atol=2e-3)
  np.testing.assert_allclose(error.sum(axis=0), 0, atol=2e-3)
  again = linear.LinearClassifier(examples, labels, 3)
  np.testing.assert_array_equal(weights, np.array(again._weights))
