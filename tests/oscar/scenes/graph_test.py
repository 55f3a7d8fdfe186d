"""Sampled scene graphs: positions, relations and frequencies."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oscar.scenes import graph


@given(st.integers(0, 2**32))
def test_things_are_apart_and_inside_the_canvas(blocks, seed):
  scene = graph.sample(random.Random(seed), 'key', blocks)
  assert len(scene.things) in graph.COUNTS
  for thing in scene.things:
    x1, y1, x2, y2 = thing.box
    assert 0 <= x1 < x2 <= graph.WIDTH and 0 <= y1 < y2 <= graph.HEIGHT
    smallest, largest = graph.SIZES[thing.size]
    assert smallest <= y2 - y1 == graph.look(thing.stamp).height <= largest
  for a, b in itertools.combinations(scene.things, 2):
    overlap = [min(a.box[i + 2], b.box[i + 2]) - max(a.box[i], b.box[i]) for i in (0, 1)]
    assert min(overlap) < 0
    assert sum(holds(a, b) for holds in graph.RELATIONS.values()) == 2


def test_a_seed_gives_the_same_scene(blocks):
  one, two, other = (graph.sample(random.Random(seed), 'key', blocks) for seed in (3, 3, 4))
  assert one == two != other


def test_looks_vary_but_not_between_scenes(blocks):
  stamps = [graph.Stamp('two', 'red', 'small', sample) for sample in range(100)]
  made = [graph.look(stamp) for stamp in stamps]
  assert len({look.rgb for look in made}) > 90 and len({look.height for look in made}) == 7
  graph.look.cache_clear()
  assert [graph.look(stamp) for stamp in stamps] == made


def test_everything_occurs_about_equally_often(blocks):
  things = [
    t for seed in range(1500) for t in graph.sample(random.Random(seed), 'key', blocks).things
  ]
  for name, count in (('digit', 10), ('colour', 6), ('size', 2)):
    values = [getattr(thing, name) for thing in things]
    shares = [values.count(value) / len(values) for value in set(values)]
    assert len(shares) == count
    assert shares == pytest.approx([1 / count] * count, rel=0.25)
