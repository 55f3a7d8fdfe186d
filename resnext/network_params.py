"""Parameters of a network, and their values for each model name.

A name is `resnext-DEPTH-CxDd` (cardinality C, base width D) or `resnet-DEPTH`; see `from_name`.
Does not import Keras.

Source: arXiv 1611.05431, Tables 1 to 4; facebookresearch/ResNeXt, models/resnext.lua and opts.lua.
"""
import dataclasses
import numbers
import re
from collections.abc import Mapping
from typing import Any

from tpu_utils.names import check_name, unknown_name

IMAGENET_MEAN_RGB = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STDDEV_RGB = (0.229 * 255, 0.224 * 255, 0.225 * 255)
CIFAR10_MEAN_RGB = (125.3, 123.0, 113.9)
CIFAR10_STDDEV_RGB = (63.0, 62.1, 66.7)
# Official code, datasets/cifar100.lua. Named networks for CIFAR have CIFAR-10's statistics; for
# CIFAR-100 pass these to `build_model`, or give --normalization=cifar100, as its recipe does.
CIFAR100_MEAN_RGB = (129.3, 124.1, 112.4)
CIFAR100_STDDEV_RGB = (68.2, 65.4, 70.4)
# {data set: (mean, standard deviation)}.
NORMALIZATIONS = {
  'imagenet': (IMAGENET_MEAN_RGB, IMAGENET_STDDEV_RGB),
  'cifar10': (CIFAR10_MEAN_RGB, CIFAR10_STDDEV_RGB),
  'cifar100': (CIFAR100_MEAN_RGB, CIFAR100_STDDEV_RGB),
}

BLOCK_FORMS = ('a', 'b', 'c')
STEMS = ('imagenet', 'deep', 'cifar')
SHORTCUT_TYPES = ('A', 'B', 'C')
_EXPANSION = 4  # Ratio of a block's output channels to its width.


@dataclasses.dataclass(frozen=True)
class NetworkParams:
  """Architecture of a network.

  Attributes:
    stage_blocks: number of blocks in each stage; all stages except the first halve the resolution.
    cardinality: C, the number of paths in a block.
    base_width: d, the width of a path in a stage of width 64.
    num_classes: outputs of the classifier; 0 leaves it out.
    stem: 'imagenet' (7x7 with stride 2, then max pooling), 'deep' (three 3x3 instead of the 7x7;
      the `d` variant of arXiv 1812.01187) or 'cifar' (3x3).
    stem_width: channels of the stem.
    width: width of the first stage; it doubles with each stage.
    block_form: 'a', 'b' or 'c', the equivalent forms in Figure 3.
    shortcut_type: 'A' (zeros for new channels), 'B' (1x1 convolution where channels change) or 'C'
      (1x1 convolution in every block).
    average_shortcut: whether shortcuts with stride 2 average 2x2 pixels before the 1x1 convolution.
    preactivation: batch norm and ReLU before the convolutions (arXiv 1603.05027).
    residual: False removes all shortcuts (the ablation of Section 5.1).
    mean_rgb: mean to subtract from the images, in [0, 255].
    stddev_rgb: standard deviation to divide by, in the same units.

  Raises:
    ValueError: a value out of range.
  """

  stage_blocks: tuple[int, ...]
  cardinality: int = 1
  base_width: int = 64
  num_classes: int = 1000
  stem: str = 'imagenet'
  stem_width: int = 64
  width: int = 64
  block_form: str = 'c'
  shortcut_type: str = 'B'
  average_shortcut: bool = False
  preactivation: bool = False
  residual: bool = True
  mean_rgb: tuple[float, ...] = IMAGENET_MEAN_RGB
  stddev_rgb: tuple[float, ...] = IMAGENET_STDDEV_RGB

  def __post_init__(self):
    choices = {'stem': STEMS, 'block_form': BLOCK_FORMS, 'shortcut_type': SHORTCUT_TYPES}
    for name, known in choices.items():
      check_name(name, getattr(self, name), known)
    for name in ('cardinality', 'base_width', 'stem_width', 'width'):
      _check_whole(name, getattr(self, name), at_least=1)
    _check_whole('num_classes', self.num_classes, at_least=0)
    for name in ('average_shortcut', 'preactivation', 'residual'):
      if not isinstance(getattr(self, name), bool):
        raise ValueError(f'{name}={getattr(self, name)!r} must be True or False.')
    if not isinstance(self.stage_blocks, (tuple, list)) or not self.stage_blocks:
      raise ValueError(
        f'stage_blocks={self.stage_blocks!r} must hold the number of blocks in each stage, such as '
        '(3, 4, 6, 3).'
      )
    for count in self.stage_blocks:
      _check_whole('stage_blocks', count, at_least=1)
    if self.path_width(0) < 1:
      raise ValueError(
        f'base_width={self.base_width} with width={self.width} leaves paths without channels: the '
        'width of a path is floor(width * base_width / 64).'
      )
    for name in ('mean_rgb', 'stddev_rgb'):
      _check_channels(name, getattr(self, name))
    if not all(self.stddev_rgb):
      raise ValueError(f'stddev_rgb={self.stddev_rgb!r} must not hold a zero.')

  @property
  def image_size(self) -> int:
    """Height and width in pixels of the paper's training images for this stem."""
    return 32 if self.stem == 'cifar' else 224

  def path_width(self, stage: int) -> int:
    """Returns the channels of one path; `stage` counts from 0."""
    return self.width * 2**stage * self.base_width // 64


@dataclasses.dataclass(frozen=True)
class Block:
  """One block of a network.

  Attributes:
    name: prefix of its layers' names, such as 'layer1_0'.
    filters: output channels.
    strides: of its 3x3 convolution and its shortcut.
    cardinality: number of paths.
    path_width: channels of one path.
    form: 'a', 'b' or 'c'.
    inner_norms: names of the two batch norms between its convolutions.
  """

  name: str
  filters: int
  strides: int
  cardinality: int
  path_width: int
  form: str
  inner_norms: tuple[str, str]


def _check_whole(name, value, at_least):
  if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < at_least:
    raise ValueError(f'{name}={value!r} must be a whole number, at least {at_least}.')


def _check_channels(name, values):
  three = hasattr(values, '__len__') and len(values) == 3
  if not three or not all(isinstance(v, numbers.Real) for v in values):
    raise ValueError(f'{name}={values!r} must hold three numbers, one for each channel.')


def network_blocks(params: NetworkParams) -> list[list[Block]]:
  """Returns the blocks of a network: a list of `Block`s for each stage."""
  return [
    [
      Block(
        name=f'layer{stage + 1}_{i}',
        filters=params.width * 2**stage * _EXPANSION,
        strides=2 if stage > 0 and i == 0 else 1,
        cardinality=params.cardinality,
        path_width=params.path_width(stage),
        form=params.block_form,
        inner_norms=('bn2', 'bn3') if params.preactivation else ('bn1', 'bn2'),
      )
      for i in range(count)
    ]
    for stage, count in enumerate(params.stage_blocks)
  ]


# Names.

# {depth: blocks in each stage}. 200 layers: arXiv 1603.05027.
_IMAGENET_STAGES = {
  50: (3, 4, 6, 3),
  101: (3, 4, 23, 3),
  152: (3, 8, 36, 3),
  200: (3, 24, 36, 3),
}
_NAME = re.compile(r'(resnext|resnet)-(\d+)(d?)(?:-(\d+)x(\d+)d)?')

# The networks of the paper's tables, then some others.
_IMAGENET_MODELS = (
  'resnet-50',
  'resnext-50-2x40d',
  'resnext-50-4x24d',
  'resnext-50-8x14d',
  'resnext-50-32x4d',
  'resnet-101',
  'resnext-101-2x40d',
  'resnext-101-4x24d',
  'resnext-101-8x14d',
  'resnext-101-32x4d',
  'resnet-200',
  'resnet-101-1x100d',
  'resnext-101-2x64d',
  'resnext-101-64x4d',
  'resnet-152',
  'resnext-101-32x8d',
  'resnext-152-32x4d',
)
_CIFAR_MODELS = ('resnext-29-8x64d', 'resnext-29-16x64d', 'resnet-29')


def model_names() -> list[str]:
  """Returns the known names; `from_name` takes other depths, cardinalities and widths, too."""
  return [*_IMAGENET_MODELS, *_CIFAR_MODELS]


def from_name(model_name: str, overrides: Mapping[str, Any] | None = None) -> NetworkParams:
  """Returns the parameters of a named network.

  Args:
    model_name: `resnext-DEPTH-CxDd` or `resnet-DEPTH[-1xDd]`. DEPTH is 50, 101, 152 or 200 for
      ImageNet, otherwise 9n+2 for CIFAR; with `stem='cifar'` any 9n+2. A `d` after the depth
      (`resnext-50d-32x4d`) selects the variant with deep stem and averaging shortcuts.
    overrides: {field of `NetworkParams`: value}.

  Raises:
    ValueError: an unknown name or field, with the nearest ones; a value out of range.
  """
  overrides = dict(overrides or {})
  fields = [field.name for field in dataclasses.fields(NetworkParams)]
  for field in overrides:
    if field not in fields:
      raise unknown_name('model parameter', field, fields)
  depth, deep, cardinality, base_width = _parse(model_name)
  params = {'cardinality': cardinality, 'base_width': base_width}
  if deep:
    params |= {'stem': 'deep', 'average_shortcut': True}
  if 'stem' in overrides:
    check_name('stem', overrides['stem'], STEMS)
  stem = overrides.get('stem', 'imagenet' if depth in _IMAGENET_STAGES or deep else 'cifar')
  if stem == 'cifar':
    params |= _cifar_params(model_name, depth)
  elif depth in _IMAGENET_STAGES:
    params['stage_blocks'] = _IMAGENET_STAGES[depth]
  elif 'stage_blocks' not in overrides:
    raise ValueError(
      f'{model_name!r} with stem={stem!r}: depth {depth} is not one of '
      f'{", ".join(map(str, _IMAGENET_STAGES))}; give stage_blocks for other depths.'
    )
  return NetworkParams(**{**params, **overrides})


def _parse(model_name):
  """Returns (depth, whether it is a `d` variant, cardinality, base width)."""
  match = _NAME.fullmatch(str(model_name))
  if not match:
    raise unknown_name('model', model_name, model_names())
  family, depth, deep, cardinality, base_width = match.groups()
  if family == 'resnext' and cardinality is None:
    raise ValueError(
      f'{model_name!r} lacks cardinality and base width; write it as {model_name}-32x4d.'
    )
  if family == 'resnet' and int(cardinality or 1) != 1:
    raise ValueError(
      f'{model_name!r} has cardinality {cardinality}; a network with several paths is called '
      f'{model_name.replace("resnet", "resnext", 1)}.'
    )
  return int(depth), bool(deep), int(cardinality or 1), int(base_width or 64)


def _cifar_params(model_name, depth):
  """Returns the parameters that differ for CIFAR: three stages of n blocks, 10 classes."""
  blocks, rest = divmod(depth - 2, 9)
  if rest or blocks < 1:
    raise ValueError(
      f'{model_name!r}: depth {depth} is neither one of {", ".join(map(str, _IMAGENET_STAGES))} '
      f'nor 9n+2, as CIFAR networks are (29, 38, 47, ...). Known names: {", ".join(model_names())}.'
    )
  return {
    'stem': 'cifar',
    'stage_blocks': (blocks,) * 3,
    'num_classes': 10,
    'mean_rgb': CIFAR10_MEAN_RGB,
    'stddev_rgb': CIFAR10_STDDEV_RGB,
  }
