"""Shared by the tests of decoding: the golden models and inputs, and the official steps."""
import functools

import numpy as np
import tensorflow as tf

import oscar
from oscar import decoding
from oscar.decoding import cache
from tests.oscar import golden_models

CASES = golden_models.load('caption_generation.json')
ARRAYS = golden_models.load('caption_generation.npz')
LENGTH = CASES['max_length']
IDS = {'bos_token_id': 2, 'eos_token_id': 3, 'pad_token_id': 0, 'mask_token_id': 4}


def config(**settings):
  """Returns the `GenerationConfig` of the golden cases."""
  start = CASES['od_labels_start_posid']
  settings = {'max_gen_length': LENGTH, 'od_labels_start_posid': start, **settings}
  return decoding.GenerationConfig(**IDS, **settings)


@functools.cache
def model(variant='captioning_tied', tags='od', dtype=None):
  """Returns a golden model that ends its sentences; `tags` is 'od' or 'nood'."""
  made = golden_models.build(
    'captioning', tie_weights=variant == 'captioning_tied', dtype_policy=dtype
  )
  bias = made.cls_predictions.bias
  added = np.zeros(bias.shape, np.float32)
  added[IDS['eos_token_id']] = CASES['sep_bias_added'][f'{variant}/{tags}']
  bias.assign(bias + added)
  return made


def inputs(tags='od', rows=slice(None)):
  """Returns the golden inputs of images; tensors, so that shapes alone are checked."""
  names = {
    'input_ids': 'input_ids', 'token_type_ids': 'segment_ids',
    'attention_mask': 'attention_mask', 'img_feats': 'img_feats',
  }  # fmt: skip
  found = {k: ARRAYS[f'inputs/{tags}/{name}'][rows] for k, name in names.items()}
  return {k: tf.constant(v if k == 'img_feats' else v.astype('int32')) for k, v in found.items()}


def official_scores(model, batch, config, ids):
  """Returns float32 [N, V], the next word's scores after `ids` [N, n], as the official code does.

  The whole input [ids, MASK, tags, regions] goes through the model for each of the N images.
  """
  known, length = ids.shape[1], config.max_gen_length
  masks = np.full((len(ids), 1), config.mask_token_id)
  text = batch['input_ids'].shape[1]
  kept = [*range(known + 1), *range(length, batch['attention_mask'].shape[1])]
  words = [place for place in kept if place < text]
  mask = batch['attention_mask'].numpy()[:, kept][:, :, kept]
  places = [place + (config.tags_start() - length if place >= length else 0) for place in words]
  outputs = model({
    'input_ids': np.concatenate([ids, masks, batch['input_ids'].numpy()[:, length:]], axis=1),
    'token_type_ids': batch['token_type_ids'].numpy()[:, words],
    'attention_mask': mask,
    'img_feats': batch['img_feats'],
    'position_ids': np.array([places] * len(ids)),
  })
  return outputs['prediction_scores'].numpy()[:, known]


def cached_scores(model, batch, config, ids):
  """Returns float32 [B, rows, T - 1, V]: scores at all steps of captions `ids` [B, rows, T]."""
  ids = tf.constant(ids, tf.int32)
  context, scores = cache.start(model, batch, config)
  found = [tf.repeat(scores[:, None], ids.shape[1], axis=1)]
  written = cache.no_words(model, context, ids.shape[1])
  ancestors = cache.own_rows(len(ids), ids.shape[1], config.max_gen_length)
  for position in range(1, config.max_gen_length - 1):
    words = ids[:, :, position]
    scores, written = cache.step(model, context, written, words, ancestors, position, config)
    found.append(scores)
  return tf.stack(found, axis=2)


@functools.cache
def small_model():
  """Returns a random model of one layer, quick to compile; its scores differ much."""
  return oscar.build_model(
    oscar.OscarConfig(
      vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
      intermediate_size=32, max_position_embeddings=40, img_feature_dim=26, initializer_range=0.8,
    ),
    'captioning',
  )  # fmt: skip


def small_inputs(images=3):
  """Returns the golden inputs with tags that `small_model` knows."""
  batch = inputs(rows=slice(images))
  return {**batch, 'input_ids': batch['input_ids'] % 30}


def shortened(batch, length):
  """Returns inputs with tags of captions of `length` tokens, from those of `LENGTH`."""
  text, whole = batch['input_ids'].shape[1], batch['attention_mask'].shape[1]
  kept = [*range(length), *range(LENGTH, text)]
  places = [*kept, *range(text, whole)]
  mask = tf.gather(tf.gather(batch['attention_mask'], places, axis=1), places, axis=2)
  texts = {k: tf.gather(batch[k], kept, axis=1) for k in ('input_ids', 'token_type_ids')}
  return {**batch, **texts, 'attention_mask': mask}
