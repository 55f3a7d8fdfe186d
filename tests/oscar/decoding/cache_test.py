"""Steps from the cache have the scores of whole passes, and cost what is counted here."""
import keras
import numpy as np
import pytest
import tensorflow as tf

import oscar
from oscar.decoding import cache
from tests.oscar.decoding import captions
from tpu_utils import profile


def random_ids(images, rows, seed=0):
  ids = np.random.default_rng(seed).integers(5, 400, (images, rows, captions.LENGTH))
  ids[..., 0] = 2
  return ids.astype('int32')


@pytest.mark.parametrize('tags', ['od', 'nood'])
def test_steps_equal_whole_passes(tags):
  model, config = captions.model(tags=tags), captions.config()
  batch, ids = captions.inputs(tags, slice(2)), random_ids(2, 2)
  found = captions.cached_scores(model, batch, config, ids)
  assert found.dtype == tf.float32
  for known in (1, 2, 5, 9):
    for row in range(2):
      expected = captions.official_scores(model, batch, config, ids[:, row, :known])
      np.testing.assert_allclose(found[:, row, known - 1], expected, atol=1e-4, rtol=0)


def test_captions_attend_to_the_words_of_their_ancestors():
  """The official cached path has the words of other beams here."""
  model, config = captions.model(), captions.config()
  batch, ids = captions.inputs(rows=slice(2)), random_ids(2, 3)
  context, _ = cache.start(model, batch, config)
  written = cache.no_words(model, context, 3)
  ancestors = cache.own_rows(2, 3, captions.LENGTH)
  _, written = cache.step(
    model, context, written, tf.constant(ids[:, :, 1]), ancestors, 1, config
  )
  # All captions of the first image go on from row 2, those of the second from rows 1, 0, 0.
  parents = np.array([[2, 2, 2], [1, 0, 0]])
  slots = np.arange(captions.LENGTH - 1)
  ancestors = tf.where(slots < 1, parents[..., None].astype('int32'), ancestors)
  words = tf.constant(ids[:, :, 2])
  scores, _ = cache.step(model, context, written, words, ancestors, 2, config)
  for row in range(3):
    known = np.take_along_axis(ids[:, :, :2], parents[:, row, None, None], axis=1)[:, 0]
    known = np.concatenate([known, ids[:, row, 2:3]], axis=1)
    expected = captions.official_scores(model, batch, config, known)
    np.testing.assert_allclose(scores[:, row], expected, atol=1e-4, rtol=0)


def test_bfloat16_scores_are_float32_and_near():
  batch, ids = captions.inputs(rows=slice(1)), random_ids(1, 2)
  exact, rounded = (
    captions.cached_scores(captions.model(dtype=dtype), batch, captions.config(), ids)
    for dtype in (None, 'mixed_bfloat16')
  )
  assert rounded.dtype == tf.float32
  np.testing.assert_allclose(rounded, exact, atol=0.1 * np.ptp(exact), rtol=0)
  # Scores rounded to bfloat16 would repeat: 400 words have about as many scores.
  log_probs = tf.nn.log_softmax(rounded)[0, 0, 0].numpy()
  assert len(np.unique(log_probs)) > 300


class Decoding(keras.Model):
  """Calls `cache.start` and, with `with_step`, `cache.step`; 50 regions, 30 tags."""

  def __init__(self, size, rows, with_step):
    super().__init__()
    self.captioner = oscar.build_model(size, 'captioning')
    self.config = captions.config(max_gen_length=20, od_labels_start_posid=40)
    self.rows, self.with_step, self.built = rows, with_step, True

  @property
  def input(self):
    shapes = {'input_ids': (None, 50), 'attention_mask': (None, 100, 100)}
    tensors = {k: keras.KerasTensor(shape, 'int32') for k, shape in shapes.items()}
    return {**tensors, 'img_feats': keras.KerasTensor((None, 50, 2054), 'float32')}

  def call(self, inputs):
    context, scores = cache.start(self.captioner, inputs, self.config)
    if self.with_step:
      images = scores.shape[0]
      written = cache.no_words(self.captioner, context, self.rows)
      words = tf.zeros([images, self.rows], tf.int32)
      ancestors = cache.own_rows(images, self.rows, self.config.max_gen_length)
      scores, _ = cache.step(self.captioner, context, written, words, ancestors, 1, self.config)
    return scores


def of_caption(count):
  """Returns a caption's multiply-adds: 20 tokens, so 18 steps; `count(with_step)` counts calls."""
  start, once = count(False), count(True)
  return start + 18 * (once - start)


@pytest.mark.slow
@pytest.mark.parametrize(('rows', 'least', 'most'), [(5, 22e9, 26e9), (20, 75e9, 90e9)])
def test_multiply_adds_of_a_caption(rows, least, most):
  """Beam 5, and five beams in each of four states: two constraints of one word.

  Officially 850 G, or 174 G with its cached hidden states; 27,197 G with constraints.
  """
  found = of_caption(
    lambda step: profile.count(lambda: Decoding('base', rows, step)).multiply_adds
  )
  assert least < found <= most


def test_an_image_costs_the_same_in_any_batch():
  one, eight = (
    of_caption(lambda step, size=size: profile.flops(Decoding('tiny', 5, step), size))
    for size in (1, 8)
  )
  assert eight == 8 * one


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'img_feats': None}, 'img_feats is missing; captions are generated from input_ids, token_ty'),
    ({'input_ids': tf.ones([2, 8], tf.int32)}, 'attention_mask has shape'),
    ({'attention_mask': tf.ones([2, 23])}, r'expected \(batch, n, n\), all sizes but the batch'),
  ],
)
def test_unfit_inputs_raise(change, message):
  batch = {**captions.inputs(rows=slice(2)), **change}
  if 'input_ids' in change:
    batch.pop('token_type_ids')
  with pytest.raises(ValueError, match=message):
    cache.start(captions.model(), batch, captions.config())


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'max_gen_length': 19}, 'input_ids has 18 tokens; expected the 19 of max_gen_length, then'),
    ({'od_labels_start_posid': None}, 'set od_labels_start_posid to the max_seq_a_length of trai'),
    ({'od_labels_start_posid': 57}, 'Sequences reach position 64, the model embeds 64'),
  ],
)
def test_unfit_settings_raise(settings, message):
  with pytest.raises(ValueError, match=message):
    cache.start(captions.model(), captions.inputs(rows=slice(2)), captions.config(**settings))


def test_another_task_raises():
  model = oscar.build_model(captions.small_model().config, 'vqa')
  with pytest.raises(ValueError, match="A model of the task 'vqa' writes no captions"):
    cache.start(model, captions.inputs(rows=slice(2)), captions.config())


@pytest.mark.host_xla
@pytest.mark.parametrize('first', [0, 4])
def test_slots_are_updated_the_same_without_xla(monkeypatch, first):
  """TensorFlow's TPU build has no XLA for the CPU, on which captions are predicted there, too."""
  array = np.arange(2 * 3 * 6 * 2, dtype='float32').reshape(2, 3, 6, 2)
  update = -array[:, :, :2] - 1
  expected = cache._update_slots(array, update, tf.constant(first))
  monkeypatch.setattr(cache, '_has_xla_here', lambda: False)
  found = cache._update_slots(array, update, tf.constant(first))
  np.testing.assert_array_equal(found, expected)
  np.testing.assert_array_equal(found[:, :, first : first + 2], update)
