"""Ranks and recall equal the official ones, ties too."""

import numpy as np
import pytest

from oscar.metrics import retrieval
from tests.oscar import golden_models

RANKS = golden_models.load('retrieval_ranks.json')


def test_ranks_of_candidates_equal_the_official_ones():
  case = RANKS['rerank']
  scores, labels = (
    np.reshape(case[name], [-1, case['num_captions_per_row']]) for name in ('scores', 'labels')
  )
  i2t = retrieval.ranks(scores, labels == 1)
  assert [i2t, []] == case['ranks_i2t_t2i']
  assert retrieval.official(retrieval.recalls(i2t)) == case['metrics']


@pytest.mark.parametrize('name', ['cross_small', 'cross_40x200'])
def test_ranks_of_all_pairs_equal_the_official_ones(name):
  """In the larger one two scores are equal."""
  case = RANKS[name]
  if name == 'cross_small':
    scores = np.reshape(case['scores'], [case['n_images'], -1])
  else:
    scores = golden_models.load('retrieval_scores_40x200.npz')['scores']
  owner = np.repeat(np.arange(case['n_images']), case['captions_per_image'])
  found = retrieval.cross_ranks(scores, scores.T, owner)
  assert [*found] == case['ranks_i2t_t2i']
  made = retrieval.official(retrieval.recalls(*found))
  assert made.keys() == case['metrics'].keys()
  for direction, values in case['metrics'].items():
    assert made[direction] == pytest.approx(values, abs=1e-12)


def test_of_a_few_equal_scores_the_later_comes_first():
  scores = np.array([0.5, 0.9, 0.5, 0.5])
  assert [retrieval.rank(scores, np.arange(4) == i) for i in range(4)] == [3, 0, 2, 1]


def test_without_a_match_the_rank_is_the_number_of_candidates():
  assert retrieval.rank(np.array([0.1, 0.2]), np.array([False, False])) == 2
  assert retrieval.recalls([2], [])['i2t_R@1'] == 0 and 't2i_R@1' not in retrieval.recalls([2])


def test_scores_that_are_no_numbers_are_an_error():
  with pytest.raises(ValueError, match='a score is not a number'):
    retrieval.rank(np.array([0.1, np.nan]), np.array([True, False]))
