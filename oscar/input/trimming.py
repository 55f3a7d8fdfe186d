"""Cuts the padding that a whole batch shares, down to one of a few lengths.

Masked positions weigh exactly zero in the softmax, so the outputs stay the same, and fewer
positions take less time. The batches have unknown lengths then, so it is not for TPUs.
"""

from collections.abc import Mapping

import tensorflow as tf

_SIZES = 8  # Number of lengths, evenly spaced.


def trimmed_batches(
  dataset: tf.data.Dataset, context: tf.distribute.InputContext, evaluation: bool
) -> tf.data.Dataset:
  """Trims the batches of a dataset, but not where each length would be traced anew.

  Evaluation calls its function with the batches of all replicas: with several, every combination of
  lengths would be another signature.

  Args:
    dataset: batches of model inputs.
    context: place among the input pipelines.
    evaluation: whether they are for evaluation.
  """
  if evaluation and context.num_replicas_in_sync > 1:
    return dataset
  return dataset.map(trimmed, tf.data.AUTOTUNE, deterministic=True)


@tf.autograph.experimental.do_not_convert  # No control flow over tensors.
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
