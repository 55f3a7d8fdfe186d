"""Parameters of a network (`GlobalParams`) and its stages (`BlockArgs`), and compound scaling.

Every family is described by these records; the builders (`efficientnet_builder.py`, `lite/`, ...)
are tables of them.

Source: arXiv 1905.11946, Section 3.3; tensorflow/tpu,
models/official/efficientnet/efficientnet_model.py.
"""
import dataclasses
import math
import numbers
from collections.abc import Sequence

import keras

from tpu_utils.names import check_name, unknown_name

PADDINGS = ('same', 'symmetric')
IMAGENET_MEAN_RGB = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STDDEV_RGB = (0.229 * 255, 0.224 * 255, 0.225 * 255)


@dataclasses.dataclass(frozen=True)
class GlobalParams:
  """Parameters of a whole network. Names and meaning are the official code's.

  Attributes:
    width_coefficient, depth_coefficient: factors for filters and repeats; None or 0: no scaling.
    survival_prob: block i of n survives drop connect with probability 1 - (1 - this) * i / n; None,
      0 or 1 turns drop connect off.
    num_classes: 0 leaves out the classifier.
    relu_fn: name of a Keras activation.
    local_pooling: whether to pool by a window as large as the feature map, for TFLite.
    fix_head_stem: whether stem, head, first and last stage are exempt from scaling.
    padding: 'same' as in TensorFlow, which at stride 2 pads the odd pixel on the right and below,
      or 'symmetric' as in torch (timm's `efficientnet_*` without `tf_`).
    mean_rgb, stddev_rgb: in units of [0, 255].
  """

  blocks_args: tuple = ()
  batch_norm_momentum: float = 0.99
  batch_norm_epsilon: float = 1e-3
  dropout_rate: float = 0.2
  survival_prob: float | None = 0.8
  num_classes: int = 1000
  width_coefficient: float | None = None
  depth_coefficient: float | None = None
  depth_divisor: int = 8
  min_depth: int | None = None
  relu_fn: str = 'swish'
  use_se: bool = True
  se_coefficient: float | None = None
  local_pooling: bool = False
  condconv_num_experts: int | None = None
  clip_projection_output: bool = False
  fix_head_stem: bool = False
  padding: str = 'same'
  mean_rgb: tuple = IMAGENET_MEAN_RGB
  stddev_rgb: tuple = IMAGENET_STDDEV_RGB

  def __post_init__(self):
    _check_range('dropout_rate', self.dropout_rate or 0, 0, 1)
    _check_range('survival_prob', self.survival_prob or 0, 0, 1)
    _check_range('batch_norm_momentum', self.batch_norm_momentum, 0, 1)
    _check_range('batch_norm_epsilon', self.batch_norm_epsilon, 0, math.inf)
    _check_count('num_classes', self.num_classes or 0, 0)
    _check_count('depth_divisor', self.depth_divisor, 1)
    for name in ('width_coefficient', 'depth_coefficient'):
      _check_range(name, getattr(self, name) or 0, 0, math.inf)
    for name in ('mean_rgb', 'stddev_rgb'):
      if len(getattr(self, name)) != 3:
        value = getattr(self, name)
        raise ValueError(f'{name}={value!r} must hold three numbers, one per channel.')
    _check_activation(self.relu_fn)
    check_name('padding', self.padding, PADDINGS)
    if not all(self.stddev_rgb):
      raise ValueError(f'stddev_rgb={self.stddev_rgb!r} must not hold a zero.')


@dataclasses.dataclass(frozen=True)
class BlockArgs:
  """Parameters of a stage (`num_repeat` blocks), or after `scale_blocks` of one block.

  Attributes:
    conv_type: 1 for blocks without depthwise convolution, otherwise 0.
    fused_conv: 1 replaces expansion and depthwise convolution by one convolution.
    space2depth: 1 in the stage that folds 2x2 pixels into the channels, 2 in later folded ones.
    activation_fn: name of a Keras activation; None is the network's `relu_fn`.
  """

  kernel_size: int
  num_repeat: int
  input_filters: int
  output_filters: int
  expand_ratio: int
  strides: tuple = (1, 1)
  id_skip: bool = True
  se_ratio: float | None = None
  conv_type: int = 0
  fused_conv: int = 0
  space2depth: int = 0
  condconv: bool = False
  activation_fn: str | None = None

  def __post_init__(self):
    for name in ('kernel_size', 'num_repeat', 'input_filters', 'output_filters', 'expand_ratio'):
      _check_count(name, getattr(self, name), 1)
    for stride in self.strides:
      _check_count('stride', stride, 1)
    if self.conv_type not in (0, 1):
      raise ValueError(f'conv_type={self.conv_type} of a block must be 0 or 1.')
    if self.space2depth not in (0, 1, 2):
      raise ValueError(f'space2depth={self.space2depth} of a block must be 0, 1 or 2.')
    _check_activation(self.activation_fn)

  @property
  def expanded_filters(self) -> int:
    """Filters after the expansion."""
    return self.input_filters * self.expand_ratio


def _check_activation(name):
  try:
    keras.activations.get(name)
  except ValueError:
    known = [n for n in dir(keras.activations) if not n.startswith('_')]
    raise unknown_name('activation', name, known) from None


def _check_range(name, value, low, high):
  if not isinstance(value, numbers.Real) or not low <= value <= high:
    bounds = f'at least {low}' if high == math.inf else f'from {low} to {high}'
    raise ValueError(f'{name}={value!r} is out of range; it must be a number {bounds}.')


def _check_count(name, value, least):
  if not isinstance(value, numbers.Integral) or value < least:
    raise ValueError(
      f'{name}={value!r} is out of range; it must be a whole number, at least {least}.'
    )


def round_filters(filters: int, global_params: GlobalParams, skip: bool = False) -> int:
  """Scales filters and rounds to a multiple of `depth_divisor`, at most 10 % below."""
  multiplier = global_params.width_coefficient
  if skip or not multiplier:
    return filters
  divisor = global_params.depth_divisor
  scaled = filters * multiplier
  least = global_params.min_depth or divisor
  rounded = max(least, int(scaled + divisor / 2) // divisor * divisor)
  if rounded < 0.9 * scaled:
    rounded += divisor
  return int(rounded)


def round_repeats(repeats: int, global_params: GlobalParams, skip: bool = False) -> int:
  """Scales a number of repeats and rounds it up."""
  multiplier = global_params.depth_coefficient
  if skip or not multiplier:
    return repeats
  return int(math.ceil(multiplier * repeats))


def scale_blocks(blocks_args: Sequence[BlockArgs], global_params: GlobalParams) -> list[BlockArgs]:
  """Expands a network's stages into its blocks in order, one `BlockArgs` each."""
  blocks = []
  last = len(blocks_args) - 1
  for i, stage in enumerate(blocks_args):
    fixed = global_params.fix_head_stem and i in (0, last)
    stage = dataclasses.replace(
      stage,
      input_filters=round_filters(stage.input_filters, global_params),
      output_filters=round_filters(stage.output_filters, global_params),
      num_repeat=round_repeats(stage.num_repeat, global_params, skip=fixed),
    )
    blocks += _stage_blocks(stage)
  return blocks


def _stage_blocks(stage):
  """Returns the blocks of a stage; only the first has its stride and change of filters."""
  first, rest = (stage, stage) if not stage.space2depth else _space2depth_blocks(stage)
  rest = dataclasses.replace(rest, input_filters=rest.output_filters, strides=(1, 1))
  return [first] + [rest] * (stage.num_repeat - 1)


def _space2depth_blocks(stage):
  """Returns (first block, each further block) of a stage on a map folded 2x2 into the channels.

  Such a stage has 4 times as many filters and kernels half as large. A stage with stride 2 ends the
  folded part: the folding has already halved the map, and its further blocks are ordinary ones.
  """
  factor = int(4 / stage.strides[0] / stage.strides[1])
  first = dataclasses.replace(
    stage,
    input_filters=stage.input_filters * factor,
    output_filters=stage.output_filters * factor,
    kernel_size=(stage.kernel_size + 1) // 2 if factor > 1 else stage.kernel_size,
  )
  if stage.strides == (2, 2):
    return dataclasses.replace(first, strides=(1, 1)), dataclasses.replace(stage, space2depth=0)
  return first, dataclasses.replace(first, space2depth=2)


def block_survival_prob(index: int, num_blocks: int, global_params: GlobalParams) -> float | None:
  """Returns the survival probability of block `index`, or None without drop connect."""
  if not global_params.survival_prob:
    return None
  return 1.0 - (1.0 - global_params.survival_prob) * float(index) / num_blocks


def se_reduced_filters(block: BlockArgs, global_params: GlobalParams) -> int | None:
  """Returns the filters between squeeze-and-excitation's convolutions, or None without them."""
  ratio = block.se_ratio
  if not global_params.use_se or ratio is None or not 0 < ratio <= 1 or block.conv_type == 1:
    return None
  filters = int(block.input_filters * (ratio * (global_params.se_coefficient or 1)))
  # The ratio refers to the filters before the folding.
  return max(1, filters // 4 if block.space2depth == 1 else filters)
