"""Texts as token ids: batches, and a table of all texts of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import tensorflow as tf

_MAX_UNKNOWN = 0.5  # Above this share of [UNK] the vocabulary is taken for a wrong one.


class Tokenizer(Protocol):
  """The part of `oscar.Tokenizer` that is used here."""

  pad_id: int
  unk_id: int
  cls_id: int
  sep_id: int
  mask_id: int

  @property
  def vocab_size(self) -> int:
    """Returns the number of ids."""
    ...

  def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
    """Returns the token ids of each text."""
    ...


class SpecialIds(NamedTuple):
  """Ids of the special tokens, and the size of the vocabulary."""

  pad: int
  unk: int
  cls: int
  sep: int
  mask: int
  vocab_size: int


class Words(NamedTuple):
  """A batch of texts.

  Attributes:
    ids: int32 [batch, width]; arbitrary after the end of a text.
    length: int32 [batch].
  """

  ids: tf.Tensor
  length: tf.Tensor


def special_ids(tokenizer: Tokenizer) -> SpecialIds:
  """Returns the `SpecialIds` of a tokenizer."""
  names = ('pad_id', 'unk_id', 'cls_id', 'sep_id', 'mask_id', 'vocab_size')
  return SpecialIds(*(getattr(tokenizer, name) for name in names))


def tokenize(
  texts: Sequence[str], tokenizer: Tokenizer, where: str = 'texts'
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the token ids of texts, for `TokenTable` or `Words`.

  Args:
    texts: the texts.
    tokenizer: the tokenizer.
    where: name of the texts in an error.

  Returns:
    (int32 [tokens] of all texts in a row, int64 [texts + 1] where each begins).

  Raises:
    ValueError: over half of the tokens are unknown: the vocabulary belongs to another model.
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


def words(texts: Sequence[str], tokenizer: Tokenizer) -> Words:
  """Returns the `Words` of a list of texts."""
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
  def of(cls, texts: Sequence[str], tokenizer: Tokenizer, where: str = 'texts') -> TokenTable:
    """Returns the table of a list of texts; arguments and errors as for `tokenize`."""
    return cls.joined([tokenize(texts, tokenizer, where)])

  @classmethod
  def joined(cls, parts: Sequence[tuple], order: np.ndarray | None = None) -> TokenTable:
    """Joins results of `tokenize` into a table.

    Args:
      parts: the results.
      order: int [texts], the order in which to take the texts; None keeps theirs.
    """
    flat = np.concatenate([flat for flat, _ in parts])
    length = np.concatenate([np.diff(starts) for _, starts in parts])
    if order is not None:
      starts = np.cumsum(length) - length
      length = length[order]
      ends = np.cumsum(length)
      flat = flat[np.repeat(starts[order] - (ends - length), length) + np.arange(len(flat))]
    starts = np.concatenate([[0], np.cumsum(length)])
    # One more token keeps a gather at the end of an empty last text inside.
    return cls(tf.constant(np.append(flat, np.int32(0))), tf.constant(starts))

  def rows(self, index: tf.Tensor, width: int) -> Words:
    """Returns the `Words` of the texts numbered `index`, int64 [batch], cut off at `width`."""
    start = tf.gather(self.starts, index)
    length = tf.minimum(tf.gather(self.starts, index + 1) - start, width)
    places = start[:, None] + tf.range(width, dtype=tf.int64)
    ids = tf.gather(self.flat, tf.minimum(places, tf.size(self.flat, tf.int64) - 1))
    return Words(ids, tf.cast(length, tf.int32))
