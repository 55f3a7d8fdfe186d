"""The captioning model step by step: image and tags once, then one word of each caption at a time.

A step of the official decoder feeds [words so far, MASK, tags, regions] and reads the scores of the
next word at MASK. Here the same numbers come from far less arithmetic:

- Tags and regions never attend to the caption, and a word never attends to later ones, so that the
  keys and values of all of them stay as they were when they were first computed. MASK alone moves.
- [CLS], tags and regions are equal in all captions of an image: one copy, the context, serves all.
- A word's keys and values are written once, by the caption ("row") that it was added to. After a
  reordering, a caption attends to the words of its ancestors: no cache is copied.
- The last layer and the projection onto the vocabulary run for MASK alone.

The official cached path (`output_hidden_states`) reorders no cached states in beam search, so that
beams continue the words of other beams. It is not reproduced: these are the uncached numbers.

Source: microsoft/Oscar, `prepare_inputs_for_generation` of oscar/modeling/modeling_bert.py.
"""
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
from keras import ops

from oscar.decoding.config import GenerationConfig
from oscar.input import checks, layouts
from oscar.modeling import OscarModel

# Pairs of keys and values, [B, heads, positions, size] each, one for each layer.
KeysAndValues = tuple[tuple[Any, Any], ...]

_INPUTS = ('input_ids', 'token_type_ids', 'attention_mask', 'img_feats')


class Context(NamedTuple):
  """The unchanging part of the input of all steps.

  B images, T `max_gen_length`, P positions of the context: [CLS], tags, regions.

  Attributes:
    known: keys and values of the context, P positions.
    sees_context: int [B, T, P], 1 where a caption token attends to the context.
    sees_words: int [B, T, T - 1], 1 where a caption token attends to the tokens after [CLS].
    token_type_ids: int [B, T] of caption tokens, or None for zeros.
  """

  known: KeysAndValues
  sees_context: Any
  sees_words: Any
  token_type_ids: Any


def start(
  model: OscarModel, batch: Mapping[str, Any], config: GenerationConfig
) -> tuple[Context, Any]:
  """Encodes images and tags and predicts the first word of their captions.

  Args:
    model: a captioning model.
    batch: `input_ids` int [B, T + tags], of which only the tags are read; `attention_mask` int
      [B, T + tags + R, T + tags + R] as `layouts.model_inputs` makes it for 'caption': caption
      tokens do not attend to later ones, tags and regions not to the caption; `token_type_ids`
      (optional) int [B, T + tags]; `img_feats` float [B, R, img_feature_dim].
    config: the settings.

  Returns:
    (the context, scores of the first word: float32 [B, vocabulary]).

  Raises:
    ValueError: another model, an input is missing, or shapes do not fit.
  """
  check_batch(model, batch, config)
  length = config.max_gen_length
  img_feats = ops.convert_to_tensor(batch['img_feats'])
  mask = attention_mask(batch)
  words = _first_tokens(batch, config)
  # MASK comes first, so that the other positions are one slice. The order matters to no number.
  hidden = model.bert.embed(
    words['input_ids'],
    words['token_type_ids'],
    words['position_ids'],
    img_feats,
    training=False,
  )
  order = [1, 0, *range(length, mask.shape[1])]
  bias = model.bert.score_bias(ops.take(ops.take(mask, order, axis=1), order, axis=2))
  known = []
  for layer in model.bert.layers:
    keys, values = layer.keys_and_values(hidden)
    known.append((keys[:, :, 1:], values[:, :, 1:]))
    if layer is model.bert.layers[-1]:
      hidden, bias = hidden[:, :1], bias[:, :, :1]
    hidden = layer.attend_to(hidden, [(keys, values)], bias)
  context = Context(
    tuple(known),
    ops.concatenate([mask[:, :length, :1], mask[:, :length, length:]], axis=2),
    mask[:, :length, 1:length],
    words['caption_types'],
  )
  return context, model.word_scores(hidden)[:, 0]


def no_words(model: OscarModel, context: Context, rows: int) -> KeysAndValues:
  """Returns the cache of `rows` captions an image before the first step, (T - 1) * rows slots.

  The slots of position p after [CLS], counted from 0, are p * rows to (p + 1) * rows - 1.
  """
  slots = context.sees_words.shape[2] * rows
  keys = context.known[0][0]
  shape = (ops.shape(keys)[0], keys.shape[1], slots, keys.shape[3])
  # Separate tensors: a loop must not carry one tensor twice.
  return tuple(
    (ops.zeros(shape, keys.dtype), ops.zeros(shape, keys.dtype)) for _ in model.bert.layers
  )


def step(
  model: OscarModel,
  context: Context,
  cache: KeysAndValues,
  words: Any,
  ancestors: Any,
  position: Any,
  config: GenerationConfig,
) -> tuple[Any, KeysAndValues]:
  """Adds a word to each caption and predicts the next one.

  Args:
    model: the model of `context`.
    context: from `start`.
    cache: from `no_words` or the step before.
    words: int [B, rows], the words to add.
    ancestors: int [B, rows, T - 1]: the row that wrote a caption's token after [CLS] to the cache.
      For the added word and later ones it must be the caption's own row.
    position: scalar, the position of these words, 1 to T - 2.
    config: the settings.

  Returns:
    (scores of the next words: float32 [B, rows, vocabulary], the new cache).
  """
  rows = words.shape[1]
  masks = ops.full_like(words, config.mask_token_id)
  types = None
  if context.token_type_ids is not None:
    types = ops.repeat(_slice(context.token_type_ids, position, 2), rows, axis=1)
  places = ops.repeat(position + ops.arange(2, dtype='int32'), rows)[None]
  # [B, 2 * rows, hidden]: all words, then all MASKs, as in the cache.
  hidden = model.bert.embed(
    ops.concatenate([words, masks], axis=1), types, places, training=False
  )
  bias = model.bert.score_bias(_attention_mask(context, ancestors, position))
  # MASK's place is taken by the next word one step later.
  write = functools.partial(_update_slots, first=(position - 1) * rows)
  layers, written = model.bert.layers, []
  for layer, known, (keys, values) in zip(layers, context.known, cache, strict=True):
    new_keys, new_values = layer.keys_and_values(hidden)
    keys, values = write(keys, new_keys), write(values, new_values)
    written.append((keys, values))
    if layer is layers[-1]:
      hidden, bias = hidden[:, rows:], bias[:, :, rows:]
    hidden = layer.attend_to(hidden, [known, (keys, values)], bias)
  return model.word_scores(hidden), tuple(written)


def _update_slots(array: Any, update: Any, first: Any) -> Any:
  """Returns `array`, [B, heads, slots, size], with `update` in the slots from `first` on."""
  if _has_xla_here():
    return ops.slice_update(array, (0, 0, first, 0), update)
  slots, count = ops.arange(array.shape[2], dtype='int32') - first, update.shape[2]
  places = ops.clip(slots, 0, count - 1)
  written = ops.expand_dims((slots >= 0) & (slots < count), 1)
  return ops.where(written, ops.take(update, places, axis=2), array)


def _has_xla_here():
  """Returns whether Keras' `slice_update` runs, which TensorFlow compiles with XLA."""
  if keras.backend.backend() != 'tensorflow':
    return True
  from tpu_utils import distribute

  return not distribute.has_tpu_kernels() or distribute.device_types() == {'tpu'}


def attention_mask(batch: Mapping[str, Any]) -> Any:
  """Returns the mask of a batch as int32 [B, n, n]; it may have one row for all images."""
  mask = ops.convert_to_tensor(batch['attention_mask'], 'int32')
  return ops.broadcast_to(mask, (ops.shape(batch['img_feats'])[0], *mask.shape[1:]))


def check_batch(model: OscarModel, batch: Mapping[str, Any], config: GenerationConfig) -> None:
  """Checks that a model writes captions and that the inputs fit it, as `start` says.

  Raises:
    ValueError: they do not.
  """
  if model.task != 'captioning':
    raise ValueError(f'A model of the task {model.task!r} writes no captions; take captioning.')
  for name in ('input_ids', 'attention_mask', 'img_feats'):
    if batch.get(name) is None:
      raise ValueError(f'{name} is missing; captions are generated from {", ".join(_INPUTS)}.')
  inputs = {name: batch[name] for name in _INPUTS if batch.get(name) is not None}
  checks.check_inputs(inputs, model.config, model.task)
  text, regions = batch['input_ids'].shape[1], batch['img_feats'].shape[1]
  length, mask = config.max_gen_length, tuple(batch['attention_mask'].shape)
  if text is None or regions is None or len(mask) != 3 or mask[1] is None or mask[2] is None:
    raise ValueError(
      f'attention_mask has shape {mask}, input_ids has {text} tokens, img_feats {regions} regions; '
      'expected (batch, n, n), all sizes but the batch fixed.'
    )
  if text < length:
    raise ValueError(
      f'input_ids has {text} tokens; expected the {length} of max_gen_length, then tags.'
    )
  last = config.tags_start() + text - length - 1 if text > length else length - 1
  layouts.check_positions(last, model.config.max_position_embeddings)


def own_rows(batch: Any, rows: int, length: int) -> Any:
  """Returns `ancestors` int32 [batch, rows, length - 1] of captions that were never reordered."""
  return ops.tile(ops.arange(rows, dtype='int32')[None, :, None], (batch, 1, length - 1))


def _attention_mask(context, ancestors, position):
  """Returns int [B, 2 * rows, P + (T - 1) * rows] for the words, then the MASKs, of a step."""
  rows, slots = ancestors.shape[1], ancestors.shape[2]
  sees_context = ops.repeat(_slice(context.sees_context, position, 2), rows, axis=1)
  sees_words = _slice(context.sees_words, position, 2)  # [B, 2, T - 1]
  wrote = ops.one_hot(ancestors, rows, dtype='int32')  # [B, rows, T - 1, rows]
  sees_words = sees_words[:, :, None, :, None] * wrote[:, None]
  sees_words = ops.reshape(sees_words, (-1, 2 * rows, slots * rows))
  return ops.concatenate([sees_context, sees_words], axis=2)


def _slice(x, begin, length):
  """Takes `length` entries of the second axis from `begin`, which may be a tensor."""
  return ops.take(x, begin + ops.arange(length, dtype='int32'), axis=1)


def _first_tokens(batch, config):
  """Returns the inputs of the first step, MASK, [CLS] and tags, and the types of the caption."""
  length = config.max_gen_length
  tags = ops.convert_to_tensor(batch['input_ids'], 'int32')[:, length:]
  first = ops.zeros((ops.shape(tags)[0], 1), 'int32')
  ids = [first + config.mask_token_id, first + config.bos_token_id, tags]
  places = [1, 0]
  if tags.shape[1]:
    places += range(config.tags_start(), config.tags_start() + tags.shape[1])
  types = batch.get('token_type_ids')
  caption_types = None
  if types is not None:
    types = ops.convert_to_tensor(types, 'int32')
    caption_types = types[:, :length]
    types = ops.concatenate([types[:, 1:2], types[:, :1], types[:, length:]], axis=1)
  return {
    'input_ids': ops.concatenate(ids, axis=1),
    'token_type_ids': types,
    'position_ids': ops.convert_to_tensor(places, 'int32')[None],
    'caption_types': caption_types,
  }
