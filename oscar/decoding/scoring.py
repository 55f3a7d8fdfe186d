"""Log-probabilities of given captions, all steps in one pass.

Self-critical training needs them with gradients for captions that were sampled without. One
sequence holds the input of all steps of the decoder: [words, MASKs, tags, regions], with a MASK at
the position of each word to predict. A MASK attends to the words before it, itself, tags and
regions, so that its score is the step's, with a fraction of the arithmetic of a pass per step.
"""
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from oscar.decoding import cache, sampling
from oscar.decoding.config import GenerationConfig
from oscar.modeling import OscarModel


def score_captions(
  model: OscarModel,
  batch: Mapping[str, Any],
  ids: Any,
  config: GenerationConfig,
  training: bool = False,
) -> dict[str, tf.Tensor]:
  """Computes the log-probability of each word of captions, given the words before it.

  The words' distribution is the one from which `generate` chooses them: with `repetition_penalty`
  and, if `config.do_sample`, `temperature`, `top_k` and `top_p`. With `training` there is dropout,
  drawn once for all steps of a caption.

  Args:
    model: a captioning model.
    batch: the inputs of B images, as for `generate`.
    ids: int32 [B, N, T], captions with [CLS] and, unless they have T tokens, [SEP]; N of each
      image. The 'drawn_ids' of `generate` are scored as they were drawn.
    config: the settings; those of beams have no effect.
    training: whether dropout is on.

  Returns:
    {'logprobs': float32 [B, N, T - 1], of the tokens after [CLS], 0 after [SEP];
    'weights': float32, the same shape: 1 for tokens up to [SEP], then 0}. The mean over the
    tokens, sum(logprobs) / sum(weights), is `generate`'s log-probability of greedy search.

  Raises:
    ValueError: inputs do not fit the model, the settings or each other.
  """
  inputs = step_inputs(model, batch, ids, config)
  length, captions = config.max_gen_length, ids.shape[1]
  flat = tf.reshape(tf.cast(ids, tf.int32), [-1, length])
  scores = model(inputs, training=training)['prediction_scores']
  words = flat[:, 1:]
  scores = _penalize_repetition(scores, flat, config.repetition_penalty)
  log_probs = sampling.log_probabilities(scores, words, config)
  ended = tf.cumsum(tf.cast(words == config.eos_token_id, tf.int32), axis=1, exclusive=True)
  log_probs = tf.where(ended > 0, 0.0, log_probs)
  shape = [-1, captions, length - 1]
  weights = tf.cast(ended == 0, tf.float32)
  return {'logprobs': tf.reshape(log_probs, shape), 'weights': tf.reshape(weights, shape)}


def step_inputs(
  model: OscarModel, batch: Mapping[str, Any], ids: Any, config: GenerationConfig
) -> dict[str, tf.Tensor]:
  """Returns the model's inputs that predict each token of captions in one pass.

  The sequence is [the T - 1 tokens before the last, T - 1 MASKs, tags, regions]; the MASK with the
  number t, counted from 0, predicts the token t + 1. Arguments and errors as for `score_captions`.

  Returns:
    The inputs, B * N rows.
  """
  cache.check_batch(model, batch, config)
  ids = tf.cast(ids, tf.int32)
  length = config.max_gen_length
  if ids.shape.rank != 3 or ids.shape[2] != length:
    raise ValueError(f'ids have shape {ids.shape}; expected (batch, captions, {length}).')
  flat = tf.reshape(ids, [-1, length])
  inputs = _inputs(batch, config)
  # An image's inputs once for each of its captions.
  inputs = {name: tf.repeat(value, ids.shape[1], axis=0) for name, value in inputs.items()}
  tags = inputs.pop('tags')
  masks = tf.fill(tf.shape(flat[:, 1:]), config.mask_token_id)
  inputs['input_ids'] = tf.concat([flat[:, :-1], masks, tags], axis=1)
  return inputs


def _penalize_repetition(scores, ids, penalty):
  """Penalizes in the scores [N, T - 1, V] of all steps the words of `ids` [N, T] before each."""
  if penalty == 1:
    return scores
  length = ids.shape[1]
  # A step's later words are replaced by [CLS], which every step has.
  before = tf.range(length) <= tf.range(length - 1)[:, None]
  ids = tf.where(before, ids[:, None], ids[:, None, :1])
  return sampling.penalize_repetition(scores, ids, length, penalty)


def _inputs(batch, config):
  """Returns the model's inputs but `input_ids`, a row an image, and the ids of the 'tags'."""
  length = config.max_gen_length
  regions = tf.convert_to_tensor(batch['img_feats'])
  tags = tf.cast(batch['input_ids'], tf.int32)[:, length:]
  images = tf.shape(tags)[0]
  places = [*range(length - 1), *range(1, length)]
  if tags.shape[1]:
    places += range(config.tags_start(), config.tags_start() + tags.shape[1])
  predicted = tf.range(length - 1, 2 * length - 2)
  inputs = {
    'tags': tags,
    'img_feats': regions,
    'position_ids': tf.tile(tf.constant([places], tf.int32), [images, 1]),
    'masked_positions': tf.tile(predicted[None], [images, 1]),
    'attention_mask': _attention_mask(cache.attention_mask(batch), length),
  }
  if batch.get('token_type_ids') is not None:
    types = tf.cast(batch['token_type_ids'], tf.int32)
    types = [types[:, : length - 1], types[:, 1:length], types[:, length:]]
    inputs['token_type_ids'] = tf.concat(types, axis=1)
  return inputs


def _attention_mask(mask, length):
  """Returns the mask of [words, MASKs, tags, regions] from that of [caption, tags, regions].

  Args:
    mask: int32 [B, T + C, T + C], as in the batch.
    length: T.

  Returns:
    int32 [B, 2 * (T - 1) + C, 2 * (T - 1) + C].
  """
  steps = length - 1
  # The word at a MASK's own position comes too late for it; it attends to itself instead.
  earlier = tf.linalg.band_part(tf.ones([steps, steps], tf.int32), -1, 0)
  at_masks = mask[:, 1:length]
  itself = tf.linalg.diag(tf.linalg.diag_part(at_masks[:, :, 1:length]))
  words = mask[:, :steps]
  no_masks = tf.zeros_like(itself)
  rows = [
    tf.concat([words[:, :, :steps], no_masks, words[:, :, length:]], axis=2),
    tf.concat([at_masks[:, :, :steps] * earlier, itself, at_masks[:, :, length:]], axis=2),
  ]
  context = mask[:, length:, length:]
  no_caption = tf.zeros_like(tf.repeat(context[:, :, :1], 2 * steps, axis=2))
  rows.append(tf.concat([no_caption, context], axis=2))
  return tf.concat(rows, axis=1)
