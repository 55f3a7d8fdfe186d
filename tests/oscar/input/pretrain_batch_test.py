"""Pre-training batches equal the plain steps for equal draws, and have their distribution."""

import collections
import dataclasses
import json
import math
import pathlib
import random

import numpy as np
import pytest
import tensorflow as tf

from oscar.input import pretrain_batch, texts
from tests.oscar import plain

GOLDENS = pathlib.Path(__file__).parents[2] / 'goldens' / 'oscar'
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
  """Returns (official arguments, `PretrainOptions`) of a setting of the reference data."""
  args = {**STEP['base_args'], **case['overrides'], 'max_seq_length': case['seq_len']}
  names = {field.name for field in dataclasses.fields(pretrain_batch.PretrainOptions)}
  return args, pretrain_batch.PretrainOptions(**{k: v for k, v in args.items() if k in names})


class ServedDraws:
  """Replaces Python's `random` by given draws for one example, each for its purpose."""

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
    served = ServedDraws(draws[i], length)
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
  """Compares the frequencies of (label, mismatch) and of each text with the plain step's."""
  args, options = settings_of(case)
  n, index = 20_000, 7  # A question, for which all modes differ.
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

  def named(rows):
    words = texts.words(rows, tokenizer)
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
  """Counts each text of a batch."""
  ids, length = text.ids.numpy(), text.length.numpy()
  return collections.Counter(tuple(row[:n].tolist()) for row, n in zip(ids, length, strict=True))


def test_almost_no_example_has_more_masked_words_than_are_kept():
  options = pretrain_batch.PretrainOptions(max_seq_length=35, gather_masked=True)
  tail = sum(math.comb(33, k) * 0.15**k * 0.85 ** (33 - k) for k in range(21, 34))
  assert options.max_masked == 20 and tail < 1e-7


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
