"""The input of retrieval: each caption with its image, and a wrong pair, as batches.

Source: microsoft/Oscar, `RetrievalDataset` of oscar/run_retrieval.py.
"""

import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from oscar.datasets import features, tags
from oscar.datasets.coco_retrieval import CocoRetrieval
from oscar.input import layouts, negatives, official_records, record_input, texts, trimming
from tpu_utils import local_copies

_FIELD = 'regions'
_GIB = 2**30
_OF_TEXT = 3 / 4  # Bytes of features a byte of base64.


class RetrievalInput(record_input.RecordInput):
  """Batches of right and wrong pairs from the official files.

  Args:
    open_reader: function(split) -> `CocoRetrieval`.
    tokenizer: `oscar.Tokenizer`.
    max_seq_length: tokens of caption and tags.
    captions_per_image: captions of each image in training; in evaluation, at most.
    with_tags: whether the model gets the tags.
    choose_tags: see `tags.chooser`.
    attention: as for `layouts.model_inputs`.
    trim: whether batches lose the padding that all their rows share; only with attention 'CLR'.
    region_memory: GiB of memory that the training regions may take. If they take less, a wrong
      image is any other one, as officially. Otherwise it is another one of the window that is read
      and shuffled together (512 images by default).
    region_dim: numbers in a region.
    log: called with a line that says which of both holds; None for silence.
    **settings: batch sizes, splits, regions, seed and window, as for `RecordInput`.

  An example is a caption with its image. The batches have two rows for each, first the right pair
  and then a wrong one: half of them with the caption of another image, half with another image and
  its tags; in evaluation always the former, and of a single image the right pairs alone count. They
  hold the model's inputs and 'labels' int32 [2 batch], 1 for right pairs. Draws depend only on seed
  and position, so a resumed job gets the same pairs.

  Raises (also the methods):
    ValueError: bad data; one line that names the file and, if one row is wrong, the row.
  """

  def __init__(
    self,
    open_reader: Callable[[str], CocoRetrieval],
    tokenizer: texts.Tokenizer,
    *,
    max_seq_length: int,
    captions_per_image: int = 5,
    with_tags: bool = True,
    choose_tags: tags.Chooser | None = None,
    attention: str = 'CLR',
    trim: bool = False,
    region_memory: float = 4.0,
    region_dim: int = features.REGION_DIM,
    log: Callable[[str], object] | None = None,
    **settings: Any,
  ) -> None:
    super().__init__(**settings)
    self.reader, self._tokenizer = open_reader, tokenizer
    self._max_seq_length, self._captions_per_image = max_seq_length, captions_per_image
    self._with_tags, self._attention = with_tags, attention
    self._choose_tags = choose_tags
    self._trim = trim and attention == 'CLR'  # The other masks have a row for each position.
    self._region_memory, self._region_dim = region_memory, region_dim
    self._log = log or (lambda line: None)

  def open_split(self, name: str) -> record_input.Split:
    """Opens a split; see `RecordInput`."""
    reader, trains = self.reader(name), name == self.train_split
    if len(reader.image_ids) < 1 + trains:
      raise ValueError(
        f'{reader.path} has {len(reader.image_ids)} images; '
        f'{"wrong pairs need at least two" if trains else "expected at least one"}.'
      )
    count = self._captions_per_image
    if not trains:
      count = max(1, min(count, *(len(reader.captions[key]) for key in reader.image_ids)))
    pairs = reader.own_pairs(count)
    images, order, counts = official_records.grouped(
      [(pair.image_id,) for pair in pairs], reader.regions
    )
    keys = [key for (key,) in images]
    held = self._held(reader.regions, keys) if trains else None
    records = official_records.OfficialRecords(
      reader.regions if held is None else held, {_FIELD: images}, self._region_dim
    )
    captions = [
      reader.captions[pair.image_id][pair.caption_index] for pair in (pairs[i] for i in order)
    ]
    own_tags = None
    if self._with_tags:
      own_tags = tags.of_rows(self._choose_tags, keys, [reader.tags(key) for key in keys])
    make_batch = self._batch_maker(captions, own_tags, keys, count, held, reader.path)
    partner = _other_in_window if trains and held is None else None
    return record_input.Split(records, counts, make_batch, negatives.DRAWS, partner)

  def _held(self, regions, keys):
    """Returns the regions of a split in memory, or None if they may not fit; says which."""
    numbers = len(keys) * self.max_img_seq_length * self._region_dim * 4
    # The file may hold other splits, too, so this is an upper limit, as the other number is.
    with local_copies.local_copy(regions.path) as place:
      limit = min(numbers, os.path.getsize(place) * _OF_TEXT)
    if limit > self._region_memory * _GIB:
      self._log(
        f'Regions of {len(keys):,} images take up to {limit / _GIB:.2f} GiB, more than '
        f'--region_memory={self._region_memory:g}: wrong images come from the '
        f'{min(len(keys), self._window * record_input.BLOCK)} that are read together, wrong '
        'captions from all images.'
      )
      return None
    held = negatives.HeldRegions(regions, keys, self.max_img_seq_length)
    self._log(
      f'Regions of {len(keys):,} images in memory ({held.size / _GIB:.2f} GiB): wrong images and '
      'captions come from all images.'
    )
    return held

  def _batch_maker(self, captions, own_tags, keys, count, held, path):
    """Returns `Split.make_batch` for captions in record order, `count` of each image."""
    caption_table = texts.TokenTable.of(captions, self._tokenizer, path)
    tag_table = None
    if own_tags is not None:
      tag_table = texts.TokenTable.of(own_tags, self._tokenizer, f'tags of {path}')
    special, length = texts.special_ids(self._tokenizer), self._max_seq_length

    def make_batch(rows):
      own = rows.example // count
      other = rows.partner
      if other is None and held is None:
        other = own  # Evaluation: the caption is wrong.
      wrong = negatives.choose(rows.example, rows.draws, len(keys), count, other)
      own_regions = rows.regions[_FIELD]
      if held is not None:
        wrong_regions = self._regions_of(wrong.image, held, keys)
      elif rows.partner is not None:
        wrong_regions = _where(wrong.is_caption, own_regions, rows.regions[f'other_{_FIELD}'])
      else:
        wrong_regions = own_regions
      caption = _alternating(rows.example, wrong.caption)
      image = _alternating(own, wrong.image)
      words = caption_table.rows(caption, length)
      second = texts.Words(words.ids, tf.zeros_like(words.length))
      if tag_table is not None:
        second = tag_table.rows(image, length)
      layout = layouts.retrieval_layout(words, second, length, special)
      regions = (_alternating(*pair) for pair in zip(own_regions, wrong_regions, strict=True))
      batch = layouts.model_inputs(layout, *regions, self._attention)
      is_right = tf.ones_like(own, tf.int32)
      return batch | {'labels': _alternating(is_right, 1 - is_right)}

    return make_batch

  def _regions_of(self, image, held, keys):
    """Returns the padded regions of images [batch] that are in memory, and their numbers."""

    def read(numbers):
      chosen = [held[keys[number]] for number in numbers]
      return negatives.padded(chosen, self.max_img_seq_length, self._region_dim)

    regions, counts = tf.numpy_function(read, [image], [tf.float32, tf.int32], stateful=False)
    shape = [image.shape[0], self.max_img_seq_length, self._region_dim]
    return tf.ensure_shape(regions, shape), tf.ensure_shape(counts, shape[:1])

  def _finish(self, dataset, split, start, batch_size, context, weighted=False):
    dataset = super()._finish(dataset, split, start, batch_size, context, weighted)
    if weighted:
      has_wrong = float(len(split.records) > 1)  # A single image has no wrong caption.

      def weigh(batch):
        weights = batch['weights'][:, None] * tf.constant([[1.0, has_wrong]])
        return batch | {'weights': tf.reshape(weights, [-1])}

      dataset = dataset.map(weigh)
    if self._trim:
      dataset = trimming.trimmed_batches(dataset, context, evaluation=weighted)
    return dataset

  def explain(self, error: Exception) -> ValueError | None:
    """Finds the damaged image that caused an error of a dataset; see `RecordInput`."""
    return official_records.failure(self._splits.values()) or super().explain(error)


def _other_in_window(draws, slot, images):
  """Chooses the wrong image of each example; see `record_input.Split.partner`."""
  return negatives.other_than(slot, draws[:, 0], images)


def _alternating(first, second):
  """Returns [2 batch, ...]: the rows of two tensors [batch, ...] in turn."""
  return tf.reshape(
    tf.stack([first, second], axis=1), [2 * first.shape[0], *first.shape[1:]]
  )


def _where(chosen, first, second):
  """Returns (regions, counts) of `first` in the rows that are chosen, else of `second`."""
  return (
    tf.where(chosen[:, None, None], first[0], second[0]), tf.where(chosen, first[1], second[1])
  )  # fmt: skip
