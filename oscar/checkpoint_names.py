"""Names of OSCAR's variables in other programs' checkpoints.

OSCAR's official `pytorch_model.bin` and Hugging Face's BERT use the names of pytorch-transformers.
Layers here are named after them with `.` written as `_`: `bert/encoder_layer_0/output_dense/kernel`
is `bert.encoder.layer.0.output.dense.weight`. Google's BERT has `/` for `.` and other last parts.
"""
from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from tpu_utils.weights.name_map import NameMap, Rule, Source

if TYPE_CHECKING:
  import keras

# Constants in newer BERT files.
_BUFFERS = ('embeddings.position_ids', 'embeddings.token_type_ids')
# Parts of torch names that contain an underscore.
_COMPOUND = (
  'word_embeddings',
  'position_embeddings',
  'token_type_embeddings',
  'img_embedding',
  'seq_relationship',
)
_LAST = {'kernel': 'weight', 'embeddings': 'weight', 'gamma': 'weight', 'beta': 'bias'}
_WORDS = 'bert/embeddings/word_embeddings/embeddings'
_DECODER = 'cls_predictions/decoder_weight'
_BIAS = 'cls_predictions/bias'


def torch_name(path: str) -> str:
  """Returns the official state-dict name of the variable at `path` ('bert/pooler_dense/kernel')."""
  scope, last = path.rsplit('/', 1)
  name = '.'.join([*scope.split('/'), _LAST.get(last, last)]).replace('_', '.')
  for part in _COMPOUND:
    name = name.replace(part.replace('_', '.'), part)
  return name


def tf1_name(path: str) -> str:
  """Returns the name of the variable at `path` in Google's BERT checkpoints."""
  if path == _BIAS:
    return 'cls/predictions/output_bias'
  if path.startswith('cls_seq_relationship/'):
    names = {'kernel': 'output_weights', 'bias': 'output_bias'}
    return f'cls/seq_relationship/{names[_last(path)]}'
  name = '/'.join(torch_name(path).split('.')[:-1])
  name = re.sub(r'/layer/(\d+)/', r'/layer_\1/', name)
  return name if _last(path) == 'embeddings' else f'{name}/{_last(path)}'


def torch_rules(model: keras.Model, names: Collection[str]) -> dict[str, Rule]:
  """Returns rules for a torch file: new or old names (gamma, beta), with or without `bert.`."""
  names = set(names)
  base_model = not any(name.startswith('bert.') for name in names)

  def name_of(path):
    name = torch_name(path)
    if base_model:
      name = name.removeprefix('bert.')
    if name not in names and _last(path) in ('gamma', 'beta'):
      first = f'{name.rpartition(".")[0]}.{_last(path)}'
      return first if first in names else name
    return name

  return _rules(model, names, name_of, lambda path: _last(path) == 'kernel')


def tf1_rules(model: keras.Model, names: Collection[str]) -> dict[str, Rule]:
  """Returns rules for Google's BERT: kernels are [in, out], the contrast head's [out, in]."""
  return _rules(model, names, tf1_name, lambda path: path == 'cls_seq_relationship/kernel')


def _rules(model, names, name_of, is_transposed):
  rules = {}
  for variable in model.weights:
    transform = np.transpose if is_transposed(variable.path) else None
    rules[variable.path] = Rule(name_of(variable.path), transform)
  if _BIAS not in rules:
    return rules
  # Models and files may tie the decoder to the word embeddings or not.
  rules[_BIAS] = dataclasses.replace(rules[_BIAS], copies=('cls.predictions.decoder.bias',))
  if _DECODER not in rules:
    rules[_WORDS] = dataclasses.replace(rules[_WORDS], copies=(torch_name(_DECODER),))
  elif rules[_DECODER].name not in names and rules[_BIAS].name in names:
    rules[_DECODER] = Rule(rules[_WORDS].name, part=1)
  return rules


def torch_state_dict(model: keras.Model) -> dict[str, np.ndarray]:
  """Returns {official name: array} of all variables; a tied decoder under both its names."""
  tensors = {}
  for variable in model.weights:
    array = np.asarray(variable)
    tensors[torch_name(variable.path)] = array.T if _last(variable.path) == 'kernel' else array
  if torch_name(_BIAS) in tensors:
    tensors.setdefault(torch_name(_DECODER), tensors[torch_name(_WORDS)])
  return tensors


def _last(path):
  return path.rsplit('/', 1)[1]


_TORCH = Source(torch_rules, format='torch', buffers=_BUFFERS)

NAME_MAP = NameMap(
  # 'oscar' and 'bert' are aliases: torch files of these projects.
  sources={'torch': _TORCH, 'oscar': _TORCH, 'bert': _TORCH, 'tf1': Source(tf1_rules)},
  moving_averages=False,
  torch_state_dict=torch_state_dict,
)
