"""Random numbers and masked words for pre-training and captioning.

Every draw is a function of numbers in [0, 1) that the caller passes (`uniform`: a function of the
seed and the position of the example), so a resumed job gets the same examples.

Source: microsoft/Oscar, `random_word` of oscar/datasets/oscar_tsv.py and `CaptionTensorizer` of
oscar/run_captioning.py. The order of the draws differs from Python's `random` there; the
distribution is the same.
"""

import tensorflow as tf

from oscar.input.layouts import CAPTION, Layout
from oscar.input.texts import SpecialIds

MASK_PROB = 0.15
WORD_DRAWS = 2  # Numbers that the masking of one token takes.


def uniform(
  seed: int, host: int, position: tf.Tensor, batch: int | tf.Tensor, count: int
) -> tf.Tensor:
  """Returns random numbers for consecutive examples, a function of seed, host and position only.

  The generator (Philox) turns a counter into numbers, and each position has its own range of
  counters: a batch takes one call, and the numbers do not depend on the division into batches.

  Args:
    seed: the seed.
    host: number of the input pipeline; other hosts get other numbers.
    position: int64 scalar, number of examples before the first of the batch.
    batch: examples in the batch.
    count: numbers for each example.

  Returns:
    float64 [batch, count] in [0, 1).
  """
  counters = (count + 1) // 2  # A counter gives two numbers.
  key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=tf.constant([seed, host], tf.int64))
  skipped = tf.cast(position * counters, tf.uint64)
  numbers = tf.raw_ops.StatelessRandomUniformV2(
    shape=[batch, 2 * counters],
    key=key,
    counter=counter + tf.stack([skipped, tf.zeros([], tf.uint64)]),
    alg=1,
    dtype=tf.float64,
  )
  return numbers[:, :count]


def masked_positions(labels: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns the positions that have a label, for a model that predicts words at these alone.

  Args:
    labels: int32 [batch, n], -1 for none.
    count: number of positions to return; further ones are left out.

  Returns:
    (positions, their labels): int32 [batch, count], padded with 0 and -1.
  """
  n = labels.shape[1]
  places = tf.sort(tf.where(labels != -1, tf.range(n)[None], n), axis=1)[:, :count]
  has_label = places < n
  places = tf.where(has_label, places, 0)
  return places, tf.where(has_label, tf.gather(labels, places, batch_dims=1), -1)


def index_of(draws: tf.Tensor, count: int | tf.Tensor) -> tf.Tensor:
  """Returns draws in [0, 1) as int64 indices below `count`."""
  return tf.cast(draws * tf.cast(count, tf.float64), tf.int64)


def mask_words(
  ids: tf.Tensor, maskable: tf.Tensor, draws: tf.Tensor, special: SpecialIds
) -> tuple[tf.Tensor, tf.Tensor]:
  """Masks 15 % of the words: 80 % of these become [MASK], 10 % any id, 10 % stay.

  Args:
    ids: int32 [batch, n].
    maskable: bool [batch, n].
    draws: float64 [batch, 2 n].
    special: ids of the special tokens.

  Returns:
    (ids, labels): int32 [batch, n]; labels hold the original id where masked, else -1.
  """
  n = ids.shape[1]
  share = draws[:, :n] / MASK_PROB
  masked = maskable & (share < 1)
  anything = tf.cast(index_of(draws[:, n:], special.vocab_size), tf.int32)
  shown = tf.where(share < 0.8, special.mask, tf.where(share < 0.9, anything, ids))
  return tf.where(masked, shown, ids), tf.where(masked, ids, -1)


def caption_draws(max_seq_length: int, max_masked_tokens: int) -> int:
  """Returns the count of numbers that `mask_caption` takes for an example."""
  return max_seq_length + 3 * max_masked_tokens


def mask_caption(
  layout: Layout,
  draws: tf.Tensor,
  special: SpecialIds,
  mask_prob: float = MASK_PROB,
  max_masked_tokens: int = 3,
) -> tuple[Layout, tf.Tensor, tf.Tensor]:
  """Masks a few tokens of captions, [SEP] among the candidates and [CLS] not.

  Args:
    layout: result of `layouts.caption_layout`.
    draws: float64 [batch, caption_draws(max_seq_length, max_masked_tokens)].
    special: ids of the special tokens.
    mask_prob: share of the caption, with its special tokens, that is masked; at least one token.
    max_masked_tokens: upper limit of the masked tokens.

  Returns:
    (layout with ids masked, masked_pos int32 [batch, max_seq_length] 0 or 1, masked_ids int32
    [batch, max_masked_tokens]: the original ids in order of position, padded with [PAD]).

  Raises:
    ValueError: `max_masked_tokens` is larger than the sequence is long.
  """
  n = layout.input_ids.shape[1]
  if max_masked_tokens > n:
    raise ValueError(
      f'max_masked_tokens is {max_masked_tokens}, more than the {n} tokens there are.'
    )
  candidate = (layout.kind == CAPTION) & (tf.range(n)[None] > 0)
  length = tf.reduce_sum(tf.cast(candidate, tf.int32), axis=1) + 1
  # As Python's round: halves go to the even number.
  wanted = tf.cast(tf.round(mask_prob * tf.cast(length, tf.float64)), tf.int32)
  wanted = tf.minimum(tf.minimum(tf.maximum(wanted, 1), max_masked_tokens), length - 1)
  # A random order of the candidates: the first `wanted` of them are masked.
  order = tf.argsort(tf.where(candidate, draws[:, :n], 2.0), axis=1)[:, :max_masked_tokens]
  chosen = tf.range(max_masked_tokens)[None] < wanted[:, None]
  place = tf.sort(tf.where(chosen, order, n), axis=1)  # n: not chosen.
  chosen = place < n
  hot = tf.one_hot(place, n, dtype=tf.int32)  # [batch, masked, n]
  original = tf.gather(layout.input_ids, tf.minimum(place, n - 1), batch_dims=1)
  to_mask, to_random, word = tf.split(draws[:, n:], 3, axis=1)
  # The official draw may give one number past the vocabulary, which becomes [UNK].
  word = tf.cast(index_of(word, special.vocab_size + 1), tf.int32)
  word = tf.where(word == special.vocab_size, special.unk, word)
  shown = tf.where(to_random <= 0.5, word, original)
  shown = tf.where(to_mask <= 0.8, special.mask, shown)
  masked_pos = tf.reduce_sum(hot, axis=1)
  ids = tf.where(masked_pos == 1, tf.reduce_sum(hot * shown[:, :, None], axis=1), layout.input_ids)
  masked_ids = tf.where(chosen, original, special.pad)
  return layout._replace(input_ids=ids), masked_pos, masked_ids
