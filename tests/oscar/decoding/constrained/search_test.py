"""Constrained search finds the official captions, one image at a time and in batches."""
import numpy as np
import pytest
import tensorflow as tf

from oscar.decoding.constrained import machine, search
from tests.oscar import loaders
from tests.oscar.decoding import captions

CASES = [case for case in captions.CASES['cases'] if case['key'].startswith('cbs/')]
STATES = [case for case in CASES if len(case['constraints']) > 1][::3]
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
  np.testing.assert_array_equal(found['ids'], z[f'{key}/ids'])
  np.testing.assert_allclose(found['logprobs'], z[f'{key}/logprobs'], atol=1e-4, rtol=0)
  least = min(case['min_constraints_to_satisfy'], len(case['constraints']))
  assert found['constraints_met'][0] >= least


@pytest.mark.parametrize(('tags', 'least'), [('od', 2), ('od', 3), ('nood', 2)])
def test_batches_equal_images_one_by_one(tags, least, words):
  """The official code is wrong for all but the first image of a batch."""
  # With one constraint given, one is met whether one or two are asked for.
  cases = [
    case
    for case in CASES
    if parts(case)[1] == tags and (case['min_constraints_to_satisfy'] == 3) == (least == 3)
  ]
  made = [machines_of(case, words) for case in cases]
  images = [parts(case)[2] for case in cases]
  batch = {k: tf.gather(v, images) for k, v in captions.inputs(tags).items()}
  model, settings = captions.model(tags=tags), config(cases[0])
  settings = settings.replace(min_constraints_to_satisfy=least)
  found = search.generate(model, batch, machine.stack(made, 20, 16), settings)
  keys = [case['key'] for case in cases]
  ids = np.concatenate([captions.ARRAYS[f'{key}/ids'] for key in keys])
  log_probs = np.concatenate([captions.ARRAYS[f'{key}/logprobs'] for key in keys])
  np.testing.assert_array_equal(found['ids'], ids)
  np.testing.assert_allclose(found['logprobs'], log_probs, atol=1e-4, rtol=0)


@pytest.mark.parametrize('case', STATES, ids=[case['key'] for case in STATES])
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


def small(constraints, **settings):
  """Returns the result for three images of the small model, all with the same constraints."""
  machines = machine.stack([machine.build(constraints)] * 3)
  length = settings.get('max_gen_length', captions.LENGTH)
  batch = captions.shortened(captions.small_inputs(), length)
  config = captions.config(num_beams=3, **settings)
  return search.generate(captions.small_model(), batch, machines, config)


def test_constraints_that_share_a_word_are_both_met():
  found = small([((5,), (6,)), ((5,), (7,))])
  assert found['constraints_met'].numpy().tolist() == [2, 2, 2]
  for ids in found['ids'][:, 0].numpy().tolist():
    pairs = set(zip(ids, ids[1:], strict=False))
    assert {(5, 6), (5, 7)} <= pairs


def test_the_most_constraints_that_can_be_met():
  # The last constraint has no word in the vocabulary.
  found = small([((5,),), ((6,),), ((),)], min_constraints_to_satisfy=3)
  assert found['constraints_met'].numpy().tolist() == [2, 2, 2]
  assert all({5, 6} <= set(ids) for ids in found['ids'][:, 0].numpy().tolist())
  found = small([((5,),), ((6,),), ((7,),)], max_gen_length=2, min_constraints_to_satisfy=3)
  assert found['constraints_met'].numpy().tolist() == [1, 1, 1]


def test_captions_of_two_tokens():
  """The official code fails: it has no steps to go back through."""
  found = small([((5,),)], max_gen_length=2)
  np.testing.assert_array_equal(found['ids'], [[[5, 3]]] * 3)
  found = small([], max_gen_length=2)
  assert found['ids'].shape == (3, 1, 2) and np.isfinite(found['logprobs']).all()


@pytest.mark.slow
@pytest.mark.host_xla
def test_xla_finds_the_same_captions():
  constraints = [((5,), (6,)), ((7, 8),)]
  expected = small(constraints)
  found = tf.function(small, jit_compile=True, autograph=False)(constraints)
  np.testing.assert_array_equal(found['ids'], expected['ids'])
  np.testing.assert_allclose(found['logprobs'], expected['logprobs'], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'num_keep_best': 2}, 'num_keep_best=2: constrained search finds one caption of an image'),
    ({'num_return_sequences': 2}, 'num_return_sequences=2: constrained search finds one'),
  ],
)
def test_several_captions_raise(settings, message):
  with pytest.raises(ValueError, match=message):
    small([], **settings)
