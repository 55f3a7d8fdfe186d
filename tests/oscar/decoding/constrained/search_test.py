"""Constrained search finds the official captions, one image at a time and in batches."""
import numpy as np
import pytest

from oscar.decoding.constrained import machine, search
from tests.oscar import loaders
from tests.oscar.decoding import captions

CASES = [case for case in captions.CASES['cases'] if case['key'].startswith('cbs/')]
FILES = loaders.DATA / 'coco_caption'


@pytest.fixture(scope='module')
def words(tokenizer):
  return machine.ConstraintWords(
    FILES / 'cbs_constraint2tokens.tsv', FILES / 'cbs_tokenforms.tsv', tokenizer
  )


def parts(case):
  """Returns (name, tags, image number) of a case's key."""
  _, name, tags, image = case['key'].split('/')
  return name, tags, int(image.removeprefix('img'))


def config(case, **settings):
  least = case['min_constraints_to_satisfy']
  return captions.config(num_beams=5, min_constraints_to_satisfy=least, **settings)


def machines_of(case, words):
  return machine.build([words.pieces(name) for name in case['constraints']])


@pytest.mark.parametrize('case', CASES, ids=[case['key'] for case in CASES])
def test_captions_equal_the_official_ones(case, words):
  _, tags, image = parts(case)
  model, batch = captions.model(tags=tags), captions.inputs(tags, slice(image, image + 1))
  machines = machine.stack([machines_of(case, words)])
  found = search.generate(model, batch, machines, config(case))
  key, z = case['key'], captions.ARRAYS
  np.testing.assert_array_equal(found['ids'], z[f'{key}/ids'][0])
  np.testing.assert_allclose(found['logprobs'], z[f'{key}/logprobs'], atol=1e-4, rtol=0)
  least = min(case['min_constraints_to_satisfy'], len(case['constraints']))
  assert found['constraints_met'][0] >= least


@pytest.mark.parametrize('case', [c for c in CASES if 'nood' not in c['key']][::3])
def test_the_best_caption_of_each_state_is_the_official_one(case, words):
  _, tags, image = parts(case)
  made = machines_of(case, words)
  beams = search._search(
    captions.model(tags=tags),
    captions.inputs(tags, slice(image, image + 1)),
    machine.stack([made]),
    config(case),
  )
  key, z = case['key'], captions.ARRAYS
  for number, state in enumerate(made.states):
    total = beams.totals[0, number * 5]
    if len(state) == 1 and total > -1e19:
      expected = z[f'{key}/state_best_sum_logprobs'][state[0]]
      np.testing.assert_allclose(total, expected, atol=1e-4, rtol=0)
      ids = [*beams.ids[0, number * 5, 1:], 3]
      np.testing.assert_array_equal(ids, z[f'{key}/state_best_ids'][state[0]])
