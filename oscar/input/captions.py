"""The input of captioning: captions with masked words for training, images for generation.

Source: microsoft/Oscar, `CaptionTSVDataset` and `CaptionTensorizer` of oscar/run_captioning.py.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from oscar.datasets import coco_caption, features, tags
from oscar.input import layouts, masking, official_records, record_input, texts


class CaptionInput:
  """Batches of captions to train on and of images to write captions for.

  Both hold the model's inputs with the attention 'caption', in which a word attends to the words
  before it, tags and regions. Training batches have an example for each caption, and also
  'masked_positions' int32 [batch, max_masked_tokens], the places of the masked words, padded with
  0; and 'masked_ids', the same shape, the words there, padded with [PAD]. Evaluation batches have
  an example for each image, whether it has captions or not, with [MASK]s in place of a caption;
  'row' int64 [batch], the place of the image in its file; 'weights' float32 [batch]; and
  'masked_positions' int32 [batch, 1], zeros, since words are predicted by generation alone. With
  `self_critical` training batches are the same, but without 'weights', and of the images that have
  captions.

  Args:
    open_captions: function(split) -> `CocoCaption`.
    tokenizer: `oscar.Tokenizer`.
    max_seq_length: tokens of caption and tags in training.
    max_seq_a_length: tokens that a caption may take in training; tags begin there.
    max_gen_length: tokens of a generated caption. Tags follow it, as many as in training.
    with_tags: whether the model gets the tags; without, `max_seq_length` is not needed: what it has
      beyond `max_seq_a_length` would be padding, which no token attends to.
    choose_tags: see `tags.chooser`.
    self_critical: whether captions to train on are drawn from the model, not read.
    mask_prob: share of a caption's tokens that is masked.
    max_masked_tokens: upper limit of the masked tokens of a caption.
    region_dim: numbers in a region.
    train_split: name of the split to train on.
    eval_split: name of the split to write captions for; it may be the same.
    **settings: batch sizes, regions, seed and window, as for `RecordInput`.

  Raises (also the methods):
    ValueError: bad data or lengths; one line that names the file and, if one row is wrong, the row.
  """

  def __init__(
    self,
    open_captions: Callable[[str], coco_caption.CocoCaption],
    tokenizer: texts.Tokenizer,
    *,
    max_seq_length: int,
    max_seq_a_length: int,
    max_gen_length: int,
    with_tags: bool = True,
    choose_tags: tags.Chooser | None = None,
    self_critical: bool = False,
    mask_prob: float = masking.MASK_PROB,
    max_masked_tokens: int = 3,
    region_dim: int = features.REGION_DIM,
    train_split: str = 'train',
    eval_split: str = 'val',
    **settings: Any,
  ) -> None:
    _check_lengths(max_seq_length, max_seq_a_length, with_tags)
    if not with_tags:
      max_seq_length = max_seq_a_length
    self.open_captions, self.tokenizer, self.eval_split = open_captions, tokenizer, eval_split
    parts = (open_captions, tokenizer, region_dim, with_tags, choose_tags)
    self.train_split = train_split
    length = max_gen_length + max_seq_length - max_seq_a_length
    self._training: _FromFiles
    if self_critical:
      self._training = _Images(
        parts, length, max_gen_length, captioned=True, train_split=train_split, **settings
      )
    else:
      self._training = _Captions(
        parts, max_seq_length, max_seq_a_length, mask_prob, max_masked_tokens,
        train_split=train_split, **settings,
      )  # fmt: skip
    self._images = _Images(parts, length, max_gen_length, eval_split=eval_split, **settings)

  @property
  def num_train_examples(self) -> int:
    """Captions (with `self_critical` images) in an epoch of training, over all hosts."""
    return self._training.num_train_examples

  @property
  def num_eval_examples(self) -> int:
    """Images in an evaluation, over all hosts."""
    return self._images.num_eval_examples

  @property
  def num_eval_batches(self) -> int:
    """Batches in an evaluation by one host, over all replicas."""
    return self._images.num_eval_batches

  def train_dataset(
    self, context: tf.distribute.InputContext | None = None, start_example: int = 0
  ) -> tf.data.Dataset:
    """Returns the endless training batches; see `RecordInput.train_dataset`."""
    return self._training.train_dataset(context, start_example)

  def eval_dataset(self, context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
    """Returns the batches of images; see `RecordInput.eval_dataset`."""
    return self._images.eval_dataset(context)

  def explain(self, error: Exception) -> ValueError | None:
    """Finds the damaged image that caused an error of a dataset; see `RecordInput`."""
    return self._training.explain(error) or self._images.explain(error)


class _FromFiles(record_input.RecordInput):
  """Batches from the official files; `parts` are those that both kinds of batches share."""

  def __init__(self, parts, **settings):
    super().__init__(**settings)
    self._open, self._tokenizer, self._region_dim, self._with_tags, self._choose_tags = parts
    self._special = texts.special_ids(self._tokenizer)

  def _records(self, split, images):
    return official_records.OfficialRecords(split.regions, {'regions': images}, self._region_dim)

  def _tags(self, split, image_ids):
    """Returns function(index of images int64 [batch], width) -> `Words` of their tags."""
    if not self._with_tags:
      return lambda index, width: texts.Words(
        tf.zeros([tf.size(index), width], tf.int32), tf.zeros([tf.size(index)], tf.int32)
      )
    if 'label' not in split.files:
      raise ValueError(
        f"{split.files['feature']}: its split has no file of tags ('label' in the YAML file), "
        'which --add_od_labels needs; give the file, or --add_od_labels=0.'
      )
    own = [split.tags(image_id) for image_id in image_ids]
    lines = tags.of_rows(self._choose_tags, image_ids, own)
    return texts.TokenTable.of(lines, self._tokenizer, split.files['label']).rows

  def explain(self, error):
    return official_records.failure(self._splits.values()) or super().explain(error)


class _Captions(_FromFiles):
  """Captions with masked words."""

  def __init__(self, parts, length, caption_length, mask_prob, max_masked, **settings):
    super().__init__(parts, **settings)
    self._length, self._caption_length = length, caption_length
    self._mask_prob, self._max_masked = mask_prob, max_masked

  def open_split(self, name):
    split = self._open(name)
    _check_captions(split)
    keys = [(caption.image_id,) for caption in split.captions]
    images, order, counts = official_records.grouped(keys, split.regions)
    lines = [split.captions[place].caption for place in order]
    table = texts.TokenTable.of(lines, self._tokenizer, split.files['caption'])
    tag_rows = self._tags(split, [image_id for image_id, in images])
    image_of = tf.constant(np.repeat(np.arange(len(images)), counts))

    def make_batch(rows):
      layout = layouts.caption_layout(
        table.rows(rows.example, self._caption_length),
        tag_rows(tf.gather(image_of, rows.example), self._length),
        self._caption_length,
        self._length,
        self._special,
      )
      layout, masked_pos, masked_ids = masking.mask_caption(
        layout, rows.draws, self._special, self._mask_prob, self._max_masked
      )
      labels = tf.where(masked_pos == 1, 0, -1)
      places, _ = masking.masked_positions(labels, self._max_masked)
      batch = layouts.model_inputs(layout, *rows.regions['regions'], 'caption')
      return batch | {'masked_positions': places, 'masked_ids': masked_ids}

    draws = masking.caption_draws(self._length, self._max_masked)
    return record_input.Split(self._records(split, images), counts, make_batch, draws)


class _Images(_FromFiles):
  """Images in the order of their file, to write captions for; `captioned`: those with captions."""

  def __init__(self, parts, length, max_gen_length, captioned=False, **settings):
    super().__init__(parts, **settings)
    self._length, self._max_gen_length, self._captioned = length, max_gen_length, captioned

  def open_split(self, name):
    split = self._open(name)
    places = np.arange(len(split.image_ids))
    if self._captioned:
      _check_captions(split)
      captioned = {caption.image_id for caption in split.captions}
      places = places[[image_id in captioned for image_id in split.image_ids]]
    image_ids = [split.image_ids[place] for place in places]
    tag_rows = self._tags(split, image_ids)

    def make_batch(rows):
      layout = layouts.generation_layout(
        tag_rows(rows.example, self._length), self._max_gen_length, self._length, self._special
      )
      batch = layouts.model_inputs(layout, *rows.regions['regions'], 'caption')
      nowhere = tf.zeros_like(rows.example, tf.int32)[:, None]
      return batch | {'row': tf.gather(places, rows.example), 'masked_positions': nowhere}

    records = self._records(split, [(image_id,) for image_id in image_ids])
    return record_input.Split(records, np.ones(len(records), np.int64), make_batch)


def _check_captions(split):
  if not split.captions:
    where = split.files.get('caption', split.files['feature'])
    raise ValueError(f'{where}: there are no captions to train on; is it the right split?')


def _check_lengths(max_seq_length, max_seq_a_length, with_tags):
  if with_tags and max_seq_length <= max_seq_a_length:
    raise ValueError(
      f'--max_seq_length={max_seq_length}: expected more than --max_seq_a_length='
      f'{max_seq_a_length}, so that tags follow the caption; or give --add_od_labels=0.'
    )
  if max_seq_length < max_seq_a_length:
    raise ValueError(
      f'--max_seq_length={max_seq_length}: expected at least --max_seq_a_length='
      f'{max_seq_a_length}, which captions may take.'
    )
