"""Names of ResNeXt's variables in other programs' checkpoints.

Our layers are named after torchvision's modules with `.` written as `_`; timm's names are the same.
The separate paths of block forms (a) and (b) are `layer1_0_path7_conv1` and so on. Other programs
have form (c), where the paths of `layer1_0_conv1` are slices of one array; the official Lua code
has (b), too.
"""
from __future__ import annotations

import collections
import functools
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from tpu_utils.weights.name_map import NameMap, Rule, Source

if TYPE_CHECKING:
  import keras

CLASSIFIER = 'fc/'
_PATH_NUMBER = re.compile(r'_path(\d+)(?=_)')
_BLOCK = re.compile(r'(layer\d+)_(\d+)_(.+)')
_TORCH_VARIABLES = {
  'kernel': 'weight',
  'bias': 'bias',
  'gamma': 'weight',
  'beta': 'bias',
  'moving_mean': 'running_mean',
  'moving_variance': 'running_var',
}


def merged_path(variable_path: str) -> tuple[str, int | None]:
  """Returns (`variable_path` in form (c), number of the path in its block or None)."""
  match = _PATH_NUMBER.search(variable_path)
  return _PATH_NUMBER.sub('', variable_path), int(match[1]) if match else None


def path_axis(variable_path: str) -> int:
  """Returns the axis along which form (c) concatenates the paths of a variable."""
  layer, variable = variable_path.rsplit('/', 1)
  if variable != 'kernel':
    return 0
  return 2 if layer.endswith('_conv3') else 3


def torch_name(variable_path: str) -> str:
  """Returns the name of a variable of form (c) in a state dict of torchvision or timm."""
  layer, variable = variable_path.rsplit('/', 1)
  layer = _BLOCK.sub(r'\1.\2.\3', layer)
  layer = re.sub(r'(downsample|^conv1)_(\d+)$', r'\1.\2', layer)
  return f'{layer}.{_TORCH_VARIABLES[variable]}'


def classifier_names(model: keras.Model) -> tuple[str, ...]:
  """Returns prefixes of the classifier's names in files; the official Lua code's are positions."""
  return ('fc.', f'{_lua_positions(model)("fc")}.')


def torch_rules(model: keras.Model, names: Collection[str]) -> dict[str, Rule]:
  """Returns rules for a state dict of torchvision or timm."""
  del names
  return _rules(model, torch_name)


def torch_state_dict(model: keras.Model) -> dict[str, np.ndarray]:
  """Returns {torchvision's name: array} of all variables, paths merged as in form (c)."""
  parts = collections.defaultdict(list)
  for variable in model.weights:
    parts[merged_path(variable.path)[0]].append(np.asarray(variable))
  merged = {
    path: np.concatenate(arrays, path_axis(path)) if len(arrays) > 1 else arrays[0]
    for path, arrays in parts.items()
  }
  return {torch_name(path): _to_torch(path, value) for path, value in merged.items()}


def t7_rules(model: keras.Model, names: Collection[str]) -> dict[str, Rule]:
  """Returns rules for a network that the official Lua code saved, after `merge_lua_paths`."""
  del names
  position = _lua_positions(model)

  def name(variable_path):
    layer, variable = variable_path.rsplit('/', 1)
    return f'{position(layer)}.{_TORCH_VARIABLES[variable]}'

  return _rules(model, name)


def merge_lua_paths(tensors: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
  """Renames the tensors of an official Lua network from form (b) to form (c).

  The body of a block in form (b) is a table of paths, their concatenation, convolution and norm.
  The tensors of the paths are concatenated.
  """
  if not any(_LUA_PATH.fullmatch(name) for name in tensors):
    return tensors
  merged, paths = {}, collections.defaultdict(dict)
  for name, value in tensors.items():
    path, after = _LUA_PATH.fullmatch(name), _LUA_AFTER_PATHS.fullmatch(name)
    if path:
      body, number, layer = path.groups()
      paths[f'{body}.{layer}'][int(number)] = value
    elif after:
      body, position, field = after.groups()
      merged[f'{body}.{int(position) + 4}.{field}'] = value
    else:
      merged[name] = value
  # Outputs come first in Lua's kernels, too.
  for name, parts in paths.items():
    merged[name] = np.concatenate([parts[i] for i in sorted(parts)])
  return merged


# stage.block.1.1 is the body; then come the table of paths, a path, and one of its layers.
_LUA_PATH = re.compile(r'(\d+\.\d+\.1\.1)\.1\.(\d+)\.(\d+\.\w+)')
_LUA_AFTER_PATHS = re.compile(r'(\d+\.\d+\.1\.1)\.([34])\.(\w+)')


def _rules(model, name_of):
  """Returns rules for arrays in Torch's layout that concatenate the paths of a block."""
  path_counts = collections.Counter(merged_path(v.path)[0] for v in model.weights)

  def rule(variable_path):
    merged, number = merged_path(variable_path)
    count = 1 if number is None else path_counts[merged]
    transform = functools.partial(
      _from_torch, variable_path=merged, number=number or 0, count=count
    )
    return Rule(name_of(merged), transform, part=number)

  return {v.path: rule(v.path) for v in model.weights}


def _from_torch(value, variable_path, number, count):
  """Returns slice `number` of `count`; kernels become [height, width, in, out] or [in, out]."""
  if variable_path.endswith('/kernel'):
    value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
  axis = path_axis(variable_path)
  if count > 1 and value.ndim > axis and value.shape[axis] % count == 0:
    value = np.split(value, count, axis)[number]
  return value


def _to_torch(variable_path, value):
  if variable_path.endswith('/kernel'):
    return value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
  return value


def _lua_positions(model):
  """Returns a function from a layer's name to its position in the Lua network ('5.1.1.1.4').

  The network is a sequence: convolution, batch norm, ReLU, the ImageNet networks' max pooling, the
  stages, average pooling, a reshaping, and the linear layer. Pre-activated ones lack the first
  batch norm and ReLU on CIFAR, and have both after the stages.
  """
  names = {layer.name for layer in model.layers}
  preactivated = 'norm' in names
  first_stage = 2 + 2 * ('bn1' in names) + ('maxpool' in names)
  stages = {name.split('_')[0] for name in names if _BLOCK.match(name)}
  after = first_stage + len(stages)
  single = {'conv1': 1, 'bn1': 2, 'norm': after, 'fc': after + 2 + 2 * preactivated}

  def position(layer):
    block = _BLOCK.fullmatch(layer)
    if not block:
      return single[layer]
    stage, index, part = block.groups()
    start = f'{first_stage + int(stage[len("layer"):]) - 1}.{int(index) + 1}'
    if not preactivated:
      return f'{start}.{_ORIGINAL_BLOCK[part]}'
    if f'{stage}_{index}_bn1' not in names:
      return f'{start}.{_UNACTIVATED_BLOCK[part]}'
    return f'{start}.{(_FIRST_BLOCK if index == "0" else _PREACTIVATED_BLOCK)[part]}'

  return position


def _positions(body, shortcut, *parts, first=1, **others):
  """Returns {part: position} for a block with a `body` of convolutions, norms and ReLUs."""
  numbers = {}
  for part in parts:
    numbers[part] = f'{body}.{first}'
    first += 1 if part.startswith('conv') else 2  # A ReLU follows each norm but the last.
  return {**numbers, 'downsample_0': f'{shortcut}.1', 'downsample_1': f'{shortcut}.2', **others}


# Positions inside a block: a sequence of a parallel pair (body, shortcut) and its sum.
_ORIGINAL_BLOCK = _positions('1.1', '1.2', 'conv1', 'bn1', 'conv2', 'bn2', 'conv3', 'bn3')
_PREACTIVATED_BLOCK = _positions('1.1', '1.2', 'bn1', 'conv1', 'bn2', 'conv2', 'bn3', 'conv3')
# The first block of a stage has norm and ReLU before the pair; after the stem it has none.
_FIRST_BLOCK = _positions('3.1', '3.2', 'conv1', 'bn2', 'conv2', 'bn3', 'conv3', bn1='1')
_UNACTIVATED_BLOCK = _positions('1.1', '1.2', 'conv1', 'bn2', 'conv2', 'bn3', 'conv3')

NAME_MAP = NameMap(
  sources={'torch': Source(torch_rules), 't7': Source(t7_rules, prepare=merge_lua_paths)},
  classifier=CLASSIFIER,
  classifier_names=classifier_names,
  torch_state_dict=torch_state_dict,
)
