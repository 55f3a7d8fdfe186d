"""Scores of many pairs of image and text, in batches of few sizes, on any strategy."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from oscar.input import layouts, negatives, texts
from oscar.modeling import OscarModel
from tpu_utils.rows import replica_rows

_TEXT_SIZES, _REGION_SIZES = 5, 2  # Numbers of lengths, evenly spaced: each is compiled.


class Images(NamedTuple):
  """The images of a chunk, as the scorer takes them.

  Attributes:
    regions: float32 [images, max_img_seq_length, dim], padded.
    counts: int32 [images], how many regions are not padding.
    tags: token ids of each image's tags; empty lists for none.
  """

  regions: np.ndarray
  counts: np.ndarray
  tags: list[list[int]]


class PairScorer:
  """Scores pairs of image and text with a retrieval model.

  The regions of a chunk of images are sent to the devices once, and pairs refer to them by number.
  Pairs of similar length share a batch, without the padding that all its rows share; so the model
  is traced for few sizes only, once in the life of the scorer.

      scorer = PairScorer(model, tokenizer, max_seq_length=70, max_img_seq_length=50)
      scores = scorer.matrix(regions, tags, captions)  # [images, captions]

  Args:
    model: a model for 'retrieval', built in the strategy's scope.
    tokenizer: `oscar.Tokenizer`.
    max_seq_length: tokens of text and tags.
    max_img_seq_length: regions of an image; further ones are cut off.
    attention: as for `layouts.model_inputs`.
    batch_size: pairs in a batch, over all replicas.
    strategy: the strategy; None for the default one.

  Raises:
    ValueError: `batch_size` does not divide among the replicas.
  """

  def __init__(
    self,
    model: OscarModel,
    tokenizer: texts.Tokenizer,
    *,
    max_seq_length: int,
    max_img_seq_length: int,
    attention: str = 'CLR',
    batch_size: int = 64,
    strategy: tf.distribute.Strategy | None = None,
  ) -> None:
    self._strategy = strategy or tf.distribute.get_strategy()
    replicas = self._strategy.num_replicas_in_sync
    if batch_size % replicas:
      raise ValueError(f'batch_size={batch_size} does not divide among {replicas} replicas.')
    self._model, self._tokenizer = model, tokenizer
    self._special = texts.special_ids(tokenizer)
    self._max_seq_length, self._max_img_seq_length = max_seq_length, max_img_seq_length
    self._attention, self._per_replica = attention, batch_size // replicas
    self._steps: dict[tuple[int, int], Callable] = {}  # By length of texts and number of regions.

  def matrix(
    self,
    regions: Sequence[np.ndarray],
    tags: Sequence[str] | None,
    captions: Sequence[str],
  ) -> np.ndarray:
    """Scores every image with every text.

    Args:
      regions: float32 [regions, dim] of each image.
      tags: text of each image's tags; None for a model without.
      captions: the texts.

    Returns:
      float32 [images, captions]: the probability that they match, or, for a model with one label,
      its output.
    """
    places = np.indices([len(regions), len(captions)]).reshape(2, -1)
    scores = self.score(self.images(regions, tags), self.encode(captions), *places)
    return scores.reshape(len(regions), len(captions))

  def images(self, regions: Sequence[np.ndarray], tags: Sequence[str] | None = None) -> Images:
    """Returns images for `score`; arguments as for `matrix`."""
    dim = self._model.config.img_feature_dim
    padded = negatives.padded(regions, self._max_img_seq_length, dim)
    return Images(*padded, self.encode(tags) if tags is not None else [[] for _ in regions])

  def encode(self, captions: Sequence[str]) -> list[list[int]]:
    """Returns the token ids of texts, for `score`."""
    return self._tokenizer.encode_batch(list(captions))

  def score(
    self,
    images: Images,
    captions: Sequence[Sequence[int]],
    image: np.ndarray,
    caption: np.ndarray,
    progress: Callable[[int], object] | None = None,
  ) -> np.ndarray:
    """Scores pairs.

    Args:
      images: from `images`.
      captions: from `encode`.
      image: int [pairs], the image of each pair.
      caption: int [pairs], its text.
      progress: called with the number of pairs done; None for nobody.

    Returns:
      float32 [pairs]; see `matrix`.
    """
    words, tags = _Padded.of(captions), _Padded.of(images.tags)
    text_size = self._text_sizes(words.lengths[caption], tags.lengths[image])
    region_size = _rounded(images.counts[image], self._max_img_seq_length, _REGION_SIZES)
    found = np.zeros([len(image)], np.float32)
    on_devices = self._on_devices(images.regions), self._on_devices(images.counts)
    done, batch_size = 0, self._per_replica * self._strategy.num_replicas_in_sync
    for sizes in sorted({*zip(text_size.tolist(), region_size.tolist(), strict=True)}):
      group = np.flatnonzero((text_size == sizes[0]) & (region_size == sizes[1]))
      for start in range(0, len(group), batch_size):
        pairs = group[start : start + batch_size]
        filled = np.resize(pairs, batch_size)  # Repeats pairs to fill the last batch.
        rows = (
          image[filled].astype(np.int32), *words.rows(caption[filled], sizes[0]),
          *tags.rows(image[filled], sizes[0]),
        )  # fmt: skip
        scores = self._run(on_devices, rows, sizes)
        found[pairs] = scores[: len(pairs)]
        done += len(pairs)
        if progress is not None:
          progress(done)
    return found

  def _text_sizes(self, words, tags):
    """Returns the length of each sequence, as `retrieval_layout` lays it out, rounded up."""
    limit = self._max_seq_length
    length = np.minimum(words, limit - 2) + 2
    room = limit - length - 1
    length = length + np.where((tags > 0) & (room >= 0), np.minimum(tags, room) + 1, 0)
    return _rounded(length, limit, _TEXT_SIZES)

  def _on_devices(self, value):
    # A power of two of images, so that the last chunk is mostly no other signature.
    rest = (1 << (len(value) - 1).bit_length()) - len(value)
    value = np.pad(value, [(0, rest)] + [(0, 0)] * (value.ndim - 1))
    return self._strategy.experimental_distribute_values_from_function(
      lambda context: tf.constant(value)
    )

  def _run(self, images, rows, sizes):
    """Returns the scores of a batch, float32 [batch], on every worker."""
    each = self._per_replica

    def own(context):
      start = context.replica_id_in_sync_group * each
      return tuple(tf.constant(row[start : start + each]) for row in rows)

    parts = self._strategy.experimental_distribute_values_from_function(own)
    if sizes not in self._steps:
      # No control flow over tensors, for which AutoGraph would search.
      self._steps[sizes] = tf.function(functools.partial(self._replicas, *sizes), autograph=False)
    result = self._steps[sizes](images, parts)
    local = self._strategy.experimental_local_results(result)
    # Across processes each replica has the scores of all.
    scores = [part.numpy() for part in local]
    return scores[0] if len(scores[0]) > each else np.concatenate(scores)

  def _replicas(self, text_size, region_size, images, rows):
    return self._strategy.run(
      lambda images, rows: self._score(images, rows, text_size, region_size), (images, rows)
    )

  def _score(self, images, rows, text_size, region_size):
    """Returns the scores of this replica's rows, [rows] (replica context)."""
    regions, counts = images
    image, words, word_counts, tags, tag_counts = rows
    length, words = self._max_seq_length, texts.Words(words, word_counts)
    layout = layouts.retrieval_layout(words, texts.Words(tags, tag_counts), length, self._special)
    batch = layouts.model_inputs(
      layout, tf.gather(regions[:, :region_size], image), tf.gather(counts, image), self._attention
    )
    mask = batch['attention_mask']
    kept = [*range(text_size), *range(length, length + region_size)]
    for axis in range(1, len(mask.shape)):
      mask = tf.gather(mask, kept, axis=axis)
    batch |= {name: batch[name][:, :text_size] for name in ('input_ids', 'token_type_ids')}
    outputs = self._model({**batch, 'attention_mask': mask}, training=False)
    scores = scores_of(outputs['logits'])
    return replica_rows(self._strategy, {'score': scores}, None)['score']


def scores_of(logits: tf.Tensor) -> tf.Tensor:
  """Returns float32 [batch]: the probability of a match, or the output of a model with one label.

  Args:
    logits: [batch, 2] or [batch, 1].
  """
  logits = tf.cast(logits, tf.float32)
  return logits[:, 0] if logits.shape[-1] == 1 else tf.nn.softmax(logits)[:, 1]


class _Padded(NamedTuple):
  """Token ids of texts: int32 [texts, width], and their lengths, int32 [texts]."""

  ids: np.ndarray
  lengths: np.ndarray

  @classmethod
  def of(cls, token_ids):
    lengths = np.array([len(row) for row in token_ids], np.int32)
    ids = np.zeros([len(token_ids), max(1, lengths.max(initial=0))], np.int32)
    ids[np.arange(ids.shape[1]) < lengths[:, None]] = [i for row in token_ids for i in row]
    return cls(ids, lengths)

  def rows(self, index, width):
    """Returns (ids [rows, width], lengths [rows]) of the texts `index`, cut off at `width`."""
    ids = np.zeros([len(index), width], np.int32)
    kept = min(width, self.ids.shape[1])
    ids[:, :kept] = self.ids[index, :kept]
    return ids, np.minimum(self.lengths[index], width)


def _rounded(lengths, limit, sizes):
  """Returns the smallest of `sizes` evenly spaced lengths up to `limit` that holds each."""
  step = -(-limit // sizes)
  return np.minimum(np.maximum(1, -(-lengths // step)) * step, limit).astype(np.int64)
