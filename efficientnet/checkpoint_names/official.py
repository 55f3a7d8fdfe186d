"""Names of EfficientNet's variables in checkpoints of the official TF1 program.

Our layers are named after the official variable scopes with `/` written as `_`, so the official
name follows from the layer's: `blocks_3_se_conv2d_1/kernel` is
`<model>/blocks_3/se/conv2d_1/kernel`.

CondConv kernels are the exception. The official layers are plain Keras layers: TF1 puts their
kernels under a further scope (`<model>/model/blocks_9/cond_conv2d_4/condconv_kernel`) and numbers
them throughout the process, including layers without variables. `rules` identifies them by block,
kind and order.
"""
from __future__ import annotations

import collections
import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from tpu_utils.weights.name_map import Rule

if TYPE_CHECKING:
  import keras

_SCOPES = re.compile(r'(stem|head|blocks_\d+)_(?:(se|space2depth)_)?(.+)')
_COND_CONV = re.compile(r'(?:.+/)?(blocks_\d+)[_/]((?:depthwise_)?cond_conv2d)(?:_(\d+))?/(\w+)')
CLASSIFIER = 'head_dense/'
_BATCH_NORM = 'tpu_batch_normalization'
# With --optimizer=lars, the official code's batch norm has another name.
_LARS_BATCH_NORM = 'batch_normalization'


def official_names(model: keras.Model) -> dict[str, str]:
  """Returns {variable.path: TF1 name}, as in an official process that builds one model."""
  paths = [v.path for v in model.weights]
  names = {path: _scoped_name(path, model.name) for path in paths}
  return names | _official_cond_conv_names(paths, model.name)


def _scoped_name(path, model_name):
  layer, variable = path.rsplit('/', 1)
  scopes = [scope for scope in _SCOPES.fullmatch(layer).groups() if scope]
  if 'depthwise_conv2d' in layer and variable == 'kernel':
    variable = 'depthwise_kernel'
  return '/'.join([model_name, *scopes, variable])


def _official_cond_conv_names(paths, model_name):
  """Returns {path: TF1 name} of the CondConv variables.

  Each official block with CondConv creates a fused, an expanding, a depthwise and a projecting
  convolution; those that it does not use are numbered, too.
  """
  places = _cond_conv_places(paths)
  blocks = list(dict.fromkeys(block for block, *_ in places))
  names = {}
  for (block, kind, variable, rank), path in places.items():
    number = blocks.index(block)
    if kind == 'cond_conv2d':
      is_last = (block, kind, variable, rank + 1) not in places
      is_fused = not any(place[:2] == (block, 'depthwise_cond_conv2d') for place in places)
      number = 3 * number + (2 if is_last else 0 if is_fused else 1)
    layer = f'{kind}_{number}' if number else kind
    names[path] = f'{model_name}/model/{block}/{layer}/{variable}'
  return names


def _cond_conv_places(names):
  """Returns {(block, kind, variable, rank by number): name} for the CondConv variables."""
  groups = collections.defaultdict(list)
  for name in names:
    match = _COND_CONV.fullmatch(name)
    if match:
      block, kind, number, variable = match.groups()
      groups[block, kind, variable].append((int(number or 0), name))
  return {
    (*group, rank): name
    for group, members in groups.items()
    for rank, (_, name) in enumerate(sorted(members))
  }


def rules(model: keras.Model, names: Collection[str]) -> dict[str, Rule]:
  """Returns {variable.path: `Rule`} for a checkpoint with these names, from any optimizer."""
  norms = [name for name in names if _LARS_BATCH_NORM in name]
  lars = bool(norms) and not any(_BATCH_NORM in name for name in norms)
  official = official_names(model)
  places = _cond_conv_places(names)
  found = {
    path: places[place]
    for place, path in _cond_conv_places(official).items()
    if place in places
  }

  def rule(path):
    name = found.get(path, official[path])
    return Rule(name.replace(_BATCH_NORM, _LARS_BATCH_NORM) if lars else name)

  return {path: rule(path) for path in official}
