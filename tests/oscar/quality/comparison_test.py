"""Comparisons of conditions: tables, and words that claim no more than the seeds show."""

import pytest

from oscar.quality import comparison

CELLS = [
  comparison.Cell('vqa', 'score', 'given', [0.70, 0.72, 0.71]),
  comparison.Cell('vqa', 'score', 'none', [0.60, 0.61, 0.62]),
  comparison.Cell('vqa', 'score', 'wrong', [0.58, 0.66, 0.60]),
  comparison.Cell('gqa', 'accuracy', 'given', [0.5]),
  comparison.Cell('gqa', 'accuracy', 'none', [0.4]),
]


def test_words_say_what_the_seeds_show():
  vqa, gqa = comparison.verdicts(CELLS, 'none')
  assert vqa == (
    'vqa, score, against none: given +0.100 (clearly better); wrong +0.003 (no difference that the '
    'spread of the seeds could not make).'
  )
  assert 'given +0.100 (one seed' in gqa
  assert comparison.verdicts(CELLS[:1], 'none') == comparison.verdicts(CELLS[1:2], 'none') == []
  equal = [comparison.Cell('vqa', 'score', name, [0.5, 0.5]) for name in ('none', 'wrong')]
  assert 'no difference' in comparison.verdicts(equal, 'none')[0]


def test_tables():
  lines = [line.split() for line in comparison.table(CELLS).splitlines()]
  assert lines[0] == ['task', 'metric', 'given', 'none', 'wrong']
  assert lines[1][:5] == ['vqa', 'score', '0.710', '+-', '0.010']
  assert lines[2] == ['gqa', 'accuracy', '0.500', '0.400', '-']
  page = comparison.markdown(CELLS, ['Said.'], 'curves.png', quick=True)
  assert '| gqa | accuracy | 0.500 | 0.400 | - |' in page and 'mean nothing' in page
  assert '- Said.' in page and '(curves.png)' in page
  assert CELLS[0].as_dict()['deviation'] == pytest.approx(0.01)


def test_curves_are_one_picture(tmp_path):
  seeds = [{1: 0.1, 2: 0.3, 3: 0.4}, {1: 0.2, 2: 0.2}]  # The second stopped early.
  curves = comparison.Curves('vqa', 'score', {'given': seeds, 'none': seeds[:1]})
  comparison.draw([curves, curves], str(tmp_path / 'a.png'))
  assert (tmp_path / 'a.png').read_bytes().startswith(b'\x89PNG')
