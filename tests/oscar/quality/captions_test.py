"""Colour words of captions, and the baselines of captioning."""

import pytest

from oscar.quality import captions
from oscar.scenes import graph


def scene(*things):
  return graph.Scene('1', tuple(
    graph.Thing(digit=digit, colour=colour, size='small', box=(0, 0, 20, 20), sample=0)
    for colour, digit in things
  ))  # fmt: skip


@pytest.mark.parametrize(
  'text, right, each',
  [
    ('a big red seven and a small blue two', 1.0, 2),
    ('a red two', 0.0, 1),
    ('two blue twos, a blue seven', 0.5, 2),
    ('a red number', 1.0, 1),
    ('Green digits and a red seven.', 0.5, 2),
    ('a seven is red', 1.0, 1),
    ('a seven and a two', None, 0),
    ('', None, 0),
  ],
)
def test_colour_words_fit_the_thing_that_they_describe(text, right, each):
  found = captions.colour_words({'1': text}, {'1': scene(('red', 'seven'), ('blue', 'two'))})
  assert found.get(captions.COLOUR_WORDS) == right
  assert found[captions.COLOUR_WORDS_EACH] == each


def test_baselines():
  scenes = {
    '1': scene(('red', 'seven'), ('blue', 'two')), '2': scene(('green', 'one'), ('red', 'three')),
  }  # fmt: skip
  references = {
    '1': ['a picture of a seven and a two', 'a red seven and a blue two', 'a blue two'],
    '2': ['a picture of a one and a three', 'a green one and a red three', 'a red three'],
  }
  found = captions.baselines({'1': 'seven two', '2': 'one three'}, references, scenes)
  assert found['template']['Bleu_4'] == pytest.approx(1)  # The first reference, to the word.
  assert captions.COLOUR_WORDS not in found['template']
  assert 0 < found['reference']['CIDEr'] < found['template']['CIDEr']
  assert found['reference'][captions.COLOUR_WORDS_EACH] == pytest.approx(1)
