"""Stage and purpose of each EfficientNet layer, from which other programs' names follow.

Other programs count stages and name layers by their purpose (`block2a_expand_conv`,
`blocks.1.0.conv_pw`); ours are numbered as in the official code (`blocks_1_conv2d`).
"""
from __future__ import annotations

import collections
import dataclasses
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  import keras

_LAYER = re.compile(r'(stem|head|blocks_(\d+))_(?:(se)_)?([a-z0-9_]*?)(?:_(\d+))?')
_CONVOLUTIONS = ('conv2d', 'cond_conv2d')
_DEPTHWISE = ('depthwise_conv2d', 'depthwise_cond_conv2d')
_NORM = 'tpu_batch_normalization'
_BLOCK_PARTS = ('expand', 'depthwise', 'project')
CLASSIFIER = 'head_dense'


@dataclasses.dataclass(frozen=True)
class Place:
  """Position and purpose of a layer in its network.

  Attributes:
    part: 'stem', 'head', 'expand', 'depthwise', 'project', 'se_reduce', 'se_expand', 'routing' or
      'classifier'.
    norm: whether it is the batch norm after that part.
    block: number of its block, or None outside blocks.
    stage: number of the block's stage.
    index: number of the block in the stage.
    parts: those of 'expand', 'depthwise' and 'project' that the block has.
  """

  part: str
  norm: bool = False
  block: int | None = None
  stage: int | None = None
  index: int | None = None
  parts: tuple[str, ...] = ()


def places(model: keras.Model) -> dict[str, Place]:
  """Returns {layer name: `Place`} for the layers with variables.

  Raises:
    ValueError: a layer that no other program has (EfficientNet-X folds space into channels).
  """
  layers = [layer for layer in model.layers if layer.weights]
  found, blocks = {}, collections.defaultdict(list)
  for layer in layers:
    match = _LAYER.fullmatch(layer.name)
    if not match or 'space2depth' in layer.name:
      raise ValueError(
        f'{model.name}: no other program has a layer like {layer.name}; '
        'official TF1 checkpoints fit it.'
      )
    scope, number, squeeze, kind, rank = match.groups()
    if number is None:
      part = 'classifier' if layer.name == CLASSIFIER else scope
      found[layer.name] = Place(part, norm=kind == _NORM)
    else:
      blocks[int(number)].append((layer, squeeze, kind, int(rank or 0)))
  stages = _stages([members for _, members in sorted(blocks.items())])
  for (number, members), (stage, index) in zip(sorted(blocks.items()), stages, strict=True):
    parts = _parts(members)
    for layer, squeeze, kind, rank in members:
      part = _part(parts, squeeze, kind, rank)
      found[layer.name] = Place(part, kind == _NORM, number, stage, index, parts)
  return found


def _parts(members):
  """Returns the names of a block's convolutions, in order."""
  kinds = [kind for _, squeeze, kind, _ in members if not squeeze]
  depthwise = any(kind in _DEPTHWISE for kind in kinds)
  expand = sum(kind in _CONVOLUTIONS for kind in kinds) == 2
  return tuple(
    part for part, exists in zip(_BLOCK_PARTS, (expand, depthwise, True), strict=True) if exists
  )


def _part(parts, squeeze, kind, rank):
  """Returns the part of a block to which the layer number `rank` of its kind belongs."""
  if squeeze:
    return 'se_expand' if rank else 'se_reduce'
  if kind == 'dense':
    return 'routing'
  if kind in _DEPTHWISE:
    return 'depthwise'
  if kind == _NORM:
    return parts[rank]
  return [part for part in parts if part != 'depthwise'][rank]


def _stages(blocks):
  """Returns (stage, index in it) of each block; a new stride, kernel or width starts a stage."""
  numbers, before = [], None
  for members in blocks:
    convolutions = [
      layer for layer, squeeze, kind, _ in members if not squeeze and 'conv2d' in kind
    ]
    strides = max(max(layer.strides) for layer in convolutions)
    kernel = max(max(layer.kernel_size) for layer in convolutions)
    shape = (kernel, convolutions[-1].filters)
    if before is None or strides > 1 or shape != before:
      numbers.append((numbers[-1][0] + 1 if numbers else 0, 0))
    else:
      numbers.append((numbers[-1][0], numbers[-1][1] + 1))
    before = shape
  return numbers
