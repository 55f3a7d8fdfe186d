"""Captions are true, as judged by a reader of their English alone."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oscar.scenes import captions, graph
from tests.oscar.scenes import reader


@given(st.integers(0, 2**32), st.sampled_from([captions.captions, captions.detailed]))
def test_captions_are_true(blocks, seed, make):
  rng = random.Random(seed)
  scene = graph.sample(rng, 'key', blocks)
  made = make(scene, rng)
  assert len(made) == 5
  for caption in made:
    assert reader.caption_is_true(caption, scene), caption


@pytest.mark.parametrize(('make', 'most'), [(captions.captions, 0.05), (captions.detailed, 0.005)])
def test_captions_are_false_for_other_scenes(blocks, make, most):
  """Captions are informative; those for retrieval nearly always identify their scene."""
  rng = random.Random(0)
  scenes = [graph.sample(rng, str(number), blocks) for number in range(300)]
  pairs = zip(scenes, scenes[1:], strict=False)
  judged = [
    reader.caption_is_true(caption, other)
    for scene, other in pairs
    for caption in make(scene, rng)
  ]
  assert sum(judged) / len(judged) < most


def test_wording_varies(blocks):
  rng = random.Random(0)
  scene = graph.sample(rng, 'key', blocks)
  made = {caption for _ in range(50) for caption in captions.captions(scene, rng)}
  assert len(made) > 100


THING = graph.Thing('eight', 'orange', 'small', (0, 0, 8, 16))
SCENE = graph.Scene('key', (THING, graph.Thing('two', 'red', 'large', (40, 40, 60, 80))))


@pytest.mark.parametrize(
  ('text', 'truth'),
  [
    ('a red two and an orange eight', True),
    ('a red two and a red eight', False),
    ('a red two', False),  # It omits the eight.
    ('from left to right there is an eight and a two', True),
    ('a two and an eight from top to bottom', False),
    ('two digits, among them a big two', True),
    ('three digits, among them a big two', False),
    ('an eight above a two', True),
    ('a two over an eight', False),
    ('the leftmost digit is a little number', True),
    ('the rightmost digit is a little number', False),
  ],
)
def test_the_reader_itself(text, truth):
  assert reader.caption_is_true(text, SCENE) == truth
