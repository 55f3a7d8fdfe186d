"""Builds model inputs from words, tags and regions: token sequences and attention masks.

All functions work on a batch at once and are deterministic; `masking.py` holds the random part.
A text is a `texts.Words`: ids and their number, without special tokens. The steps are

    layout = pair_layout(text_a, text_b, max_seq_length, special)     # or one of its siblings
    inputs = model_inputs(layout, img_feats, num_regions, attention='CLR')

Source: microsoft/Oscar, `convert_example_to_features` of oscar/datasets/oscar_tsv.py,
`tensorize_example` of the run_*.py scripts, `CaptionTensorizer` of oscar/run_captioning.py.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from oscar.input.texts import SpecialIds, Words
from tpu_utils.names import check_name

# Kinds of positions; a question counts as caption, tags are labels.
PADDING, CAPTION, LABEL, REGION = range(4)
# attention -> {kind of the query: kinds of the keys it attends to}; in 'caption', a caption token
# attends only to the caption tokens before it and itself.
ATTENDS_TO = {
  'CLR': {kind: (CAPTION, LABEL, REGION) for kind in (CAPTION, LABEL, REGION)},
  'CL': {CAPTION: (CAPTION, LABEL), LABEL: (CAPTION, LABEL), REGION: (REGION,)},
  'CR': {CAPTION: (CAPTION, REGION), LABEL: (LABEL,), REGION: (CAPTION, REGION)},
  'LR': {CAPTION: (CAPTION,), LABEL: (LABEL, REGION), REGION: (LABEL, REGION)},
  'caption': {
    CAPTION: (CAPTION, LABEL, REGION), LABEL: (LABEL, REGION), REGION: (LABEL, REGION),
  },
}  # fmt: skip


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


def truncated_lengths(
  length_a: tf.Tensor, length_b: tf.Tensor, limit: int
) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns the lengths after removing tokens one by one from the longer text until both fit.

  Of two texts of equal length, b loses the token.

  Args:
    length_a: int32 [batch].
    length_b: int32 [batch].
    limit: tokens that fit in all.

  Returns:
    (length_a, length_b), int32 [batch].
  """
  kept_a = tf.minimum(length_a, tf.maximum(limit - length_b, (limit + 1) // 2))
  fits = length_a + length_b <= limit
  return tf.where(fits, length_a, kept_a), tf.where(fits, length_b, limit - kept_a)


def pair_layout(
  text_a: Words, text_b: Words, max_seq_length: int, special: SpecialIds
) -> Layout:
  """Lays out [CLS] a [SEP] b [SEP], the longer text cut: VQA, GQA, NLVR2, pre-training.

  Args:
    text_a: the first texts.
    text_b: the second texts; where one is empty, the sequence is [CLS] a [SEP].
    max_seq_length: tokens.
    special: ids of the special tokens.

  Raises:
    ValueError: `max_seq_length` leaves no room for text.
  """
  _check_length(max_seq_length, 4)
  length_a, length_b = truncated_lengths(text_a.length, text_b.length, max_seq_length - 3)
  alone = tf.minimum(text_a.length, max_seq_length - 2)
  length_a = tf.where(text_b.length > 0, length_a, alone)
  text_a, text_b = Words(text_a.ids, length_a), Words(text_b.ids, length_b)
  return _lay_out(text_a, text_b, length_b > 0, length_a + 2, max_seq_length, special)


def two_image_layouts(
  text_a: Words,
  texts_b: Sequence[Words],
  max_seq_length: int,
  special: SpecialIds,
  with_tags: bool = True,
) -> list[Layout]:
  """Returns the `Layout` of the same text with the tags of each image: NLVR2's pairs.

  As officially, tokens that one pair cuts off the text are missing from the next pair too.

  Args:
    text_a: the statements.
    texts_b: the tags, one `Words` for each image of a pair, or one for both in one sequence.
    max_seq_length: tokens.
    special: ids of the special tokens.
    with_tags: False where no image has tags. The text then takes the room of the second [SEP],
      which is otherwise kept free even if the tags of an image are empty.
  """
  layouts = []
  for text_b in texts_b:
    if with_tags:
      cut, _ = truncated_lengths(text_a.length, text_b.length, max_seq_length - 3)
      text_a = Words(text_a.ids, cut)
    layouts.append(pair_layout(text_a, text_b, max_seq_length, special))
  return layouts


def retrieval_layout(
  caption: Words, tags: Words, max_seq_length: int, special: SpecialIds
) -> Layout:
  """Lays out [CLS] caption [SEP] tags [SEP], the tags cut to the room left: retrieval.

  A caption that fills the sequence leaves no room for tags (the official code fails there).
  """
  _check_length(max_seq_length, 3)
  length_a = tf.minimum(caption.length, max_seq_length - 2)
  room = max_seq_length - (length_a + 2) - 1
  has_b = (tags.length > 0) & (room >= 0)
  tags = Words(tags.ids, tf.clip_by_value(tags.length, 0, tf.maximum(room, 0)))
  caption = Words(caption.ids, length_a)
  return _lay_out(caption, tags, has_b, length_a + 2, max_seq_length, special)


def caption_layout(
  caption: Words, tags: Words, max_seq_a_length: int, max_seq_length: int, special: SpecialIds
) -> Layout:
  """Lays out [CLS] caption [SEP] and, from `max_seq_a_length` on, tags [SEP]: captioning.

  Args:
    caption: the captions.
    tags: the tags; empty for images without.
    max_seq_a_length: tokens that the caption may take, with its special ones.
    max_seq_length: tokens in all.
    special: ids of the special tokens.

  Raises:
    ValueError: `max_seq_length` leaves no room for text.
  """
  _check_length(max_seq_a_length, 3)
  return _caption_layout(caption, tags, max_seq_a_length, max_seq_length, special)


def _caption_layout(caption, tags, max_seq_a_length, max_seq_length, special):
  _check_length(max_seq_length, max_seq_a_length)
  room = max_seq_length - max_seq_a_length - 1
  caption = Words(caption.ids, tf.minimum(caption.length, max_seq_a_length - 2))
  has_b = (tags.length > 0) & (room >= 0)
  tags = Words(tags.ids, tf.minimum(tags.length, max(room, 0)))
  start = tf.fill(tf.shape(caption.length), max_seq_a_length)
  return _lay_out(caption, tags, has_b, start, max_seq_length, special)


def generation_layout(
  tags: Words, max_gen_length: int, max_seq_length: int, special: SpecialIds
) -> Layout:
  """Returns the `caption_layout` of captions to generate: `max_gen_length` - 2 times [MASK]."""
  batch = tf.shape(tags.length)[0]
  empty = Words(
    tf.fill([batch, max_gen_length], special.mask), tf.fill([batch], max_gen_length - 2)
  )
  # Captions of two tokens, a word and [SEP] or [CLS] and a word, have a layout here alone.
  return _caption_layout(empty, tags, max_gen_length, max_seq_length, special)


def generation_position_ids(
  max_gen_length: int, tags_start: int, max_seq_length: int
) -> np.ndarray:
  """Returns the position ids of generation: tags keep the positions that they had in training.

  Args:
    max_gen_length: tokens of a generated caption.
    tags_start: position of the first tag in training: its max_seq_a_length.
    max_seq_length: tokens in all.

  Returns:
    int32 [max_seq_length].
  """
  tags = max(tags_start, max_gen_length) + np.arange(max_seq_length - max_gen_length)
  return np.concatenate([np.arange(max_gen_length), tags]).astype(np.int32)


def _check_length(length, least):
  if length < least:
    raise ValueError(f'A sequence of {length} tokens holds no text; expected at least {least}.')


def check_positions(
  last_position: int, max_position_embeddings: int, setting: str = 'max_seq_length'
) -> None:
  """Checks that the model embeds all positions of the sequences.

  Args:
    last_position: of the sequences, from 0.
    max_position_embeddings: of the model.
    setting: what to lower, for the error.

  Raises:
    ValueError: it does not.
  """
  if last_position >= max_position_embeddings:
    raise ValueError(
      f'Sequences reach position {last_position}, the model embeds {max_position_embeddings} '
      f'(max_position_embeddings); lower {setting}.'
    )


def _lay_out(text_a, text_b, has_b, start_b, max_seq_length, special):
  """Lays out [CLS] a [SEP] at the beginning and, where `has_b`, b [SEP] from `start_b` [batch]."""
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
  kind = tf.where(second, LABEL, tf.where(place <= end_a, CAPTION, PADDING))
  return Layout(ids, tf.cast(second, tf.int32), kind, in_a | in_b)


def _shifted(ids, place):
  """Takes `ids` [batch, width] at `place` [batch or 1, n]; places outside the width give any id."""
  width = tf.shape(ids)[1]
  padded = tf.pad(ids, [[0, 0], [0, 1]])  # An empty text needs an id to take, too.
  place = tf.broadcast_to(place, [tf.shape(ids)[0], tf.shape(place)[1]])
  return tf.gather(padded, tf.clip_by_value(place, 0, width), batch_dims=1)


def model_inputs(
  layout: Layout, img_feats: tf.Tensor, num_regions: tf.Tensor, attention: str = 'CLR'
) -> dict[str, tf.Tensor]:
  """Returns the inputs of an OSCAR model.

  Args:
    layout: the token sequences.
    img_feats: float32 [batch, regions, dim], padded.
    num_regions: int32 [batch], regions that are not padding.
    attention: 'CLR': all positions attend to all but padding (a 2-D mask); 'CL', 'CR', 'LR': of
      caption, labels and regions only these two attend to each other; 'caption': a caption token
      attends to the caption up to itself, labels and regions; labels and regions attend to each
      other but not to the caption.

  Returns:
    {'input_ids', 'token_type_ids', 'attention_mask', 'img_feats'}; the mask is int32
    [batch, S + R], or [batch, S + R, S + R] with a row for each query.

  Raises:
    ValueError: `attention` is unknown.
  """
  check_name('attention', attention, ATTENDS_TO)
  regions = tf.range(tf.shape(img_feats)[1])[None] < num_regions[:, None]
  kind = tf.concat([layout.kind, tf.where(regions, REGION, PADDING)], axis=1)
  if attention == 'CLR':
    mask = tf.cast(kind != PADDING, tf.int32)
  else:
    mask = _attention_mask(kind, attention)
  return {
    'input_ids': layout.input_ids,
    'token_type_ids': layout.token_type_ids,
    'attention_mask': mask,
    'img_feats': img_feats,
  }


def _attention_mask(kind, attention):
  """Returns int32 [batch, n, n] for the kinds [batch, n] of the positions."""
  attends = np.zeros([4, 4], np.int32)
  for query, keys in ATTENDS_TO[attention].items():
    attends[query, list(keys)] = 1
  # [batch, n queries, n keys]
  mask = tf.gather(tf.gather(attends, kind), kind, axis=2, batch_dims=1)
  if attention == 'caption':
    n = tf.shape(kind)[1]
    later = tf.range(n)[None, :] > tf.range(n)[:, None]
    both = (kind[:, :, None] == CAPTION) & (kind[:, None, :] == CAPTION)
    mask = tf.where(both & later, 0, mask)
  return mask
