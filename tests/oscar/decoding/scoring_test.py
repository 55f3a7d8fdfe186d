"""All steps of captions scored in one pass, against the steps one by one."""
import numpy as np
import pytest
import tensorflow as tf

from oscar import decoding
from tests.oscar.decoding import captions


def random_captions(images, count, seed=0):
  """Returns int32 [images, count, T] captions: of full length, with [SEP] early, and late."""
  ids = np.random.default_rng(seed).integers(5, 400, (images, count, captions.LENGTH))
  ids[..., 0] = 2
  for caption, end in zip(ids.reshape(-1, captions.LENGTH), [None, 3, 9, 1] * images, strict=False):
    if end:
      caption[end], caption[end + 1 :] = 3, 0
  return ids.astype('int32')


@pytest.mark.parametrize('tags', ['od', 'nood'])
def test_one_pass_equals_the_steps(tags):
  model, config = captions.model('captioning_tied', tags), captions.config()
  batch, ids = captions.inputs(tags, slice(3)), random_captions(3, 4)
  found = decoding.score_captions(model, batch, ids, config)
  steps = tf.nn.log_softmax(captions.cached_scores(model, batch, config, ids))
  steps = np.take_along_axis(steps.numpy(), ids[:, :, 1:, None], axis=3)[..., 0]
  weights = np.cumsum(np.pad(ids == 3, [(0, 0), (0, 0), (1, 0)])[..., 1:-1], axis=2) == 0
  np.testing.assert_array_equal(found['weights'], weights)
  np.testing.assert_allclose(found['logprobs'], steps * weights, atol=1e-4, rtol=0)
  assert weights.sum() < weights.size


def test_scores_of_greedy_captions_are_those_of_the_search():
  model, config = captions.model(), captions.config()
  batch = captions.inputs()
  found = decoding.generate(model, batch, config)
  scores = decoding.score_captions(model, batch, found['drawn_ids'], config)
  means = tf.reduce_sum(scores['logprobs'], -1) / tf.reduce_sum(scores['weights'], -1)
  np.testing.assert_allclose(means, found['logprobs'], atol=1e-5, rtol=0)


def test_scores_of_drawn_captions_are_of_the_distribution_that_they_were_drawn_from():
  model = captions.small_model()
  config = captions.config(
    do_sample=True, num_return_sequences=3, temperature=0.7, top_k=20, top_p=0.9,
    repetition_penalty=1.3,
  )  # fmt: skip
  batch = captions.small_inputs()
  found = decoding.generate(model, batch, config, [1, 2])
  scores = decoding.score_captions(model, batch, found['drawn_ids'], config)
  means = tf.reduce_sum(scores['logprobs'], -1) / tf.reduce_sum(scores['weights'], -1)
  np.testing.assert_allclose(means, found['logprobs'], atol=1e-5, rtol=0)
  plain = decoding.score_captions(model, batch, found['drawn_ids'], captions.config())
  assert np.abs(plain['logprobs'] - scores['logprobs']).max() > 0.1


def test_the_pass_has_gradients_and_dropout():
  model, config = captions.model(), captions.config()
  batch, ids = captions.inputs(rows=slice(2)), random_captions(2, 2)

  def total(training):
    return tf.reduce_sum(
      decoding.score_captions(model, batch, ids, config, training=training)['logprobs']
    )

  with tf.GradientTape() as tape:
    loss = total(training=True)
  gradient = tape.gradient(loss, model.bert.layers[0].query.kernel.value)
  assert np.abs(gradient).sum() > 0
  assert total(False) == total(False) != loss


def test_captions_of_another_length_raise():
  with pytest.raises(ValueError, match=r'ids have shape \(2, 1, 9\); expected \(batch, capt'):
    decoding.score_captions(
      captions.model(), captions.inputs(rows=slice(2)), np.zeros([2, 1, 9]), captions.config()
    )
