"""Greedy and beam search find the official captions, in batches of any size, eagerly and in XLA."""
import numpy as np
import pytest
import tensorflow as tf

from oscar import decoding
from oscar.decoding import cache
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


@pytest.mark.parametrize('settings', [{}, {'num_beams': 3, 'num_keep_best': 2}])
def test_images_do_not_depend_on_their_batch(settings):
  model, config = captions.model(), captions.config(**settings)
  whole = decoding.generate(model, captions.inputs(), config)
  for rows in (slice(0, 1), slice(3, 6)):
    part = decoding.generate(model, captions.inputs(rows=rows), config)
    np.testing.assert_array_equal(part['ids'], whole['ids'][rows])
    np.testing.assert_allclose(part['logprobs'], whole['logprobs'][rows], atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.host_xla
@pytest.mark.parametrize(
  'settings',
  [
    {'num_beams': 3, 'num_keep_best': 2, 'repetition_penalty': 1.5},
    {'do_sample': True, 'top_k': 10, 'top_p': 0.9, 'num_return_sequences': 2},
  ],
  ids=['beam', 'sample'],
)
def test_xla_writes_the_same_captions_for_any_batch_size(settings):
  model, batch = captions.small_model(), captions.small_inputs()
  config = captions.config(**settings)

  def run(batch):
    return decoding.generate(model, batch, config, seed=[1, 2])

  expected = run(batch)
  specs = {k: tf.TensorSpec([None, *v.shape[1:]], v.dtype) for k, v in batch.items()}
  compiled = tf.function(run, [specs], jit_compile=True, autograph=False)
  found = compiled(batch)
  np.testing.assert_array_equal(found['ids'], expected['ids'])
  np.testing.assert_allclose(found['logprobs'], expected['logprobs'], atol=1e-4, rtol=0)


@pytest.mark.parametrize('beams', [1, 3])
def test_the_search_ends_when_all_captions_have(beams, monkeypatch):
  model, batch = captions.small_model(), captions.small_inputs()
  bias, kept = model.cls_predictions.bias, model.cls_predictions.bias.numpy()
  steps = []
  step = cache.step
  monkeypatch.setattr(cache, 'step', lambda *args: steps.append(1) or step(*args))
  ended = np.zeros_like(kept)
  ended[3] = 100  # [SEP]
  bias.assign(ended)
  try:
    found = decoding.generate(model, batch, captions.config(num_beams=beams))
  finally:
    bias.assign(kept)
  np.testing.assert_array_equal(found['ids'][:, 0, :3], [[2, 3, 0]] * 3)
  assert len(steps) <= 1


def test_several_sequences_stay_with_their_images():
  """The official code returns a row for each sequence, which the caller takes for an image's."""
  model = captions.model()
  found = decoding.generate(model, captions.inputs(rows=slice(3)), captions.config())
  twice = decoding.generate(
    model, captions.inputs(rows=slice(3)), captions.config(num_return_sequences=2)
  )
  assert twice['ids'].shape == (3, 2, captions.LENGTH)
  key = 'captioning_tied/od/greedy_numreturn2'
  np.testing.assert_array_equal(np.reshape(twice['ids'], [6, 1, -1]), captions.ARRAYS[f'{key}/ids'])
  np.testing.assert_array_equal(twice['ids'][:, 1], found['ids'][:, 0])
  np.testing.assert_allclose(
    np.reshape(twice['logprobs'], [6, 1]), captions.ARRAYS[f'{key}/logprobs'], atol=1e-4, rtol=0
  )


def test_words_are_drawn_with_their_probabilities():
  model, batch = captions.small_model(), captions.small_inputs(2)
  # The first word takes no step of the cache, so that 2,000 captions are cheap.
  config = captions.config(
    max_gen_length=2, do_sample=True, temperature=3.0, top_k=4, num_return_sequences=2000
  )
  batch = captions.shortened(batch, 2)
  found = decoding.generate(model, batch, config, seed=[3, 4])
  _, scores = cache.start(model, batch, config)
  for image in range(2):
    scaled = scores[image].numpy() / 3
    expected = np.where(scaled >= np.sort(scaled)[-4], np.exp(scaled), 0)
    expected /= expected.sum()
    counts = np.bincount(found['drawn_ids'][image, :, 1], minlength=30)
    deviation = np.sqrt(2000 * expected * (1 - expected))
    assert np.all(np.abs(counts - 2000 * expected) <= 4 * deviation)
    first = found['drawn_ids'][image, 0, 1]
    np.testing.assert_allclose(found['logprobs'][image, 0], np.log(expected[first]), atol=1e-4)
  assert set(found['ids'][..., 1].numpy().flat) == {3}  # [SEP] takes the last place.


def test_samples_differ_and_their_seed_repeats_them():
  model, batch = captions.small_model(), captions.small_inputs()
  config = captions.config(do_sample=True, temperature=2.0, num_return_sequences=3)
  first, again, other = (
    decoding.generate(model, batch, config, seed=[1, seed])['ids'].numpy() for seed in (1, 1, 2)
  )
  np.testing.assert_array_equal(first, again)
  assert (first != other).any() and (first[:, 0] != first[:, 1]).any()


def test_samples_need_a_seed():
  with pytest.raises(ValueError, match='do_sample needs a seed'):
    decoding.generate(
      captions.small_model(), captions.small_inputs(), captions.config(do_sample=True)
    )


def test_more_beams_than_words_raise():
  with pytest.raises(ValueError, match='num_beams=16: expected at most half of the 30 words'):
    decoding.generate(
      captions.small_model(), captions.small_inputs(), captions.config(num_beams=16)
    )
