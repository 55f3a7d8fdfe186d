"""Recall of rankings with known ties and overlaps."""

import itertools

import numpy as np
import pytest

from oscar.quality import ranking


def test_overlaps_compare_counts_of_tags_also_in_the_plural():
  tags = ['six six two', 'two', 'box']
  texts = ['Two sixes and a six.', 'a green one', 'boxes', 'two twos']
  found = ranking.overlaps(texts, tags)
  expected = [[1, 0, 0, 1 / 4], [1 / 3, 0, 0, 1 / 2], [0, 0, 1, 0]]
  np.testing.assert_allclose(found, expected)


def test_ties_count_as_the_mean_over_their_orders():
  scores, matches = np.array([3, 1, 1, 1, 0]), np.array([False, True, False, True, True])
  for k in range(1, 6):
    hits = []
    for order in itertools.permutations((1, 2, 3)):
      hits.append(matches[[0, *order, 4][:k]].any())
    assert ranking._in_first(scores, matches, k) == pytest.approx(np.mean(hits))
  assert ranking._in_first(scores, np.zeros(5, bool), 3) == 0


def test_rankings():
  tags = ['one', 'two', 'three three']
  captions = [['a one', 'one'], ['two', 'nothing'], ['three and three', 'a three']]
  found = ranking.rankings(captions, tags)
  assert found['chance']['i2t_R@1'] == pytest.approx(2 / 6)
  assert found['chance']['t2i_R@1'] == pytest.approx(1 / 3)
  assert found['chance']['i2t_R@5'] == 1  # Two of six captions are right.
  best = found['text_and_tags']
  assert best['i2t_R@1'] == 1
  # 'nothing' is equally near to all images.
  assert best['t2i_R@1'] == pytest.approx((5 + 1 / 3) / 6) and best['t2i_R@5'] == 1
