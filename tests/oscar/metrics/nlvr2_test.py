"""NLVR2's groups, consistency and submission."""

import pytest

from oscar.metrics import nlvr2

IDENTIFIERS = ['dev-1-0-0', 'dev-1-1-0', 'dev-1-0-1', 'dev-2-0-0']


def test_groups_are_the_pairs_of_one_sentence():
  assert nlvr2.groups(IDENTIFIERS, ['a', 'a', 'b', 'a']) == [
    'dev-1-0', 'dev-1-0', 'dev-1-1', 'dev-2-0'
  ]  # fmt: skip
  assert nlvr2.groups([], ['a', 'a', 'b']) == ['a', 'a', 'b']
  assert nlvr2.groups(['1', '2'], ['a', 'b']) == ['a', 'b']


def test_consistency_needs_all_of_a_group():
  groups = nlvr2.groups(IDENTIFIERS, [])
  assert nlvr2.consistency([True, False, True, True], groups) == pytest.approx(2 / 3)
  assert nlvr2.consistency([True] * 4, groups) == 1


def rows(*identifiers):
  return [{'identifier': i, 'prediction': i.endswith('0')} for i in identifiers]


def test_the_submission_has_each_statement_once():
  text = nlvr2.submission(rows(*IDENTIFIERS[1:3]), IDENTIFIERS[1:3], 'f')
  assert text == 'dev-1-1-0,True\ndev-1-0-1,False\n'
  with pytest.raises(ValueError, match='f: 2 questions without prediction'):
    nlvr2.submission(rows(*IDENTIFIERS[1:3]), IDENTIFIERS, 'f')
  with pytest.raises(ValueError, match="'dev-1-0-0' twice"):
    nlvr2.submission(rows(*IDENTIFIERS[:1] * 2), IDENTIFIERS[:1], 'f')
