"""Cuts the padding that a whole batch shares, down to one of a few lengths.

Masked positions weigh exactly zero in the softmax, so the outputs stay the same, and fewer
positions take less time. The batches have unknown lengths then, so it is not for TPUs.
"""

from collections.abc import Mapping

import tensorflow as tf

_SIZES = 8  # Number of lengths, evenly spaced.


def trimmed(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
  """Returns a batch of model inputs without the words and regions that are padding in all rows.

  Args:
    batch: 'input_ids', 'token_type_ids' [..., S], 'attention_mask' [..., S + R] and 'img_feats'
      [..., R, dim], and other entries, which stay.
  """
  ids, regions = batch['input_ids'], batch['img_feats']
  mask = batch['attention_mask']
  words = ids.shape[-1]
  text_mask, region_mask = mask[..., :words], mask[..., words:]
  text, shown = _length(text_mask), _length(region_mask)
  return {
    **batch,
    'input_ids': ids[..., :text],
    'token_type_ids': batch['token_type_ids'][..., :text],
    'attention_mask': tf.concat([text_mask[..., :text], region_mask[..., :shown]], axis=-1),
    'img_feats': regions[..., :shown, :],
  }


def _length(mask):
  """Returns the smallest of the lengths that holds all positions of the mask [..., n]."""
  n = mask.shape[-1]
  step = -(-n // _SIZES)
  used = tf.reduce_max(tf.reduce_max(mask * tf.range(1, n + 1), axis=-1))
  return tf.minimum(tf.maximum(1, -(-used // step)) * step, n)
