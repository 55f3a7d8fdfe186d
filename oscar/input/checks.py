"""Checks the inputs of an OSCAR model, so that a wrong shape gives a clear error."""
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tpu_utils.names import check_name

# Rank without NLVR2's axis of choices; two ranks where both are allowed.
_RANKS = {
  'input_ids': (2,),
  'token_type_ids': (2,),
  'attention_mask': (2, 3),
  'position_ids': (2,),
  'img_feats': (3,),
  'masked_positions': (2,),
}
_OTHERS = ('head_mask', 'encoder_history_states', 'dropout_rate')
# Inputs with one row for each example; other inputs may have one row for all.
_OF_EXAMPLES = ('img_feats', 'masked_positions')


def check_inputs(inputs: Mapping, config: Any, task: str) -> None:
  """Checks that the shapes of `inputs` fit each other and the model.

  Only static shapes are checked; a size that is unknown while tracing fits everything. Ids are
  checked only in numpy arrays: those on an accelerator would have to be fetched.

  Args:
    inputs: the dict passed to an `OscarModel`.
    config: the model's `OscarConfig`.
    task: the model's task.

  Raises:
    ValueError: an input is unknown, missing, or has a wrong shape or an id out of range; one line.
  """
  if not isinstance(inputs, dict) or inputs.get('input_ids') is None:
    raise ValueError("An OSCAR model takes a dict of inputs with the key 'input_ids'.")
  for name in inputs:
    check_name('OSCAR model input', name, [*_RANKS, *_OTHERS])
  if inputs.get('masked_positions') is not None and task not in ('pretrain', 'captioning'):
    raise ValueError(f'masked_positions: the {task} model predicts no words; leave it out.')
  shapes = {k: tuple(keras.ops.shape(inputs[k])) for k in _RANKS if inputs.get(k) is not None}
  if task == 'nlvr2' and config.use_pair:
    shapes = _without_choices(shapes, config.num_choice)
  for name, shape in shapes.items():
    if len(shape) not in _RANKS[name]:
      ranks = ' or '.join(map(str, _RANKS[name]))
      raise ValueError(f'{name} has shape {shape}; expected rank {ranks}.')
  _check_batch(shapes)
  _check_text(shapes, config)
  _check_ids(inputs, config)
  regions = _check_regions(shapes, config)
  history = inputs.get('encoder_history_states')
  if history is not None:
    if len(history) != config.num_hidden_layers:
      raise ValueError(
        f'encoder_history_states has {len(history)} entries; expected one for each of the '
        f'{config.num_hidden_layers} layers.'
      )
    if regions:
      raise ValueError('img_feats go into the history; leave them out with encoder_history_states.')
    history = keras.ops.shape(history[0])[1]
  _check_mask(shapes, regions, history or 0)


def _without_choices(shapes, num_choice):
  for name, shape in shapes.items():
    if len(shape) < 2 or shape[1] != num_choice:
      raise ValueError(
        f'{name} has shape {shape}; expected (batch, {num_choice}, ...): NLVR2 takes {num_choice} '
        '(text, image) pairs per example, or use_pair=False one sequence with all the regions.'
      )
  return {name: (shape[0], *shape[2:]) for name, shape in shapes.items()}


def _check_batch(shapes):
  batch = shapes['input_ids'][0]
  for name, shape in shapes.items():
    if not _fits(shape[0], batch) and (shape[0] != 1 or name in _OF_EXAMPLES):
      raise ValueError(f'{name} has {shape[0]} examples, input_ids {batch}; expected the same.')


def _check_ids(inputs, config):
  limits = {
    'input_ids': 'vocab_size',
    'token_type_ids': 'type_vocab_size',
    'position_ids': 'max_position_embeddings',
  }
  for name, setting in limits.items():
    ids = inputs.get(name)
    if not isinstance(ids, np.ndarray) or not ids.size:
      continue
    limit = getattr(config, setting)
    if ids.min() < 0 or ids.max() >= limit:
      wrong = ids.min() if ids.min() < 0 else ids.max()
      raise ValueError(f'{name} hold {wrong}; expected 0 to {limit - 1} ({setting} is {limit}).')


def _check_text(shapes, config):
  text = shapes['input_ids'][1]
  for name in ('token_type_ids', 'position_ids'):
    if name in shapes and not _fits(shapes[name][1], text):
      raise ValueError(
        f'{name} has {shapes[name][1]} positions, input_ids {text}; expected the same.'
      )
  # With position_ids given, only their values must stay below the limit.
  limit = config.max_position_embeddings
  if 'position_ids' not in shapes and isinstance(text, int) and text > limit:
    raise ValueError(
      f'input_ids has {text} positions, the model embeds {limit} (max_position_embeddings); '
      'shorten the text or give position_ids.'
    )


def _check_regions(shapes, config):
  """Checks the regions and returns their number."""
  if 'img_feats' not in shapes:
    return 0
  width = shapes['img_feats'][2]
  if not config.img_feature_dim:
    raise ValueError('img_feats: this model is text-only (img_feature_dim is 0); leave them out.')
  if not _fits(width, config.img_feature_dim):
    raise ValueError(
      f'img_feats are {width} wide, the model takes {config.img_feature_dim} (img_feature_dim: the '
      "detector's features, then the 6 values of the box)."
    )
  if 'attention_mask' not in shapes:
    raise ValueError('img_feats need an attention_mask that covers the text and the regions.')
  return shapes['img_feats'][1]


def _check_mask(shapes, regions, history):
  if 'attention_mask' not in shapes:
    return
  text = shapes['input_ids'][1]
  shape = shapes['attention_mask']
  if all(isinstance(n, int) for n in (text, regions, history, shape[-1])):
    keys = history + text + regions
    queries = shape[1] if len(shape) == 3 else text + regions
    if shape[-1] != keys or not _fits(queries, text + regions):
      raise ValueError(
        f'attention_mask has shape {shape}; expected (batch, {keys}) or (batch, {text + regions}, '
        f'{keys}): {history} history, {text} text and {regions} region positions.'
      )


def _fits(size, expected):
  """Returns whether two sizes are equal, as far as they are known."""
  return not (isinstance(size, int) and isinstance(expected, int)) or size == expected
