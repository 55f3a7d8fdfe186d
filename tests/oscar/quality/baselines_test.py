"""Baselines of data whose best guesses are known."""

import dataclasses

import pytest

from oscar.datasets import nlvr2, nlvr2_files, vqa
from oscar.quality import baselines


@dataclasses.dataclass
class Split:
  """Questions as a reader returns them."""

  questions: list
  kinds: dict
  answers: tuple = ('yes', 'no', 'red')


def split(rows, with_kinds=True):
  """Returns a split of rows (question, tags, {label: score}, kind)."""
  questions = [
    vqa.Question(text, tags, '7', number, tuple(scores), tuple(scores.values()))
    for number, (text, tags, scores, _) in enumerate(rows)
  ]
  kinds = {number: row[3] for number, row in enumerate(rows)}
  return Split(questions, kinds if with_kinds else {})


# `exists` follows the word cat and dog; `colour` follows the tag.
TRAIN = [
  ('is a cat there', 'sky', {0: 1.0}, 'exists'),
  ('is a dog there', 'sky', {1: 1.0}, 'exists'),
  ('is the cat there', 'sky', {0: 1.0}, 'exists'),
  ('what colour', 'rose rose', {2: 1.0, 1: 0.3}, 'colour'),
  ('what colour', 'rose rose', {2: 0.6}, 'colour'),
  ('what colour', 'lily', {1: 1.0}, 'colour'),
] * 10
TEST = [
  ('is one cat there', 'rose', {0: 0.9}, 'exists'),
  ('is one dog there', 'rose', {1: 0.6}, 'exists'),
  ('what colour', 'rose rose', {2: 1.0, 1: 0.3}, 'colour'),
  ('what colour', 'lily', {1: 1.0}, 'colour'),
]


def test_questions():
  found = baselines.questions(split(TRAIN), split(TEST), 'score')
  # Scores of training: no 2.3, yes 2, red 1.6.
  assert found['chance'] == pytest.approx(
    {'score': 1.9 / 4, 'score_exists': 0.3, 'score_colour': 0.65}
  )
  assert found['majority_by_kind']['score'] == pytest.approx((0.9 + 1) / 4)
  assert found['text']['score_exists'] == pytest.approx(0.75)
  assert found['text']['score'] == pytest.approx((0.9 + 0.6 + 1) / 4)
  assert found['text_and_tags']['score_colour'] == pytest.approx(1)


def test_files_without_kinds_have_no_majority_by_kind():
  found = baselines.questions(split(TRAIN, False), split(TEST, False), 'score')
  assert set(found) == {'chance', 'text', 'text_and_tags'}
  assert set(found['text']) == {'score'}


def statements(rows):
  """Returns a split of rows (statement, left tags, right tags, label, whether right is first)."""
  made = [
    nlvr2.Statement(
      text, ('b', 'a') if swapped else ('a', 'b'),
      (right, left) if swapped else (left, right), label,
    )
    for text, left, right, label, swapped in rows
  ]  # fmt: skip
  return nlvr2_files.Nlvr2Split('dev.json', made, [row[4] for row in rows], [], [])


def test_statements():
  train = [
    ('it is on the left', 'cat', 'dog', 1, False),
    ('it is on the left', 'dog', 'cat', 0, False),
    ('it is on the left', 'dog', 'cat', 0, True),
    ('it is on the left', 'cat', 'dog', 1, True),
  ] * 10
  test = [
    ('the left', 'cat', 'dog', 1, True), ('the left', 'dog', 'cat', 0, False),
    ('a left', 'cat', 'dog', 1, False),
  ]  # fmt: skip
  found = baselines.statements(statements(train), statements(test), 'accuracy')
  assert set(found) == {'chance', 'text', 'text_and_tags'}
  # Two groups: one of two statements, one of one.
  assert found['chance'] == {'accuracy': 0.5, 'consistency': (0.25 + 0.5) / 2}
  assert found['text_and_tags'] == {'accuracy': 1.0, 'consistency': 1.0}
  assert found['text']['accuracy'] in (1 / 3, 2 / 3)
