"""Statements about pairs have right labels, which their words do not give away."""

import collections
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oscar.scenes import graph, statements
from tests.oscar.scenes import reader


@given(st.integers(0, 2**32))
def test_labels_are_right(blocks, seed):
  rng = random.Random(seed)
  scenes = {str(number): graph.sample(rng, str(number), blocks) for number in range(8)}
  made = statements.statements(list(scenes.values()), rng, 5)
  assert len(made) == 10
  for statement in made:
    pair = [scenes[key] for key in statement.keys]
    assert reader.statement_is_true(statement.text, *pair) == bool(statement.label), statement


def test_every_text_is_as_often_true_as_false(blocks):
  rng = random.Random(1)
  scenes = [graph.sample(rng, str(number), blocks) for number in range(200)]
  made = statements.statements(scenes, rng, 400)
  balance = collections.Counter()
  for statement in made:
    balance[statement.text] += 1 if statement.label else -1
  assert len(balance) > 200 and not any(balance.values())
  assert {statement.kind for statement in made} == {kind.__name__ for kind in statements._KINDS}
  counts = collections.Counter(statement.kind for statement in made)
  assert min(counts.values()) > 0.9 * max(counts.values())
  first = [statement.label for statement in made[::2]]
  assert sum(first) / len(first) == pytest.approx(0.5, abs=0.1)  # In no fixed order.


def test_the_two_statements_of_a_text_are_a_group(blocks):
  rng = random.Random(2)
  scenes = [graph.sample(rng, str(number), blocks) for number in range(20)]
  made = statements.statements(scenes, rng, 30, first_group=7)
  assert [statement.group for statement in made] == [n for n in range(7, 37) for _ in range(2)]
  for one, two in zip(made[::2], made[1::2], strict=True):
    assert one.text == two.text and {one.label, two.label} == {0, 1}
  assert [s.identifier('dev') for s in made[:3]] == ['dev-7-0-0', 'dev-7-1-0', 'dev-8-0-0']
  assert len({statement.identifier('dev') for statement in made}) == 60


A = graph.Thing('one', 'red', 'small', (0, 0, 8, 16))
B = graph.Thing('two', 'red', 'large', (40, 40, 60, 80))
LEFT, RIGHT = graph.Scene('left', (A, B)), graph.Scene('right', (B,))


@pytest.mark.parametrize(
  ('text', 'truth'),
  [
    ('the left image shows exactly two red digits', True),
    ('the right image shows at least two digits', False),
    ('there are three digits in total', True),
    ('both images show a one', False),
    ('only one image shows a one', True),
    ('neither image shows an eight', True),
    ('the right image has fewer digits than the left one', True),
    ('in the left image a one is below a two', False),
    ('one image shows a one and the other image shows a two', True),
  ],
)
def test_the_reader_itself(text, truth):
  assert reader.statement_is_true(text, LEFT, RIGHT) == truth
