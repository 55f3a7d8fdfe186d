"""GQA's official metrics on a split small enough to compute by hand."""

import pytest

from oscar.metrics import gqa


def entry(answer, structural='query', balanced=True, entailed=(), detailed='directOf', group=None):
  return {
    'answer': answer,
    'isBalanced': balanced,
    'types': {'structural': structural, 'semantic': 'obj', 'detailed': detailed},
    'entailed': list(entailed),
    'groups': {'global': group, 'local': None},
  }


DETAILS = {
  1: entry('red', entailed=['1', '2', '3'], group='color'),
  2: entry('yes', 'verify', balanced=False),
  3: entry('no', 'verify'),
  4: entry('left', 'choose', group='place'),
  5: entry('blue', entailed=['2'], group='color'),
}
PREDICTIONS = {1: 'red', 2: 'yes', 3: 'yes', 4: 'left', 5: 'red'}


def test_the_official_metrics():
  found = gqa.evaluate(PREDICTIONS, DETAILS, {})
  assert found.pop('gqa_distribution') == pytest.approx((2 * (1 + 1) + 0) / 3 / 100)
  assert found == {
    'gqa_accuracy': 0.5,  # Of the four balanced questions.
    'gqa_binary': 0.5,
    'gqa_open': 0.5,
    'gqa_structural_query': 0.5,
    'gqa_structural_verify': 0.0,
    'gqa_structural_choose': 1.0,
    'gqa_semantic_obj': 0.5,
    'gqa_consistency': 0.5,  # Question 1 is right and entails 2 (right) and 3 (wrong).
  }


def test_validity_and_plausibility():
  choices = {i: {'valid': ['yes', 'no', 'red'], 'plausible': ['red']} for i in DETAILS}
  found = gqa.evaluate(PREDICTIONS, DETAILS, choices)
  assert (found['gqa_validity'], found['gqa_plausibility']) == (0.75, 0.5)
  common = DETAILS | {4: entry('color', 'query', detailed='sameCommon')}
  found = gqa.evaluate(PREDICTIONS | {4: 'shape'}, common, choices)
  assert (found['gqa_validity'], found['gqa_plausibility']) == (1.0, 0.75)


def test_no_consistency_where_entailed_questions_are_not_predicted():
  balanced = {i: answer for i, answer in PREDICTIONS.items() if i != 2}
  assert 'gqa_consistency' not in gqa.evaluate(balanced, DETAILS, {})


@pytest.mark.parametrize(
  'details, choices, message',
  [
    ({}, {}, 'q.json has no question 1; give the file of the evaluated questions'),
    ({1: {'answer': 'red'}}, {}, "q.json, key '1': expected isBalanced, answer, types"),
    (DETAILS, {2: {}}, "no 'valid' for question '1'"),
  ],
)
def test_files_of_another_split_are_named(details, choices, message):
  with pytest.raises(ValueError, match=message):
    gqa.evaluate(PREDICTIONS, details, choices, 'q.json')


def test_accuracy_by_kind():
  found = gqa.by_kind({1: True, 2: False, 3: True, 4: True}, {1: 'both', 2: 'both', 3: 'same one'})
  assert found == {'accuracy_both': 0.5, 'accuracy_same_one': 1.0}


def test_the_submission_has_each_question_once():
  rows = [{'question_id': 5, 'answer': 'yes', 'probability': 1.0}]
  assert gqa.results(rows, [5], 'q.json') == [{'questionId': '5', 'prediction': 'yes'}]
  with pytest.raises(ValueError, match='q.json: 1 questions without prediction'):
    gqa.results(rows, [5, 6], 'q.json')
  with pytest.raises(ValueError, match='expected text as answer'):
    gqa.results([{'question_id': 5, 'answer': None}], [5], 'q.json')


def test_the_submission_keeps_the_zeros_of_an_id():
  rows = [{'question_id': 2930152, 'answer': 'yes'}, {'question_id': 5, 'answer': 'no'}]
  made = gqa.results(rows, [2930152, 5], 'q.json', {2930152: '02930152'})
  assert [row['questionId'] for row in made] == ['02930152', '5']
  rows[0]['question_id'] = '02930152'
  assert gqa.results(rows, [2930152, 5], 'q.json', {2930152: '02930152'}) == made
