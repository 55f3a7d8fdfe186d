"""Names of EfficientNet's variables in torch state dicts, in three dialects.

'timm': `tf_efficientnet_*` and `efficientnet_*` of pytorch-image-models
(timm/models/_efficientnet_blocks.py).
'lukemelas': efficientnet_pytorch and the programs derived from it, such as
efficientnet_lite_pytorch.
'torchvision': `efficientnet_b0` to `b7` (torchvision/models/efficientnet.py), with symmetric
padding and epsilon 0.00001, from `b5` on 0.001.

A state dict contains neither the network's padding nor batch norm's epsilon, and timm has two
networks with the same names: `tf_*` with TensorFlow's padding and 0.001, the others with symmetric
padding and 0.00001. If the file's name says which, `check` refuses the file for a model of the
other kind. In the other two dialects padding and epsilon are known.
"""
from __future__ import annotations

import functools
import os
import re
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from efficientnet.checkpoint_names import layer_places
from tpu_utils.names import check_name
from tpu_utils.weights import hugging_face
from tpu_utils.weights.name_map import Rule

if TYPE_CHECKING:
  import keras

CLASSIFIERS = ('classifier.', '_fc.')  # Prefixes of the classifier's names.
# Prefixes of all names in the dialects' networks.
NETWORK = (
  'conv_stem.', 'bn1.', 'blocks.', 'conv_head.', 'bn2.', '_conv_stem.', '_bn0.', '_blocks.',
  '_conv_head.', '_bn1.', 'features.', *CLASSIFIERS,
)  # fmt: skip

_VARIABLES = {
  'kernel': 'weight',
  'depthwise_kernel': 'weight',
  'condconv_kernel': 'weight',
  'depthwise_condconv_kernel': 'weight',
  'bias': 'bias',
  'gamma': 'weight',
  'beta': 'bias',
  'moving_mean': 'running_mean',
  'moving_variance': 'running_var',
}
_LUKEMELAS = {
  ('stem', False): '_conv_stem', ('stem', True): '_bn0', ('head', False): '_conv_head',
  ('head', True): '_bn1', ('classifier', False): '_fc', ('expand', False): '_expand_conv',
  ('expand', True): '_bn0', ('depthwise', False): '_depthwise_conv', ('depthwise', True): '_bn1',
  ('project', False): '_project_conv', ('project', True): '_bn2',
  ('se_reduce', False): '_se_reduce', ('se_expand', False): '_se_expand',
  ('routing', False): '_routing_fn',
}  # fmt: skip
_TIMM = {
  ('stem', False): 'conv_stem', ('stem', True): 'bn1', ('head', False): 'conv_head',
  ('head', True): 'bn2', ('classifier', False): 'classifier', ('depthwise', False): 'conv_dw',
  ('se_reduce', False): 'se.conv_reduce', ('se_expand', False): 'se.conv_expand',
  ('routing', False): 'routing_fn',
}  # fmt: skip
# Prefixes of names that only one dialect has.
_SIGNS = {'lukemelas': ('_conv_stem', '_blocks.', '_fc.'), 'torchvision': ('features.',)}
_TRANSFORMERS = '.embeddings.convolution.'  # In names of the library transformers alone.
# torchvision's largest networks have its padding and TensorFlow's epsilon.
_TORCHVISION_LARGE = ('efficientnet-b5', 'efficientnet-b6', 'efficientnet-b7')
# timm's names of networks: without `tf_` they have torch's padding.
_TIMM_NAME = re.compile(r'(?:^|[/_.-])(tf_)?efficientnet_(?:b\d|l2|lite\d|e[sml]|em|cc_b\d)')


def rules(model: keras.Model, names: Collection[str]) -> dict[str, Rule]:
  """Returns {variable.path: `Rule`} for a state dict, in the dialect of its names."""
  return {
    path: Rule(name, functools.partial(_from_torch, shape=shape, path=path))
    for path, (name, shape) in _names(model, _dialect(names)).items()
  }


def _dialect(names):
  for dialect, prefixes in _SIGNS.items():
    if any(name.startswith(prefixes) for name in names):
      return dialect
  return 'timm'


def torch_state_dict(model: keras.Model, dialect: str = 'timm') -> dict[str, np.ndarray]:
  """Returns {name: array} of all variables for `load_state_dict` of the dialect's network.

  Raises:
    ValueError: the dialect is unknown.
  """
  named = _names(model, dialect)
  values = {variable.path: np.asarray(variable) for variable in model.weights}
  return {
    name: _to_torch(values[path], shape, path) for path, (name, shape) in named.items()
  }


def check(model: keras.Model, path: str, names: Collection[str]) -> None:
  """Checks that a file's network has the model's padding and epsilon, as far as they are known.

  Args:
    model: the `keras.Model`.
    path: the file. timm's padding and epsilon follow from its name, or from Hugging Face's
      `config.json` in its folder.
    names: names in the file; from those of the other dialects, padding and epsilon follow, too.

  Raises:
    ValueError: the file's network has another padding or epsilon.
  """
  if any(_TRANSFORMERS in f'.{name}' for name in names):
    raise ValueError(
      f"{path} is transformers' own EfficientNet, whose names are not read; nothing was loaded. "
      f"Take timm's or torchvision's weights of {model.name}, or the official checkpoint."
    )
  program, padding, epsilon = _program(path, names, model.name)
  if program is None:
    return
  found = 'symmetric' if model.get_layer('stem_conv2d').padding == 'valid' else 'same'
  found_epsilon = model.get_layer('stem_tpu_batch_normalization').epsilon
  if (found, found_epsilon) == (padding, epsilon):
    return
  raise ValueError(
    f'{path} is from {program}, which has padding {padding!r} and epsilon {epsilon:g} in its batch '
    f'norms; {model.name} was built with {found!r} and {found_epsilon:g}; nothing was loaded. '
    f"Build it with padding='{padding}', batch_norm_epsilon={epsilon:g}."
  )


def _program(path, names, model_name):
  """Returns (program, padding, epsilon) of a file's network; all None if unknown."""
  dialect = _dialect(names)
  if dialect == 'torchvision':
    return 'torchvision', 'symmetric', 1e-3 if model_name in _TORCHVISION_LARGE else 1e-5
  if dialect == 'lukemelas':
    return 'efficientnet_pytorch', 'same', 1e-3
  known = _TIMM_NAME.search(_program_name(path))
  if not known:
    return None, None, None
  return f"timm's {known[0].lstrip('/_.-')}", *(('same', 1e-3) if known[1] else ('symmetric', 1e-5))


def _program_name(path):
  """Returns the network's name in Hugging Face's record, else the name of the file."""
  return str(hugging_face.config(path).get('architecture', '')) or os.path.basename(path)


def _names(model, dialect):
  """Returns {variable.path: (name, shape of a CondConv expert or None)}."""
  check_name('dialect', dialect, _LAYER_NAMES)
  places = layer_places.places(model)
  last_stage = max(place.stage for place in places.values() if place.block is not None)
  named = {}
  for layer in model.layers:
    for variable in layer.weights:
      name = f'{_LAYER_NAMES[dialect](places[layer.name], last_stage)}.{_VARIABLES[variable.name]}'
      named[variable.path] = (name, _expert_shape(layer, variable))
  return named


def _lukemelas_name(place, last_stage):
  del last_stage
  block = '' if place.block is None else f'_blocks.{place.block}.'
  return block + _LUKEMELAS[place.part, place.norm]


def _timm_name(place, last_stage):
  del last_stage
  if place.block is None:
    return _TIMM[place.part, place.norm]
  block = f'blocks.{place.stage}.{place.index}.'
  if place.norm:
    return f'{block}bn{place.parts.index(place.part) + 1}'
  if place.part == 'expand':
    return block + ('conv_pw' if 'depthwise' in place.parts else 'conv_exp')
  if place.part == 'project':
    return block + ('conv_pwl' if 'expand' in place.parts else 'conv_pw')
  return block + _TIMM[place.part, place.norm]


def _torchvision_name(place, last_stage):
  """Returns torchvision's name, which numbers stem, stages and head, and a block's parts."""
  if place.part == 'classifier':
    return 'classifier.1'
  if place.block is None:
    return f'features.{0 if place.part == "stem" else last_stage + 2}.{int(place.norm)}'
  depthwise = int('expand' in place.parts)
  numbers = {'expand': 0, 'depthwise': depthwise, 'project': depthwise + 2}
  number = numbers.get(place.part, depthwise + 1)
  last = _SQUEEZE.get(place.part, int(place.norm))
  return f'features.{place.stage + 1}.{place.index}.block.{number}.{last}'


_SQUEEZE = {'se_reduce': 'fc1', 'se_expand': 'fc2'}
_LAYER_NAMES = {'timm': _timm_name, 'lukemelas': _lukemelas_name, 'torchvision': _torchvision_name}


def _expert_shape(layer, variable):
  """Returns (height, width, inputs, outputs) of a CondConv expert; None for other variables."""
  if not variable.name.endswith('condconv_kernel'):
    return None
  height, width = layer.kernel_size
  inputs = variable.shape[1] // (height * width * getattr(layer, 'filters', 1))
  return (height, width, inputs, getattr(layer, 'filters', 1))


def _axes(path, expert_shape):
  """Returns the axes of torch's kernel in our order: height, width, inputs, outputs.

  Torch's depthwise kernels are [outputs, 1, height, width], where ours have one output per input.
  """
  depthwise = 'depthwise' in path
  if expert_shape:  # The experts come first.
    return (0, 3, 4, 1, 2) if depthwise else (0, 3, 4, 2, 1)
  return (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)


def _from_torch(value, shape, path):
  if not path.endswith('kernel'):
    return value
  if shape:
    height, width, inputs, outputs = shape
    first, second = (inputs, outputs) if 'depthwise' in path else (outputs, inputs)
    if value.ndim != 2 or value.shape[1] != height * width * inputs * outputs:
      return value  # The shape check reports it.
    experts = value.reshape(-1, first, second, height, width)
    return experts.transpose(_axes(path, shape)).reshape(value.shape)
  if value.ndim == 4:
    return value.transpose(_axes(path, shape))
  return value.T


def _to_torch(value, shape, path):
  if not path.endswith('kernel'):
    return value
  if shape:
    experts = value.reshape(-1, *shape)
    return experts.transpose(np.argsort(_axes(path, shape))).reshape(value.shape)
  if value.ndim == 4:
    return value.transpose(np.argsort(_axes(path, shape)))
  return value.T
