"""Pads or truncates image regions to a fixed number."""

from collections.abc import Mapping

import tensorflow as tf


def pad_regions(regions: tf.Tensor, max_img_seq_length: int) -> tuple[tf.Tensor, tf.Tensor]:
  """Pads or cuts one image's regions to a fixed number.

  Args:
    regions: float32 [regions, dim].
    max_img_seq_length: how many to keep or pad to with zeros.

  Returns:
    (float32 [max_img_seq_length, dim], int32: how many are not padding).
  """
  kept = regions[:max_img_seq_length]
  count = tf.shape(kept)[0]
  padded = tf.pad(kept, [[0, max_img_seq_length - count], [0, 0]])
  return tf.ensure_shape(padded, [max_img_seq_length, regions.shape[1]]), count


def decode_regions(
  data: tf.Tensor, max_img_seq_length: int, dim: int
) -> tuple[tf.Tensor, tf.Tensor]:
  """Decodes the stored regions of a batch and pads them.

  Args:
    data: string [batch], the bytes of float32 [regions, dim].
    max_img_seq_length: how many regions to keep or pad to with zeros.
    dim: numbers in a region.

  Returns:
    (float32 [batch, max_img_seq_length, dim], int32 [batch]: how many are not padding).
  """
  # One operation decodes, cuts off and pads.
  regions = tf.io.decode_raw(data, tf.float32, fixed_length=max_img_seq_length * dim * 4)
  count = tf.minimum(tf.strings.length(data) // (dim * 4), max_img_seq_length)
  shape = [max_img_seq_length, dim]
  return tf.ensure_shape(tf.reshape(regions, [-1, *shape]), [data.shape[0], *shape]), count


def hide_regions(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
  """Masks the regions of a batch, so that no position attends to them.

  Args:
    batch: model inputs: 'input_ids' [..., S], 'attention_mask' [..., S + R], also with a row for
      each query, and other entries, which stay.
  """
  words, mask = batch['input_ids'].shape[-1], batch['attention_mask']
  shown = mask[..., :words]
  return {
    **batch, 'attention_mask': tf.concat([shown, tf.zeros_like(mask[..., words:])], axis=-1)
  }  # fmt: skip
