"""Questions have right and balanced answers, which their words do not give away."""

import collections
import fractions
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oscar.scenes import graph, questions
from tests.oscar.scenes import reader


@given(st.integers(0, 2**32), st.sampled_from([questions.vqa, questions.gqa]))
def test_answers_are_right(blocks, seed, ask):
  rng = random.Random(seed)
  scenes = [graph.sample(rng, str(number), blocks) for number in range(5)]
  asked = ask(scenes, rng, count=6)
  assert [len({question.text for question in of_scene}) for of_scene in asked] == [6] * 5
  for scene, of_scene in zip(scenes, asked, strict=True):
    for question in of_scene:
      right = reader.right_answers(question.text, scene)
      assert set(question.answers) <= right, question
      if question.kind != 'name_one':
        assert question.answers == dict.fromkeys(right, 1.0), question


@pytest.fixture(scope='module')
def corpus(blocks):
  """Questions about 500 scenes: {'vqa': [`Question`], 'gqa': [`Question`]}."""
  rng = random.Random(0)
  scenes = [graph.sample(rng, str(number), blocks) for number in range(500)]
  return {
    name: [question for of_scene in ask(scenes, rng) for question in of_scene]
    for name, ask in (('vqa', questions.vqa), ('gqa', questions.gqa))
  }


@pytest.mark.parametrize('task', ['vqa', 'gqa'])
def test_answers_are_balanced(corpus, task):
  answers = collections.Counter(
    next(iter(question.answers)) for question in corpus[task] if len(question.answers) == 1
  )
  assert answers['yes'] == answers['no'] > 400
  colours = [answers[colour] for colour in graph.COLOURS]
  assert max(colours) < 2 * min(colours)
  assert {*reader.DIGITS, *graph.COLOURS} < set(answers)


@pytest.mark.parametrize('task', ['vqa', 'gqa'])
def test_words_alone_do_not_answer(corpus, task):
  """Every yes/no question has each answer equally often."""
  balance = collections.Counter()
  for question in corpus[task]:
    for answer, weight in (('yes', 1), ('no', -1)):
      balance[question.text] += weight * (answer in question.answers)
  assert not any(balance.values())


def test_every_kind_is_asked(corpus):
  kinds = {question.kind for asked in corpus.values() for question in asked}
  known = (
    questions._SIMPLE_OPEN + questions._SIMPLE_CLOSED + questions._COMPOSED_OPEN
    + questions._COMPOSED_CLOSED
  )  # fmt: skip
  assert kinds == {kind.__name__ for kind in known}


@pytest.mark.parametrize('task', ['vqa', 'gqa'])
def test_kinds_take_turns(corpus, task):
  counts = collections.Counter(question.kind for question in corpus[task])
  closed = {'vqa': questions._SIMPLE_CLOSED, 'gqa': questions._COMPOSED_CLOSED}[task]
  closed = [counts.pop(kind.__name__) for kind in closed]
  assert min(closed) > 0.9 * max(closed)
  assert min(counts.values()) > 0.9 * max(counts.values())
  assert sum(closed) == pytest.approx(sum(counts.values()), rel=0.05)


@pytest.mark.parametrize('task', ['vqa', 'gqa'])
def test_answers_within_a_kind_are_balanced(corpus, task):
  answers = collections.defaultdict(collections.Counter)
  for question in corpus[task]:
    answers[question.kind].update(question.answers)
  sizes = {
    'colour_of': 6, 'digit_of': 10, 'size_of': 2, 'how_many': 6, 'name_one': 16, 'related': 16,
    'which_side': 4, 'choose': 6, 'extreme': 16,
  }  # fmt: skip
  for kind, counts in answers.items():
    assert len(counts) == sizes.get(kind, 2), kind
    assert max(counts.values()) < 1.25 * sum(counts.values()) / len(counts), (kind, counts)


def test_turns_are_equally_long(blocks):
  rng = random.Random(0)
  assert questions.turns('abc', 6, rng) == list('aabbcc')
  longest = {max('abc', key=questions.turns('abc', 4, rng).count) for _ in range(50)}
  assert longest == {'a', 'b', 'c'}
  assert questions.turns('abc', 0, rng) == []


def test_soft_scores_are_those_of_ten_annotators(blocks):
  rng = random.Random(0)
  scene = graph.sample(rng, 'key', blocks)
  scores = {s for _ in range(200) for s in questions.name_one(scene, rng).answers.values()}
  assert scores == {0.3, 0.6, 0.9, 1.0}


@pytest.mark.parametrize('count', range(1, 11))
def test_the_vqa_score_averages_over_ten_choices_of_nine_annotators(count):
  named = [1] * count + [0] * (10 - count)
  chosen = itertools.combinations(named, 9)
  scores = [min(fractions.Fraction(1), fractions.Fraction(sum(nine), 3)) for nine in chosen]
  assert questions.vqa_score(count) == float(sum(scores) / 10)


A = graph.Thing('one', 'red', 'small', (0, 0, 8, 16))
B = graph.Thing('two', 'red', 'large', (40, 40, 60, 80))
SCENE = graph.Scene('key', (A, B))


@pytest.mark.parametrize(
  ('text', 'answers'),
  [
    ('what color is the one?', {'red'}),
    ('what is the little digit?', {'one'}),
    ('how many red numbers are there?', {'2'}),
    ('how many sixes are there?', {'0'}),
    ('what is below the one?', {'two'}),
    ('is the two above or below the one?', {'below'}),
    ('is there a large one?', {'no'}),
    ('are there both a red number and a one?', {'yes'}),
    ('is there a little digit and a one?', {'no'}),  # One thing is not two.
    ('has the one the size of the two?', {'no'}),
  ],
)
def test_the_reader_itself(text, answers):
  assert reader.right_answers(text, SCENE) == answers
