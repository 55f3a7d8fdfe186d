"""Differences between seeds' results in plain words."""
import pytest

from tpu_utils import spread


@pytest.mark.parametrize(
  'values, reference, larger, text',
  [
    ([0.7, 0.72], [0.6, 0.61], True, '+0.105 (clearly better)'),
    ([0.7, 0.72], [0.6, 0.61], False, '+0.105 (clearly worse)'),
    ([0.5, 0.9], [0.6, 0.61], True, '+0.095 (no difference that the spread of the seeds could'),
    ([0.5, 0.5], [0.5, 0.5], True, '+0.000 (no difference'),
    ([0.7], [0.6, 0.61], True, '+0.095 (one seed, which tells nothing about chance)'),
  ],
)
def test_a_difference_counts_only_beyond_the_spread(values, reference, larger, text):
  assert spread.difference(values, reference, larger).startswith(text)
