"""Greedy and beam search find the official captions, in batches of any size, eagerly and in XLA."""
import numpy as np
import pytest
import tensorflow as tf

from oscar import decoding
from tests.oscar.decoding import captions

CASES = [case for case in captions.CASES['cases'] if 'args' in case]


def golden(case):
  """Returns (found, expected ids, expected log-probabilities) of a case of the goldens."""
  key = case['key']
  variant, tags, _ = key.split('/')
  found = decoding.generate(
    captions.model(variant, tags), captions.inputs(tags), captions.config(**case['args'])
  )
  return found, captions.ARRAYS[f'{key}/ids'], captions.ARRAYS[f'{key}/logprobs']


@pytest.mark.parametrize('case', CASES, ids=[case['key'] for case in CASES])
def test_captions_equal_the_official_ones(case):
  found, ids, log_probs = golden(case)
  np.testing.assert_array_equal(found['ids'], ids)
  np.testing.assert_allclose(found['logprobs'], log_probs, atol=1e-4, rtol=0)
