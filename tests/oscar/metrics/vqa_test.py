"""VQA's normalisation, accuracy and soft scores, by examples of the official evaluation."""

import itertools
import types

import pytest

from oscar.metrics import vqa


@pytest.mark.parametrize(
  'answer, expected',
  [
    ('Yes', 'yes'),
    ('Two', '2'),
    ('none', '0'),
    ('the dog', 'dog'),
    ('a man and an apple', 'man and apple'),
    ('dont', "don't"),
    ("couldn'tve", "couldn't've"),
    ("couldnt've", "couldn't've"),
    ("somebody'd", 'somebodyd'),
    ("'ows'at", "'ow's'at"),
    ('hotdog/bun', 'hotdog bun'),  # A sign between letters becomes a blank ...
    ('yes!', 'yes'),
    ('red, white', 'red white'),  # ... beside a blank nothing ...
    ('1,000', '1000'),  # ... and after grouped digits, too.
    ('1,000 a-b', '1000 ab'),
    ('2.5', '2.5'),
    ('st. louis', 'st louis'),
    ('u.s.', 'us'),
    ('no\n\tway ', 'no way'),
    ('', ''),
  ],
)
def test_normalisation(answer, expected):
  assert vqa.normalize(answer) == expected


def test_every_contraction_comes_back_from_one_lost_apostrophe():
  assert len(vqa._CONTRACTION_OF) > 110
  for wrong, word in vqa._CONTRACTION_OF.items():
    assert vqa.normalize(wrong) == word


@pytest.mark.parametrize('count', range(11))
def test_the_soft_score_is_the_accuracy_of_ten_annotators(count):
  answers = ['cat'] * count + [f'other{i}' for i in range(10 - count)]
  expected = min(1.0, 0.3 * count)
  assert vqa.ten_choose_nine('cat', answers) == pytest.approx(expected)
  assert vqa.soft_scores(answers).get('cat', 0.0) == pytest.approx(expected)


def test_the_accuracy_is_the_mean_over_nine_annotators():
  answers = ['2', 'two', '2.', '3', '3', '3', '4', '4', '4', '4']
  normalized = [vqa.normalize(answer) for answer in answers]
  for prediction in ('2', '3', '4', '5'):
    subsets = list(itertools.combinations(normalized, 9))
    mean = sum(min(1, subset.count(prediction) / 3) for subset in subsets) / len(subsets)
    assert vqa.ten_choose_nine(prediction, answers) == pytest.approx(mean)


def test_answers_that_agree_to_the_letter_are_not_normalised():
  assert vqa.ten_choose_nine('dog', ['the dog'] * 10) == 0
  assert vqa.ten_choose_nine('the dog', ['the dog'] * 10) == 1
  assert vqa.ten_choose_nine('dog', ['the dog'] * 9 + ['dog']) == 1


def test_accuracies_count_questions_without_known_answer():
  def annotation(answer, kind):
    return types.SimpleNamespace(answers=[answer] * 10, answer_type=kind)

  annotations = {1: annotation('yes', 'yes/no'), 2: annotation('2', 'number')}
  found = vqa.accuracies({1: 'yes', 2: '3'}, annotations, 4)
  assert found == {'vqa_accuracy': 0.25, 'vqa_accuracy_yes_no': 1.0, 'vqa_accuracy_number': 0.0}


def rows(*ids):
  return [{'question_id': i, 'answer': 'yes', 'probability': 0.5} for i in ids]


def test_the_result_file_has_each_question_once():
  expected = [{'question_id': 5, 'answer': 'yes'}, {'question_id': 3, 'answer': 'yes'}]
  assert vqa.results(rows(5, 3), [3, 5], 'q.json') == expected


@pytest.mark.parametrize(
  'predicted, ids, message',
  [
    (rows(3), [3, 5], r'q.json: 1 questions without prediction \(first: 5\)'),
    (rows(3, 5, 7), [3, 5], r'1 predictions without question \(first: 7\)'),
    (rows(3, 3, 5), [3, 5], "predictions name 'q_id' 3 twice"),
    (rows(3), [3, 3], "questions name 'q_id' 3 twice"),
    (rows('3'), [3], 'expected a whole number as question_id'),
    ([{'question_id': 3, 'answer': None}], [3], 'and text as answer'),
  ],
)
def test_a_result_file_that_the_server_would_refuse_is_not_written(predicted, ids, message):
  with pytest.raises(ValueError, match=message):
    vqa.results(predicted, ids, 'q.json')
