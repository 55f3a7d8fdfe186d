"""Questions: answered rightly, in balance, and not to be answered from their words."""

import collections
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import feature_extraction, linear_model

from oscar.scenes import graph, questions
from tests.oscar.scenes import reader


@given(st.integers(0, 2**32), st.sampled_from([questions.vqa, questions.gqa]))
@settings(max_examples=60, deadline=None)
def test_answers_are_right(blocks, seed, ask):
  rng = random.Random(seed)
  scenes = [graph.sample(rng, str(number), blocks) for number in range(8)]
  made = ask(scenes[0], scenes, rng, count=6)
  assert len({question.text for question in made}) == 6
  for question in made:
    right = reader.right_answers(question.text, scenes[0])
    assert set(question.answers) <= right, question
    if question.kind != 'name_one':
      assert question.answers == dict.fromkeys(right, 1.0), question


@pytest.fixture(scope='module')
def corpus(blocks):
  """(scenes, {'vqa' and 'gqa': a list of (`Question`, scene)})."""
  rng = random.Random(0)
  scenes = [graph.sample(rng, str(number), blocks) for number in range(500)]
  asked = {
    name: [(question, s) for s in scenes for question in ask(s, scenes, rng)]
    for name, ask in (('vqa', questions.vqa), ('gqa', questions.gqa))
  }
  return scenes, asked


@pytest.mark.parametrize('task', ['vqa', 'gqa'])
def test_answers_are_balanced(corpus, task):
  answers = collections.Counter(
    next(iter(question.answers)) for question, _ in corpus[1][task] if len(question.answers) == 1
  )
  assert answers['yes'] / (answers['yes'] + answers['no']) == pytest.approx(0.5, abs=0.05)
  colours = [answers[colour] for colour in graph.COLOURS]
  assert max(colours) < 2 * min(colours)
  assert {*reader.DIGITS, *graph.COLOURS} < set(answers)


@pytest.mark.parametrize('task', ['vqa', 'gqa'])
def test_words_alone_do_not_answer(corpus, task):
  """A linear classifier of words and their pairs does no better than chance on yes and no."""
  asked = [q for q, _ in corpus[1][task] if set(q.answers) <= {'yes', 'no'}]
  texts = [question.text for question in asked]
  labels = np.array(['yes' in question.answers for question in asked])
  words = feature_extraction.text.CountVectorizer(ngram_range=(1, 2)).fit_transform(texts)
  half = len(texts) // 2
  model = linear_model.LogisticRegression(C=0.1, max_iter=300).fit(words[:half], labels[:half])
  accuracy = model.score(words[half:], labels[half:])
  assert accuracy < 0.5 + 3 * 0.5 / np.sqrt(len(texts) - half) + 0.02


def test_every_kind_is_asked(corpus):
  kinds = {question.kind for asked in corpus[1].values() for question, _ in asked}
  assert kinds == {kind.__name__ for kind in (*questions._SIMPLE, *questions._COMPOSED)}


def test_soft_scores_are_those_of_ten_annotators(blocks):
  rng = random.Random(0)
  scene = graph.sample(rng, 'key', blocks)
  scores = {s for _ in range(50) for s in questions.name_one(scene, [], rng).answers.values()}
  assert scores <= {1 / 3, 2 / 3, 1.0} and 1.0 in scores


A, B = graph.Thing('one', 'red', 'small', (0, 0, 8, 16)), graph.Thing('two', 'red', 'large', (40, 40, 60, 80))
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
