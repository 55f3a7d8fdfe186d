"""The batched random steps: equal to the plain ones draw for draw, and as distributed."""

import collections
import dataclasses
import json
import math
import pathlib
import random

import numpy as np
import pytest
import tensorflow as tf

from oscar.input import layouts, masking, pretrain_batch, texts
from tests.oscar import plain

GOLDENS = pathlib.Path(__file__).parents[1] / 'goldens' / 'oscar'
STEP = json.loads((GOLDENS / 'pretraining_data_step.json').read_text())
DOCS = STEP['datasets'][0]['docs']
QA = [i for i, doc in enumerate(DOCS) if 'qa' in doc[0].split('_')]
SPECIAL = texts.SpecialIds(0, 1, 2, 3, 4, 400)
FIELDS = {
  'input_ids': 'input_ids', 'attention_mask': 'input_mask', 'token_type_ids': 'segment_ids',
  'masked_lm_labels': 'lm_label_ids',
}  # fmt: skip


@pytest.fixture(scope='module')
def documents(tokenizer):
  images = [doc[0].split('|')[0] for doc in DOCS]
  return pretrain_batch.Documents(
    texts.TokenTable.of([doc[1] for doc in DOCS], tokenizer),
    texts.TokenTable.of([doc[2] for doc in DOCS], tokenizer),
    tf.constant([images.index(image) for image in images]),
    tf.constant(QA, tf.int64),
    tf.constant([i in QA for i in range(len(DOCS))]),
  )


def settings_of(case):
  """(official arguments, `PretrainOptions`) of a setting of the reference data."""
  args = {**STEP['base_args'], **case['overrides'], 'max_seq_length': case['seq_len']}
  names = {field.name for field in dataclasses.fields(pretrain_batch.PretrainOptions)}
  return args, pretrain_batch.PretrainOptions(**{k: v for k, v in args.items() if k in names})


class Served:
  """Stands for Python's `random` and serves the draws of one example, each for its purpose."""

  def __init__(self, draws, length):
    self.dice, self.pick = draws[:2]
    self.tries = list(draws[2:12])
    self.select, self.word = draws[12 : 12 + length], draws[12 + length :]
    self.place = None

  def random(self):
    if self.place is None:
      return self.dice
    self.now = self.place.pop(0)
    return self.select[self.now]

  def randrange(self, start, stop):
    return 1 + int(self.pick * 2) if start == 1 else int(self.tries.pop(0) * stop)

  def choice(self, items):
    return items[int(self.word[self.now] * len(items))]


@pytest.mark.parametrize('case', STEP['datasets'], ids=lambda case: case['setting'])
def test_batches_equal_the_plain_step_for_equal_draws(case, tokenizer, documents, monkeypatch):
  args, options = settings_of(case)
  assert options.num_contrast_classes == args['num_contrast_classes']
  rng, length = np.random.default_rng(5), args['max_seq_length']
  batch = 300
  index = rng.integers(0, len(DOCS), batch)
  regions = rng.integers(0, 4, batch)
  draws = rng.random([batch, pretrain_batch.pretrain_draws(options)])
  made = pretrain_batch.pretrain_batch(
    documents,
    tf.constant(index),
    tf.constant(draws),
    tf.zeros([batch, 3, 8]),
    tf.constant(regions, tf.int32),
    options,
    SPECIAL,
  )
  made = {name: value.numpy() for name, value in made.items()}
  for i in range(batch):
    served = Served(draws[i], length)
    monkeypatch.setattr(plain, 'random', served)
    _, a, b, label, mismatch = plain.random_sent(
      DOCS,
      QA,
      index[i],
      args['use_b'],
      args['textb_sample_mode'],
      args['texta_false_prob'],
      args['num_contrast_classes'],
    )
    tokens_b = tokenizer.tokenize(b) if args['use_b'] else []
    kept_a, kept_b = plain.truncate(tokenizer.tokenize(a), tokens_b, length - 3)
    if not tokens_b:
      kept_a = tokenizer.tokenize(a)[: length - 2]
    start_b = len(kept_a) + 2
    served.place = [*range(1, len(kept_a) + 1), *range(start_b, start_b + len(kept_b))]
    expected = plain.convert(
      tokenizer.tokenize(a), tokens_b, label, mismatch, regions[i], tokenizer.vocab, args
    )
    for ours, official in FIELDS.items():
      np.testing.assert_array_equal(made[ours][i], expected[official], f'{ours} of {i}')
    assert made['next_sentence_label'][i] == label
    assert made['is_img_match'][i] == mismatch


@pytest.mark.parametrize('case', STEP['datasets'], ids=lambda case: case['setting'])
def test_contrast_has_the_official_distribution(case, tokenizer, documents):
  """Shares of (label, mismatch), and of each text in each place, against the plain step's."""
  args, options = settings_of(case)
  n, index = 20_000, 7  # A question, so that every mode has its say.
  draws = tf.random.stateless_uniform([n, 12], [3, 4], dtype=tf.float64)
  text_a, text_b, label, mismatch = pretrain_batch.contrast(
    documents, tf.fill([n], tf.constant(index, tf.int64)), draws, options
  )
  random.seed(0)
  reference = [
    plain.random_sent(
      DOCS,
      QA,
      index,
      args['use_b'],
      args['textb_sample_mode'],
      args['texta_false_prob'],
      args['num_contrast_classes'],
    )
    for _ in range(n)
  ]

  def named(texts):
    words = texts.words(texts, tokenizer)
    return _names(texts.Words(words.ids, tf.minimum(words.length, options.max_seq_length - 2)))

  for ours, theirs in (
    (_outcomes(label, mismatch), _outcomes(*np.transpose([r[3:] for r in reference]))),
    (_names(text_a), named([r[1] for r in reference])),
    (_names(text_b), named([r[2] for r in reference])),
  ):
    for outcome in {*ours, *theirs}:
      one, other = ours[outcome], theirs[outcome]
      # Two samples of n: five standard deviations of the difference.
      assert abs(one - other) < 5 * np.sqrt(one + other + 9), outcome


def _outcomes(*values):
  return collections.Counter(zip(*(np.asarray(value).tolist() for value in values), strict=True))


def _names(text):
  """How often each text is in a batch."""
  ids, length = text.ids.numpy(), text.length.numpy()
  return collections.Counter(tuple(row[:n].tolist()) for row, n in zip(ids, length, strict=True))


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
  """As `Served`, for captions."""

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


def test_hardly_any_example_has_more_masked_words_than_are_kept():
  options = pretrain_batch.PretrainOptions(max_seq_length=35, gather_masked=True)
  tail = sum(math.comb(33, k) * 0.15**k * 0.85 ** (33 - k) for k in range(21, 34))
  assert options.max_masked == 20 and tail < 1e-7


def test_draws_depend_on_seed_stream_and_position_only():
  def draw(seed, stream, position, batch, count):
    return masking.uniform(seed, stream, tf.constant(position, tf.int64), batch, count).numpy()

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


@pytest.mark.parametrize(
  'options',
  [
    {'textb_sample_mode': 3},
    {'texta_false_prob': 0.6},
    {'max_seq_length': 3},
    {'max_img_seq_length': 0},
  ],
)
def test_impossible_options_are_refused(options):
  with pytest.raises(ValueError, match=next(iter(options))):
    pretrain_batch.PretrainOptions(**options)
