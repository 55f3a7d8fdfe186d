"""What pre-training and captioning draw at random, a batch at once.

Every draw is a function of numbers in [0, 1) that the caller gives (`uniform`: from a seed and the
position of the example), so a stopped job goes on with the very examples it would have had.

Source: microsoft/Oscar, oscar/datasets/oscar_tsv.py (`random_sent`, `random_word`) and
`CaptionTensorizer` of oscar/run_captioning.py. The order of the draws differs from Python's
`random` there; the distribution is the same.
"""

import dataclasses
import math
from typing import NamedTuple

import tensorflow as tf

from oscar import inputs

# How often the official code draws until it finds a document of another image.
_TRIES = 10
_MASK_PROB = 0.15
_WORD_DRAWS = 2  # Numbers that the masking of one token takes.


@dataclasses.dataclass(frozen=True)
class PretrainOptions:
  """Options of the pre-training data step, under their official names.

  Attributes:
    max_seq_length: tokens.
    max_img_seq_length: regions.
    use_b: whether the second text (tags, answers) is given to the model.
    textb_sample_mode: where a wrong second text comes from. 0: either text of any document; 1: the
      second text of any document; 2: the second text of any question.
    texta_false_prob: up to where the draw of the contrast stands for a wrong first text; beyond, up
      to 0.5, for a wrong second text.
    mask_loss_for_unmatched: whether words of a wrong second text are masked.
    gather_masked: whether to give the positions of the masked words and labels for these alone; not
      an official option.
  """

  max_seq_length: int = 35
  max_img_seq_length: int = 50
  use_b: bool = True
  textb_sample_mode: int = 0
  texta_false_prob: float = 0.0
  mask_loss_for_unmatched: bool = True
  gather_masked: bool = False

  def __post_init__(self):
    if self.textb_sample_mode not in (0, 1, 2):
      raise ValueError(f'textb_sample_mode is {self.textb_sample_mode}; expected 0, 1 or 2.')
    if not 0 <= self.texta_false_prob <= 0.5:
      raise ValueError(f'texta_false_prob is {self.texta_false_prob}; expected 0 to 0.5.')
    if self.max_seq_length < 4 or self.max_img_seq_length < 1:
      raise ValueError(
        f'max_seq_length {self.max_seq_length}, max_img_seq_length {self.max_img_seq_length}; '
        'expected at least 4 and 1.'
      )

  @property
  def num_contrast_classes(self):
    """3 if both wrong first and wrong second texts occur and are told apart, else 2."""
    both = self.texta_false_prob < 0.5 and (self.texta_false_prob > 0 or not self.use_b)
    return 3 if both else 2

  @property
  def max_masked(self):
    """Masked words that are kept with `gather_masked`: seven standard deviations above the mean."""
    words = self.max_seq_length - 2
    spread = math.sqrt(words * _MASK_PROB * (1 - _MASK_PROB))
    return min(words, math.ceil(words * _MASK_PROB + 7 * spread))


class Documents(NamedTuple):
  """The texts of the corpus, in memory.

  Attributes:
    text_a, text_b: `inputs.TokenTable`s.
    image: int32 [documents], equal for documents of the same image.
    questions: int64 [questions], the documents that are questions.
    is_question: bool [documents].
  """

  text_a: inputs.TokenTable
  text_b: inputs.TokenTable
  image: tf.Tensor
  questions: tf.Tensor
  is_question: tf.Tensor


def uniform(seed, stream, position, batch, count):
  """Random numbers of consecutive examples: functions of seed, stream and position only.

  The generator (Philox) turns a counter into numbers, and each position has its stretch of
  counters: a batch takes one call, and which examples share a batch makes no difference.

  Args:
    seed: int.
    stream: int; other streams (hosts) get other numbers.
    position: int64 scalar, how many examples came before the first of the batch.
    batch: int scalar, how many examples.
    count: int, how many numbers for each.

  Returns:
    float64 [batch, count] in [0, 1).
  """
  counters = (count + 1) // 2  # A counter gives two numbers.
  key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=tf.constant([seed, stream], tf.int64))
  skipped = tf.cast(position * counters, tf.uint64)
  numbers = tf.raw_ops.StatelessRandomUniformV2(
    shape=[batch, 2 * counters],
    key=key,
    counter=counter + tf.stack([skipped, tf.zeros([], tf.uint64)]),
    alg=1,
    dtype=tf.float64,
  )
  return numbers[:, :count]


def pretrain_draws(options):
  """How many numbers `pretrain_batch` takes for an example."""
  return 2 + _TRIES + _WORD_DRAWS * options.max_seq_length


def pretrain_batch(documents, document, draws, img_feats, num_regions, options, special):
  """A pre-training batch: texts matched or not, words masked.

  Args:
    documents: `Documents`.
    document: int64 [batch], which document each example is.
    draws: float64 [batch, pretrain_draws(options)] in [0, 1).
    img_feats: float32 [batch, regions, dim], of the documents' images, padded.
    num_regions: int32 [batch].
    options: `PretrainOptions`.
    special: `inputs.SpecialIds`.

  Returns:
    The model's inputs, and its labels: 'masked_lm_labels' int32 [batch, S + R], the id at a masked
    word, -1 elsewhere; 'next_sentence_label' int32 [batch], 0 for matched texts; 'is_img_match'
    int32 [batch], 1 if a text of another image is in (the official name, the wrong way round).
    With `gather_masked`: 'masked_positions' int32 [batch, options.max_masked], and labels there.
  """
  text_a, text_b, label, mismatch = contrast(documents, document, draws[:, : 2 + _TRIES], options)
  if not options.use_b:
    text_b = inputs.Words(text_b.ids, tf.zeros_like(text_b.length))
  layout = inputs.pair_layout(text_a, text_b, options.max_seq_length, special)
  maskable = layout.is_word
  if not options.mask_loss_for_unmatched:
    kept = label * mismatch == 1
    if options.num_contrast_classes == 2 and options.texta_false_prob == 0.5:
      kept = tf.zeros_like(kept)  # Here 1 stands for a wrong first text.
    maskable &= ~(kept[:, None] & (layout.token_type_ids == 1))
  ids, labels = mask_words(layout.input_ids, maskable, draws[:, 2 + _TRIES :], special)
  batch = inputs.model_inputs(layout._replace(input_ids=ids), img_feats, num_regions)
  no_labels = tf.fill(tf.shape(img_feats)[:2], -1)
  labels = tf.concat([labels, no_labels], axis=1)
  if options.gather_masked:
    batch['masked_positions'], labels = masked_positions(labels, options.max_masked)
  return {
    **batch,
    'masked_lm_labels': labels,
    'next_sentence_label': label,
    'is_img_match': mismatch,
  }


def masked_positions(labels, count):
  """The positions that have a label, for a model that predicts words at these alone.

  Args:
    labels: int32 [batch, n], -1 for none.
    count: how many positions to give; further ones are left out.

  Returns:
    (positions, their labels): int32 [batch, count], padded with 0 and -1.
  """
  n = labels.shape[1]
  places = tf.sort(tf.where(labels != -1, tf.range(n)[None], n), axis=1)[:, :count]
  found = places < n
  places = tf.where(found, places, 0)
  return places, tf.where(found, tf.gather(labels, places, batch_dims=1), -1)


def contrast(documents, document, draws, options):
  """The texts of documents, half of them with one text of another document.

  Args:
    documents: `Documents`.
    document: int64 [batch], which document each example is.
    draws: float64 [batch, 2 + 10]: whether and which text, which one of the other's, which other.
    options: `PretrainOptions`.

  Returns:
    (text_a, text_b, label int32 [batch], image mismatch int32 [batch])
  """
  width = options.max_seq_length - 2  # More of a text is never used.
  dice, pick = draws[:, 0], draws[:, 1]
  has_b = tf.constant(True) if options.use_b else tf.gather(documents.is_question, document)
  wrong = dice <= 0.5
  wrong_b = wrong & (dice > options.texta_false_prob) & has_b
  wrong_a = wrong & ~wrong_b

  any_other = _other_document(documents, document, draws[:, 2:])
  if options.textb_sample_mode == 2:
    other_b = _other_question(documents, document, draws[:, 2:])
  else:
    other_b = any_other
  other = tf.where(wrong_b, other_b, any_other)

  text_a = documents.text_a.rows(tf.where(wrong_a, other, document), width)
  text_b = documents.text_b.rows(tf.where(wrong_b, other, document), width)
  if options.textb_sample_mode == 0:
    first = documents.text_a.rows(other, width)
    text_b = _choose(wrong_b & (pick < 0.5), first, text_b)
  label = tf.where(wrong_a, options.num_contrast_classes - 1, tf.cast(wrong_b, tf.int32))
  differs = tf.gather(documents.image, other) != tf.gather(documents.image, document)
  return text_a, text_b, label, tf.cast(wrong & differs, tf.int32)


def _other_document(documents, document, draws):
  """A document of another image, as far as `_TRIES` draws find one; int64 [batch]."""
  tries = _index(draws, tf.size(documents.image, tf.int64))
  images = tf.gather(documents.image, tries)
  return _first(tries, images != tf.gather(documents.image, document)[:, None])


def _other_question(documents, document, draws):
  """Another question (the image may be the same), as far as `_TRIES` draws find one."""
  tries = tf.gather(documents.questions, _index(draws, tf.size(documents.questions, tf.int64)))
  return _first(tries, tries != document[:, None])


def _index(draws, count):
  """int64: draws in [0, 1) as indices below `count`."""
  return tf.cast(draws * tf.cast(count, tf.float64), tf.int64)


def _first(tries, good):
  """The first good one of the tries [batch, n], else the last."""
  last = tf.fill([tf.shape(good)[0], 1], True)
  place = tf.argmax(tf.concat([good[:, :-1], last], axis=1), axis=1)
  return tf.gather(tries, place, batch_dims=1)


def _choose(condition, first, second):
  return inputs.Words(
    tf.where(condition[:, None], first.ids, second.ids),
    tf.where(condition, first.length, second.length),
  )


def mask_words(ids, maskable, draws, special):
  """Masks 15 % of the words: 80 % of these become [MASK], 10 % any id, 10 % stay.

  Args:
    ids: int32 [batch, n].
    maskable: bool [batch, n].
    draws: float64 [batch, 2 n].
    special: `inputs.SpecialIds`.

  Returns:
    (ids, labels): int32 [batch, n]; labels hold the original id where masked, else -1.
  """
  n = ids.shape[1]
  share = draws[:, :n] / _MASK_PROB
  masked = maskable & (share < 1)
  anything = tf.cast(_index(draws[:, n:], special.vocab_size), tf.int32)
  shown = tf.where(share < 0.8, special.mask, tf.where(share < 0.9, anything, ids))
  return tf.where(masked, shown, ids), tf.where(masked, ids, -1)


def caption_draws(max_seq_length, max_masked_tokens):
  """How many numbers `mask_caption` takes for an example."""
  return max_seq_length + 3 * max_masked_tokens


def mask_caption(layout, draws, special, mask_prob=0.15, max_masked_tokens=3):
  """Masks a few tokens of captions, [SEP] among the candidates and [CLS] not.

  Args:
    layout: `inputs.Layout` of `inputs.caption_layout`.
    draws: float64 [batch, caption_draws(max_seq_length, max_masked_tokens)].
    special: `inputs.SpecialIds`.
    mask_prob: share of the caption, with its special tokens, that is masked; at least one token.
    max_masked_tokens: at most so many.

  Returns:
    (layout with ids masked, masked_pos int32 [batch, max_seq_length] 0 or 1, masked_ids int32
    [batch, max_masked_tokens]: the original ids in order of position, padded with [PAD])
  """
  n = layout.input_ids.shape[1]
  if max_masked_tokens > n:
    raise ValueError(
      f'max_masked_tokens is {max_masked_tokens}, more than the {n} tokens there are.'
    )
  candidate = (layout.kind == 1) & (tf.range(n)[None] > 0)
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
  word = tf.cast(_index(word, special.vocab_size + 1), tf.int32)
  word = tf.where(word == special.vocab_size, special.unk, word)
  shown = tf.where(to_random <= 0.5, word, original)
  shown = tf.where(to_mask <= 0.8, special.mask, shown)
  masked_pos = tf.reduce_sum(hot, axis=1)
  ids = tf.where(masked_pos == 1, tf.reduce_sum(hot * shown[:, :, None], axis=1), layout.input_ids)
  masked_ids = tf.where(chosen, original, special.pad)
  return layout._replace(input_ids=ids), masked_pos, masked_ids
