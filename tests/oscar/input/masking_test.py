"""Batched masking equals the plain one for equal draws, and has its distribution."""

import json

import numpy as np
import pytest
import tensorflow as tf

from oscar.input import layouts, masking, texts
from tests.oscar import loaders, plain

STEP = json.loads((loaders.GOLDENS / 'pretraining_data_step.json').read_text())
DOCS = STEP['datasets'][0]['docs']
SPECIAL = texts.SpecialIds(0, 1, 2, 3, 4, 400)


def test_masking_has_the_official_shares():
  n, width = 4000, 30
  ids = tf.fill([n, width], 77)
  maskable = tf.tile(tf.range(width)[None] % 3 > 0, [n, 1])
  draws = tf.random.stateless_uniform([n, 2 * width], [1, 2], dtype=tf.float64)
  shown, labels = masking.mask_words(ids, maskable, draws, SPECIAL)
  shown, labels, maskable = shown.numpy(), labels.numpy(), maskable.numpy()
  assert not (labels[~maskable] != -1).any() and (shown[~maskable] == 77).all()
  masked = labels != -1
  assert (labels[masked] == 77).all() and (shown[~masked] == 77).all()
  total, count = maskable.sum(), masked.sum()
  assert abs(count / total - 0.15) < 5 * np.sqrt(0.15 * 0.85 / total)
  for share, found in (
    (0.8 + 0.1 / 400, shown[masked] == 4),
    (0.1 + 0.1 / 400, shown[masked] == 77),
    (0.1 * 398 / 400, ~np.isin(shown[masked], [4, 77])),
  ):
    assert abs(found.mean() - share) < 5 * np.sqrt(share * (1 - share) / count)
  assert len(np.unique(shown[masked])) > 380  # Any id of the vocabulary, special ones included.


class ServedCaption:
  """Replaces Python's `random` by given draws for one caption, each for its purpose."""

  def __init__(self, draws, length):
    self.keys = draws[:length]
    self.to_mask, self.to_random, self.word = np.split(draws[length:], 3)
    self.masked, self.asked = -1, 1

  def shuffle(self, items):
    items.sort(key=lambda i: self.keys[i])

  def random(self):
    # The first question about a token is whether it becomes [MASK]; a second may follow.
    if self.asked == 0 and self.to_mask[self.masked] > 0.8:
      self.asked = 1
      return self.to_random[self.masked]
    self.masked, self.asked = self.masked + 1, 0
    return self.to_mask[self.masked]

  def randint(self, first, last):
    return int(self.word[self.masked] * (last + 1))


@pytest.mark.parametrize(('mask_prob', 'most'), [(0.15, 3), (0.5, 6), (0.15, 1), (0.8, 9)])
def test_captions_equal_the_plain_step_for_equal_draws(mask_prob, most, tokenizer, monkeypatch):
  rng, batch, length = np.random.default_rng(6), 200, 16
  captions = [doc[1] for doc in DOCS]
  chosen = [captions[i] for i in rng.integers(0, len(captions), batch)]
  draws = rng.random([batch, masking.caption_draws(length, most)])
  tags = texts.words(['dog'] * batch, tokenizer)
  layout = layouts.caption_layout(texts.words(chosen, tokenizer), tags, 12, length, SPECIAL)
  made, masked_pos, masked_ids = masking.mask_caption(
    layout, tf.constant(draws), SPECIAL, mask_prob, most
  )
  shown, before = made.input_ids.numpy(), layout.input_ids.numpy()
  masked_pos, masked_ids = masked_pos.numpy(), masked_ids.numpy()
  for i, caption in enumerate(chosen):
    words = tokenizer.tokenize(caption)[:10]
    monkeypatch.setattr(plain, 'random', ServedCaption(draws[i], length))
    tokens, places, ids = plain.mask_caption(
      ['[CLS]', *words, '[SEP]'], len(words) + 2, tokenizer.vocab, mask_prob, most
    )
    np.testing.assert_array_equal(np.flatnonzero(masked_pos[i]), places)
    np.testing.assert_array_equal(masked_ids[i], ids[:most])
    np.testing.assert_array_equal(shown[i, : len(tokens)], tokenizer.convert_tokens_to_ids(tokens))
    np.testing.assert_array_equal(shown[i, len(tokens) :], before[i, len(tokens) :])


def test_masked_positions_are_the_labelled_ones():
  labels = tf.constant([[-1, 7, -1, 9, 5], [-1, -1, -1, -1, 3]])
  places, kept = masking.masked_positions(labels, 3)
  np.testing.assert_array_equal(places, [[1, 3, 4], [4, 0, 0]])
  np.testing.assert_array_equal(kept, [[7, 9, 5], [3, -1, -1]])
  np.testing.assert_array_equal(masking.masked_positions(labels, 1)[1], [[7], [3]])


def test_draws_depend_on_seed_host_and_position_only():
  def draw(seed, host, position, batch, count):
    return masking.uniform(seed, host, tf.constant(position, tf.int64), batch, count).numpy()

  whole = draw(3, 0, 0, 40, 7)
  assert whole.shape == (40, 7) and (whole >= 0).all() and (whole < 1).all()
  np.testing.assert_array_equal(whole[10:15], draw(3, 0, 10, 5, 7))
  np.testing.assert_array_equal(whole[39:], draw(3, 0, 39, 1, 7))
  for other in (draw(4, 0, 0, 40, 7), draw(3, 1, 0, 40, 7), draw(3, 0, 40, 40, 7)):
    assert not np.isin(whole, other).any()
  assert len(np.unique(whole)) == whole.size
  mapped = tf.data.Dataset.range(10, 11).map(lambda i: masking.uniform(3, 0, i, 5, 7))
  np.testing.assert_array_equal(whole[10:15], next(iter(mapped)))


def test_draws_are_uniform():
  drawn = masking.uniform(1, 0, tf.constant(0, tf.int64), 4000, 25).numpy().ravel()
  counts = np.histogram(drawn, 50, (0, 1))[0]
  expected = len(drawn) / 50
  chi_squared = np.sum((counts - expected) ** 2 / expected)
  assert 15 < chi_squared < 100  # 49 degrees of freedom: 49 +- 10.
