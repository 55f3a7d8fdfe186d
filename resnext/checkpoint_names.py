"""Names of ResNeXt's variables in checkpoints of torchvision, timm and the official Lua code.

Our layers are named after torchvision's modules with `.` written as `_`; timm's names are the same.
Block forms (a) and (b) have one layer for each path, such as `layer1_0_path7_conv1`. torchvision,
timm and most Lua files have form (c), where the paths are slices of one array (`layer1_0_conv1`);
other Lua files have form (b).
"""
from __future__ import annotations

import collections
import functools
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from tpu_utils.weights import hugging_face
from tpu_utils.weights.name_map import NameMap, Rule, Source

if TYPE_CHECKING:
  import keras

CLASSIFIER = 'fc/'
# Prefixes of all names in state dicts.
NETWORK = ('conv1.', 'bn1.', 'layer1.', 'layer2.', 'layer3.', 'layer4.', 'norm.', 'fc.')
_PATH_NUMBER = re.compile(r'_path(\d+)(?=_)')
_BLOCK = re.compile(r'(layer\d+)_(\d+)_(.+)')
# Tensors of Lua's form (b): stage.block.1.1 is a block's body; in it, 1 is the table of paths
# (1.path.layer.field), 3 the convolution after them and 4 its batch norm.
_LUA_PATH = re.compile(r'(\d+\.\d+\.1\.1)\.1\.(\d+)\.(\d+\.\w+)')
_LUA_AFTER_PATHS = re.compile(r'(\d+\.\d+\.1\.1)\.([34])\.(\w+)')
_TORCH_VARIABLES = {
  'kernel': 'weight',
  'bias': 'bias',
  'gamma': 'weight',
  'beta': 'bias',
  'moving_mean': 'running_mean',
  'moving_variance': 'running_var',
}


def merged_path(variable_path: str) -> tuple[str, int | None]:
  """Returns (`variable_path` in form (c), index of its path in the block or None)."""
  match = _PATH_NUMBER.search(variable_path)
  return _PATH_NUMBER.sub('', variable_path), int(match[1]) if match else None


def path_axis(variable_path: str) -> int:
  """Returns the axis along which form (c) concatenates a variable of all paths."""
  layer, variable = variable_path.rsplit('/', 1)
  if variable != 'kernel':
    return 0
  return 2 if layer.endswith('_conv3') else 3


def torch_name(variable_path: str) -> str:
  """Returns the name in a state dict of torchvision or timm; `variable_path` is in form (c)."""
  layer, variable = variable_path.rsplit('/', 1)
  layer = _BLOCK.sub(r'\1.\2.\3', layer)
  layer = re.sub(r'(downsample|^conv1)_(\d+)$', r'\1.\2', layer)
  return f'{layer}.{_TORCH_VARIABLES[variable]}'


def classifier_names(model: keras.Model) -> tuple[str, ...]:
  """Returns prefixes of the classifier's names in files: torch's, and the position in Lua's."""
  return ('fc.', f'{_lua_positions(model)("fc")}.')


def torch_rules(model: keras.Model, names: Collection[str]) -> dict[str, Rule]:
  """Returns rules for a state dict of torchvision or timm."""
  del names
  return _rules(model, torch_name)


def check(model: keras.Model, path: str, names: Collection[str]) -> None:
  """Refuses files of the library transformers, whose networks have other names.

  Raises:
    ValueError: the file is one.
  """
  if any('.embedder.embedder.' in f'.{name}' for name in names):
    raise ValueError(
      f"{path} is transformers' own ResNet, whose names are not read; nothing was loaded. Take "
      f"timm's or torchvision's weights of {model.name}."
    )


def torch_state_dict(model: keras.Model) -> dict[str, np.ndarray]:
  """Returns {torchvision's name: array} of all variables, with paths merged as in form (c)."""
  parts = collections.defaultdict(list)
  for variable in model.weights:
    parts[merged_path(variable.path)[0]].append(np.asarray(variable))
  merged = {
    path: np.concatenate(arrays, path_axis(path)) if len(arrays) > 1 else arrays[0]
    for path, arrays in parts.items()
  }
  return {torch_name(path): _to_torch(path, value) for path, value in merged.items()}


def t7_rules(model: keras.Model, names: Collection[str]) -> dict[str, Rule]:
  """Returns rules for a file of the official Lua code, after `merge_lua_paths`."""
  del names
  position = _lua_positions(model)

  def name(variable_path):
    layer, variable = variable_path.rsplit('/', 1)
    return f'{position(layer)}.{_TORCH_VARIABLES[variable]}'

  return _rules(model, name)


def merge_lua_paths(tensors: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
  """Converts the tensors of an official Lua network from form (b) to form (c).

  A block's body in form (b) is a sequence: table of paths, concatenation, convolution, batch norm.
  The paths' tensors are concatenated; the convolution and norm move to their positions in form (c).
  """
  if not any(_LUA_PATH.fullmatch(name) for name in tensors):
    return tensors
  merged = {}
  paths: dict[str, dict[int, np.ndarray]] = collections.defaultdict(dict)
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
  # The output channels are the first axis of Lua's kernels, too.
  for name, parts in paths.items():
    merged[name] = np.concatenate([parts[i] for i in sorted(parts)])
  return merged


def _rules(model, name_of):
  """Returns {variable path: rule} for files in Torch's layout and form (c).

  Args:
    model: in any form.
    name_of: function from a variable's path in form (c) to its name in the file.
  """
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
  """Returns slice `number` of `count`, with kernels as [height, width, in, out] or [in, out]."""
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

  The network is a sequence: convolution, batch norm, ReLU, max pooling (ImageNet only), stages,
  average pooling, reshape, linear layer. Pre-activated networks have batch norm and ReLU after the
  stages and, for CIFAR, none in the stem.
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


def _positions(body, shortcut, *parts, **others):
  """Returns {part: position} for a block with a `body` of convolutions, norms and ReLUs."""
  numbers, number = {}, 1
  for part in parts:
    numbers[part] = f'{body}.{number}'
    number += 1 if part.startswith('conv') else 2  # A ReLU follows each norm, except a last one.
  return {**numbers, 'downsample_0': f'{shortcut}.1', 'downsample_1': f'{shortcut}.2', **others}


# Positions in a block, which is a sequence: parallel (body, shortcut), their sum.
_ORIGINAL_BLOCK = _positions('1.1', '1.2', 'conv1', 'bn1', 'conv2', 'bn2', 'conv3', 'bn3')
_PREACTIVATED_BLOCK = _positions('1.1', '1.2', 'bn1', 'conv1', 'bn2', 'conv2', 'bn3', 'conv3')
# The first block of a stage has batch norm and ReLU before the pair, or none after the stem's ReLU.
_FIRST_BLOCK = _positions('3.1', '3.2', 'conv1', 'bn2', 'conv2', 'bn3', 'conv3', bn1='1')
_UNACTIVATED_BLOCK = _positions('1.1', '1.2', 'conv1', 'bn2', 'conv2', 'bn3', 'conv3')

NAME_MAP = NameMap(
  sources={
    'torch': Source(
      torch_rules, check=check, normalization=hugging_face.normalization, network=NETWORK
    ),
    't7': Source(t7_rules, prepare=merge_lua_paths),
  },
  classifier=CLASSIFIER,
  classifier_names=classifier_names,
  torch_state_dict=torch_state_dict,
)
