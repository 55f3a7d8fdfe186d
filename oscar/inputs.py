"""Model inputs from words, tags and regions: where each token goes, and who attends to whom.

Everything here works on a batch at once and is deterministic. What pre-training and captioning draw
at random is in `oscar/masking.py`.

A text is a `Words`: ids and their number, without special tokens. The steps are

    layout = pair_layout(text_a, text_b, max_seq_length, special)     # or one of its siblings
    inputs = model_inputs(layout, img_feats, num_regions, attention='CLR')

Source: microsoft/Oscar, `convert_example_to_features` of oscar/datasets/oscar_tsv.py,
`tensorize_example` of the run_*.py scripts, `CaptionTensorizer` of oscar/run_captioning.py.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tpu_utils.names import check_name

# Kinds of positions: none (padding), caption or question, labels (tags), regions.
_NONE, _C, _L, _R = range(4)
# attention -> {who asks: whom it sees}; in 'caption', C sees only the C before it.
_SEES = {
  'CLR': {_C: (_C, _L, _R), _L: (_C, _L, _R), _R: (_C, _L, _R)},
  'CL': {_C: (_C, _L), _L: (_C, _L), _R: (_R,)},
  'CR': {_C: (_C, _R), _L: (_L,), _R: (_C, _R)},
  'LR': {_C: (_C,), _L: (_L, _R), _R: (_L, _R)},
  'caption': {_C: (_C, _L, _R), _L: (_L, _R), _R: (_L, _R)},
}
# A vocabulary of another language or model knows few of the words.
_MAX_UNKNOWN = 0.5


class SpecialIds(NamedTuple):
  """Ids of the special tokens, and how many ids there are."""

  pad: int
  unk: int
  cls: int
  sep: int
  mask: int
  vocab_size: int


class Words(NamedTuple):
  """A batch of texts.

  Attributes:
    ids: int32 [batch, width], anything behind the text.
    length: int32 [batch].
  """

  ids: tf.Tensor
  length: tf.Tensor


class Layout(NamedTuple):
  """A batch of token sequences.

  Attributes:
    input_ids: int32 [batch, max_seq_length].
    token_type_ids: int32, the same shape: 1 for the second text and its [SEP].
    kind: int32, the same shape: 0 padding, 1 first text, 2 second text, with their special tokens.
    is_word: bool, the same shape: neither special nor padding.
  """

  input_ids: tf.Tensor
  token_type_ids: tf.Tensor
  kind: tf.Tensor
  is_word: tf.Tensor


def special_ids(tokenizer):
  """The `SpecialIds` of an `oscar.Tokenizer`."""
  names = ('pad_id', 'unk_id', 'cls_id', 'sep_id', 'mask_id', 'vocab_size')
  return SpecialIds(*(getattr(tokenizer, name) for name in names))


def tokenize(texts, tokenizer, where='texts'):
  """Token ids of texts, for `TokenTable` or `Words`.

  Args:
    texts: list of str.
    tokenizer: `oscar.Tokenizer`.
    where: what to call the texts in an error.

  Returns:
    (int32 [tokens] of all texts in a row, int64 [texts + 1] where each begins)

  Raises:
    ValueError: over half of the tokens are unknown: the vocabulary is of something else.
  """
  rows = tokenizer.encode_batch(texts)
  starts = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)])
  flat = np.fromiter((i for row in rows for i in row), np.int32, int(starts[-1]))
  unknown = np.mean(flat == tokenizer.unk_id) if len(flat) else 0
  if unknown > _MAX_UNKNOWN:
    raise ValueError(
      f'{where}: the vocabulary does not know {unknown:.0%} of the words; it belongs to another '
      'language or model.'
    )
  return flat, starts


def words(texts, tokenizer):
  """The `Words` of a list of texts."""
  flat, starts = tokenize(texts, tokenizer)
  length = np.diff(starts).astype(np.int32)
  ids = np.zeros([len(texts), max(length, default=0)], np.int32)
  ids[np.arange(ids.shape[1]) < length[:, None]] = flat
  return Words(tf.constant(ids), tf.constant(length))


class TokenTable(NamedTuple):
  """The tokenized texts of a data set, in memory.

  Attributes:
    flat: int32 [tokens], all texts in a row.
    starts: int64 [texts + 1], where each begins.
  """

  flat: tf.Tensor
  starts: tf.Tensor

  @classmethod
  def of(cls, texts, tokenizer, where='texts'):
    """The table of a list of texts."""
    return cls.joined([tokenize(texts, tokenizer, where)])

  @classmethod
  def joined(cls, parts, order=None):
    """The table of what `tokenize` returned in parts; `order`: int [texts], to take them in."""
    flat = np.concatenate([flat for flat, _ in parts])
    length = np.concatenate([np.diff(starts) for _, starts in parts])
    if order is not None:
      starts = np.cumsum(length) - length
      length = length[order]
      ends = np.cumsum(length)
      flat = flat[np.repeat(starts[order] - (ends - length), length) + np.arange(len(flat))]
    starts = np.concatenate([[0], np.cumsum(length)])
    # One more token, so that a gather at the end of an empty last text stays inside.
    return cls(tf.constant(np.append(flat, np.int32(0))), tf.constant(starts))

  def rows(self, index, width):
    """`Words` of the texts number `index` [batch], cut off at `width`."""
    start = tf.gather(self.starts, index)
    length = tf.minimum(tf.gather(self.starts, index + 1) - start, width)
    places = start[:, None] + tf.range(width, dtype=tf.int64)
    ids = tf.gather(self.flat, tf.minimum(places, tf.size(self.flat, tf.int64) - 1))
    return Words(ids, tf.cast(length, tf.int32))


def truncated_lengths(length_a, length_b, limit):
  """Lengths after taking a token off the longer text, of equal ones off b, until they fit.

  Args:
    length_a: int32 [batch].
    length_b: int32 [batch].
    limit: tokens that fit in all.

  Returns:
    (length_a, length_b), int32 [batch]
  """
  kept_a = tf.minimum(length_a, tf.maximum(limit - length_b, (limit + 1) // 2))
  fits = length_a + length_b <= limit
  return tf.where(fits, length_a, kept_a), tf.where(fits, length_b, limit - kept_a)


def pair_layout(text_a, text_b, max_seq_length, special):
  """[CLS] a [SEP] b [SEP], the longer text cut: VQA, GQA, NLVR2, pre-training.

  Args:
    text_a: `Words`.
    text_b: `Words`; where nothing of it is left, the sequence is [CLS] a [SEP].
    max_seq_length: tokens.
    special: `SpecialIds`.

  Returns:
    `Layout`.
  """
  _check_length(max_seq_length, 4)
  length_a, length_b = truncated_lengths(text_a.length, text_b.length, max_seq_length - 3)
  alone = tf.minimum(text_a.length, max_seq_length - 2)
  length_a = tf.where(text_b.length > 0, length_a, alone)
  text_a, text_b = Words(text_a.ids, length_a), Words(text_b.ids, length_b)
  return _lay_out(text_a, text_b, length_b > 0, length_a + 2, max_seq_length, special)


def two_image_layouts(text_a, texts_b, max_seq_length, special, with_tags=True):
  """The `Layout` of the same text with each of several tags in turn: NLVR2's pairs.

  As officially, what one pair cuts off the text stays off in the next.

  Args:
    text_a: `Words`.
    texts_b: a `Words` for each image.
    max_seq_length: tokens.
    special: `SpecialIds`.
    with_tags: False where no image has tags. The text then takes the room of the second [SEP], which
      is otherwise kept free even beside an image whose tags are empty.
  """
  layouts = []
  for text_b in texts_b:
    if with_tags:
      cut, _ = truncated_lengths(text_a.length, text_b.length, max_seq_length - 3)
      text_a = Words(text_a.ids, cut)
    layouts.append(pair_layout(text_a, text_b, max_seq_length, special))
  return layouts


def retrieval_layout(caption, tags, max_seq_length, special):
  """[CLS] caption [SEP] tags [SEP], the tags cut to what the caption leaves: retrieval.

  A caption that fills the sequence leaves no tags (the official code breaks there).
  """
  _check_length(max_seq_length, 3)
  length_a = tf.minimum(caption.length, max_seq_length - 2)
  room = max_seq_length - (length_a + 2) - 1
  has_b = (tags.length > 0) & (room >= 0)
  tags = Words(tags.ids, tf.clip_by_value(tags.length, 0, tf.maximum(room, 0)))
  caption = Words(caption.ids, length_a)
  return _lay_out(caption, tags, has_b, length_a + 2, max_seq_length, special)


def caption_layout(caption, tags, max_seq_a_length, max_seq_length, special):
  """[CLS] caption [SEP], and from `max_seq_a_length` on: tags [SEP]. Captioning.

  Args:
    caption: `Words`.
    tags: `Words`; empty where there are none.
    max_seq_a_length: tokens that the caption may take, with its special ones.
    max_seq_length: tokens in all.
    special: `SpecialIds`.

  Returns:
    `Layout`.
  """
  _check_length(max_seq_a_length, 3)
  _check_length(max_seq_length, max_seq_a_length)
  room = max_seq_length - max_seq_a_length - 1
  caption = Words(caption.ids, tf.minimum(caption.length, max_seq_a_length - 2))
  has_b = (tags.length > 0) & (room >= 0)
  tags = Words(tags.ids, tf.minimum(tags.length, max(room, 0)))
  start = tf.fill(tf.shape(caption.length), max_seq_a_length)
  return _lay_out(caption, tags, has_b, start, max_seq_length, special)


def generation_layout(tags, max_gen_length, max_seq_length, special):
  """The `caption_layout` of captions yet to be written: `max_gen_length` - 2 times [MASK]."""
  batch = tf.shape(tags.length)[0]
  empty = Words(
    tf.fill([batch, max_gen_length], special.mask), tf.fill([batch], max_gen_length - 2)
  )
  return caption_layout(empty, tags, max_gen_length, max_seq_length, special)


def generation_position_ids(max_gen_length, tags_start, max_seq_length):
  """int32 [max_seq_length]: tags keep the positions that they had in training.

  Args:
    max_gen_length: tokens of a generated caption.
    tags_start: where tags began in training: its max_seq_a_length.
    max_seq_length: tokens in all.
  """
  tags = max(tags_start, max_gen_length) + np.arange(max_seq_length - max_gen_length)
  return np.concatenate([np.arange(max_gen_length), tags]).astype(np.int32)


def _check_length(length, least):
  if length < least:
    raise ValueError(f'A sequence of {length} tokens holds no text; expected at least {least}.')


def check_positions(last_position, max_position_embeddings):
  """Raises ValueError if the model has no embedding for a position of the sequences."""
  if last_position >= max_position_embeddings:
    raise ValueError(
      f'Sequences reach position {last_position}, the model embeds {max_position_embeddings} '
      '(max_position_embeddings); lower max_seq_length.'
    )


def _lay_out(text_a, text_b, has_b, start_b, max_seq_length, special):
  """[CLS] a [SEP] at the beginning and, where `has_b`, b [SEP] from `start_b` [batch] on."""
  place = tf.range(max_seq_length)[None]
  end_a, start_b = text_a.length[:, None] + 1, start_b[:, None]
  end_b = start_b + text_b.length[:, None]
  has_b = has_b[:, None]
  in_a = (place > 0) & (place < end_a)
  in_b = has_b & (place >= start_b) & (place < end_b)
  # Later choices win: padding, then b, then a, then the special tokens.
  ids = tf.where(in_b, _shifted(text_b.ids, place - start_b), special.pad)
  ids = tf.where(in_a, _shifted(text_a.ids, place - 1), ids)
  ids = tf.where((place == end_a) | (has_b & (place == end_b)), special.sep, ids)
  ids = tf.where(place == 0, special.cls, ids)
  second = has_b & (place >= start_b) & (place <= end_b)
  kind = tf.where(second, _L, tf.where(place <= end_a, _C, _NONE))
  return Layout(ids, tf.cast(second, tf.int32), kind, in_a | in_b)


def _shifted(ids, place):
  """`ids` [batch, width] at `place` ([batch or 1, n]); anything outside the width."""
  width = tf.shape(ids)[1]
  padded = tf.pad(ids, [[0, 0], [0, 1]])  # So that there is something to take from an empty text.
  place = tf.broadcast_to(place, [tf.shape(ids)[0], tf.shape(place)[1]])
  return tf.gather(padded, tf.clip_by_value(place, 0, width), batch_dims=1)


def pad_regions(regions, max_img_seq_length):
  """One image's regions at a fixed number.

  Args:
    regions: float32 [regions, dim].
    max_img_seq_length: how many to keep or pad to with zeros.

  Returns:
    (float32 [max_img_seq_length, dim], int32: how many are real)
  """
  kept = regions[:max_img_seq_length]
  count = tf.shape(kept)[0]
  padded = tf.pad(kept, [[0, max_img_seq_length - count], [0, 0]])
  return tf.ensure_shape(padded, [max_img_seq_length, regions.shape[1]]), count


def model_inputs(layout, img_feats, num_regions, attention='CLR'):
  """The inputs of an OSCAR model.

  Args:
    layout: `Layout`.
    img_feats: float32 [batch, regions, dim], padded.
    num_regions: int32 [batch], how many regions are real.
    attention: 'CLR': all that is there sees all that is there (a 2-D mask); 'CL', 'CR', 'LR': only
      these two see each other, of caption, labels and regions; 'caption': a caption token sees the
      caption up to itself, labels and regions, and these see each other but no caption.

  Returns:
    {'input_ids', 'token_type_ids', 'attention_mask', 'img_feats'}; the mask is int32
    [batch, S + R], or [batch, S + R, S + R] with a row for each that asks.

  Raises:
    ValueError: unknown attention.
  """
  check_name('attention', attention, _SEES)
  regions = tf.range(tf.shape(img_feats)[1])[None] < num_regions[:, None]
  kind = tf.concat([layout.kind, tf.where(regions, _R, _NONE)], axis=1)
  if attention == 'CLR':
    mask = tf.cast(kind != _NONE, tf.int32)
  else:
    mask = _attention_mask(kind, attention)
  return {
    'input_ids': layout.input_ids,
    'token_type_ids': layout.token_type_ids,
    'attention_mask': mask,
    'img_feats': img_feats,
  }


def _attention_mask(kind, attention):
  """int32 [batch, n, n] from the kinds [batch, n] of the positions."""
  sees = np.zeros([4, 4], np.int32)
  for asking, seen in _SEES[attention].items():
    sees[asking, list(seen)] = 1
  # [batch, n asking, n seen]
  mask = tf.gather(tf.gather(sees, kind), kind, axis=2, batch_dims=1)
  if attention == 'caption':
    n = tf.shape(kind)[1]
    later = tf.range(n)[None, :] > tf.range(n)[:, None]
    both = (kind[:, :, None] == _C) & (kind[:, None, :] == _C)
    mask = tf.where(both & later, 0, mask)
  return mask
