"""The EfficientNet network: MBConv blocks between a stem and a head, as a Keras functional graph.

Source: arXiv 1905.11946; tensorflow/tpu, models/official/efficientnet/efficientnet_model.py.

One set of parameters (`GlobalParams`) and one record a block (`BlockArgs`) describe every family;
the builders (`efficientnet_builder.py`, `lite/`, ...) are tables of these records. Layers are named
after the official variable scopes with `/` written as `_`, so a layer's name gives its checkpoint
name.
"""
import dataclasses
import math
import numbers
from collections.abc import Sequence

import keras

from efficientnet import layers
from tpu_utils.names import check_name, unknown_name

IMAGENET_MEAN_RGB = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STDDEV_RGB = (0.229 * 255, 0.224 * 255, 0.225 * 255)


@dataclasses.dataclass(frozen=True)
class GlobalParams:
  """Parameters of a whole network. Names and meaning are the official code's.

  `width_coefficient` and `depth_coefficient` of None or 0 leave filters and repeats as they are.
  `survival_prob` of None, 0 or 1 means no drop connect; from block to block it falls linearly from
  1 to this value.
  `num_classes` of 0 leaves out the classifier. `relu_fn` is the name of a Keras activation.
  `fix_head_stem` exempts stem, head, first and last stage from scaling. `local_pooling` pools by a
  window as large as the feature map, for TFLite. `padding` is 'same', TensorFlow's, which at stride
  2 has the odd pixel on the right and below, or 'symmetric', torch's (timm's `efficientnet_*`
  without `tf_`).
  `mean_rgb` and `stddev_rgb` are in units of 0..255.
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
        raise ValueError(f'{name}={getattr(self, name)!r} must hold three numbers, one a channel.')
    _check_activation(self.relu_fn)
    check_name('padding', self.padding, layers.PADDINGS)
    if not all(self.stddev_rgb):
      raise ValueError(f'stddev_rgb={self.stddev_rgb!r} must not hold a zero.')


@dataclasses.dataclass(frozen=True)
class BlockArgs:
  """One stage (`num_repeat` blocks), or after `scale_blocks` one block.

  `conv_type` 1 is the block without depthwise convolution, `fused_conv` 1 replaces expansion and
  depthwise by one convolution. `space2depth` 1 starts and 2 continues a space-to-depth part.
  `activation_fn` of None is the network's `relu_fn`.
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


# Compound scaling (Section 3.3): from stages to blocks.


def round_filters(filters: int, global_params: GlobalParams, skip: bool = False) -> int:
  """Scales filters to a multiple of `depth_divisor`, at most 10 % below the exact number."""
  multiplier = global_params.width_coefficient
  if skip or not multiplier:
    return filters
  divisor = global_params.depth_divisor
  filters *= multiplier
  least = global_params.min_depth or divisor
  rounded = max(least, int(filters + divisor / 2) // divisor * divisor)
  if rounded < 0.9 * filters:
    rounded += divisor
  return int(rounded)


def round_repeats(repeats: int, global_params: GlobalParams, skip: bool = False) -> int:
  """Scales a number of repeats and rounds it up."""
  multiplier = global_params.depth_coefficient
  if skip or not multiplier:
    return repeats
  return int(math.ceil(multiplier * repeats))


def scale_blocks(blocks_args: Sequence[BlockArgs], global_params: GlobalParams) -> list[BlockArgs]:
  """Returns the network's blocks in order, one `BlockArgs` each, from its stages."""
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
  """The first block of a stage takes its stride and change of filters, the others neither."""
  first, rest = (stage, stage) if not stage.space2depth else _space2depth_blocks(stage)
  rest = dataclasses.replace(rest, input_filters=rest.output_filters, strides=(1, 1))
  return [first] + [rest] * (stage.num_repeat - 1)


def _space2depth_blocks(stage):
  """First and further blocks of a stage whose feature map was folded 2x2 into the channels.

  A stage of stride 2 ends the folded part: its stride is already in the folding, and its further
  blocks are ordinary ones. Before that, filters are 4 times as many and kernels half as large.
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
  """Returns the survival probability of block `index`, None without drop connect."""
  if not global_params.survival_prob:
    return None
  return 1.0 - (1.0 - global_params.survival_prob) * float(index) / num_blocks


def se_reduced_filters(block: BlockArgs, global_params: GlobalParams) -> int | None:
  """Returns the filters between the two squeeze-and-excitation convolutions, None without them."""
  ratio = block.se_ratio
  if not global_params.use_se or ratio is None or not 0 < ratio <= 1 or block.conv_type == 1:
    return None
  filters = int(block.input_filters * (ratio * (global_params.se_coefficient or 1)))
  # The ratio is meant relative to the filters before they were folded.
  return max(1, filters // 4 if block.space2depth == 1 else filters)


# The network.


def _squeeze_excite(x, reduced_filters, relu_fn, scope):
  """Section 4 of arXiv 1709.01507, with 1x1 convolutions."""
  scope = scope.sub('se')
  se = scope.spatial_mean(x, keepdims=True)
  se = scope.activation(scope.conv(se, reduced_filters, 1, use_bias=True), relu_fn)
  se = scope.activation(scope.conv(se, x.shape[-1], 1, use_bias=True), 'sigmoid')
  return scope.layer(keras.layers.Multiply)([x, se])


def _mbconv_expansion(x, block, global_params, relu_fn, scope, routing_weights):
  """MBConv up to its projection: expansion, depthwise convolution, squeeze-and-excitation."""
  if block.space2depth == 1:
    folded = scope.sub('space2depth')
    x = folded.conv(x, block.input_filters, 2, strides=(2, 2))
    x = folded.activation(folded.batch_norm(x), relu_fn)
  if block.fused_conv:
    x = scope.conv(
      x, block.expanded_filters, block.kernel_size, block.strides, routing_weights=routing_weights
    )
  else:
    if block.expand_ratio != 1:
      x = scope.conv(x, block.expanded_filters, 1, routing_weights=routing_weights)
      x = scope.activation(scope.batch_norm(x), relu_fn)
    x = scope.depthwise_conv(x, block.kernel_size, block.strides, routing_weights)
  x = scope.activation(scope.batch_norm(x), relu_fn)
  reduced_filters = se_reduced_filters(block, global_params)
  if reduced_filters:
    x = _squeeze_excite(x, reduced_filters, relu_fn, scope)
  return x


def _plain_expansion(x, block, relu_fn, scope):
  """The block without depthwise convolution (EdgeTPU): one 3x3 convolution expands."""
  if block.expand_ratio == 1:
    return x
  x = scope.conv(x, block.expanded_filters, 3, block.strides)
  return scope.activation(scope.batch_norm(x), relu_fn)


def _block(inputs, block, survival_prob, global_params, scope):
  """One block. Returns its output and the expanded features before the projection."""
  relu_fn = block.activation_fn or global_params.relu_fn
  routing_weights = None
  if block.conv_type == 1:
    expansion = _plain_expansion(inputs, block, relu_fn, scope)
    same_filters = block.input_filters == block.output_filters
  else:
    if block.condconv:
      routing_weights = scope.routing_weights(inputs, global_params.condconv_num_experts)
    expansion = _mbconv_expansion(inputs, block, global_params, relu_fn, scope, routing_weights)
    same_filters = inputs.shape[-1] == block.output_filters
  x = scope.conv(expansion, block.output_filters, 1, routing_weights=routing_weights)
  x = scope.batch_norm(x)
  if global_params.clip_projection_output:
    x = scope.layer(layers.Clip, -6.0, 6.0)(x)
  if block.id_skip and same_filters and tuple(block.strides) == (1, 1):
    if survival_prob and survival_prob < 1:
      x = scope.layer(layers.DropConnect, survival_prob)(x)
    x = scope.layer(keras.layers.Add)([x, inputs])
  return x, expansion


def _features(x, blocks, global_params, policy):
  """Stem and blocks. Returns the official endpoints up to `features`."""
  scope = layers.Scope('stem', global_params, policy)
  filters = round_filters(32, global_params, global_params.fix_head_stem)
  x = scope.conv(x, filters, 3, strides=(2, 2))
  x = scope.activation(scope.batch_norm(x), global_params.relu_fn)
  endpoints = {'stem': x}
  reduction = 0
  if blocks[0].space2depth == 1:
    # The first block halves the resolution itself, so the stem's output is the last at its own.
    reduction = 1
    endpoints['reduction_1'] = x
  for i, block in enumerate(blocks):
    scope = layers.Scope(f'blocks_{i}', global_params, policy)
    survival_prob = block_survival_prob(i, len(blocks), global_params)
    x, expansion = _block(x, block, survival_prob, global_params, scope)
    names = [f'block_{i}']
    starts_folded = i == 0 and block.space2depth == 1
    if not starts_folded and (i + 1 == len(blocks) or blocks[i + 1].strides[0] > 1):
      reduction += 1
      names.append(f'reduction_{reduction}')
    endpoints.update({name: x for name in names})
    endpoints.update({f'{name}/expansion_output': expansion for name in names})
  endpoints['features'] = x
  return endpoints


def _head(x, global_params, policy):
  """1x1 convolution, pooling, dropout, classifier. Returns the endpoints from `head_1x1`."""
  scope = layers.Scope('head', global_params, policy)
  x = scope.conv(x, round_filters(1280, global_params, global_params.fix_head_stem), 1)
  x = scope.activation(scope.batch_norm(x), global_params.relu_fn)
  endpoints = {'head_1x1': x}
  x = scope.spatial_mean(x, keepdims=False)
  endpoints['pooled_features'] = x
  if global_params.dropout_rate:
    x = scope.layer(keras.layers.Dropout, global_params.dropout_rate)(x)
  endpoints['global_pool'] = x
  if global_params.num_classes:
    if global_params.local_pooling:
      x = scope.layer(keras.layers.Flatten)(x)
    x = scope.classifier(x, global_params.num_classes)
  endpoints['head'] = x
  return endpoints


def build_network(
  images: keras.KerasTensor,
  blocks_args: Sequence[BlockArgs],
  global_params: GlobalParams,
  dtype: str | keras.DTypePolicy = 'float32',
  with_head: bool = True,
) -> dict[str, keras.KerasTensor]:
  """Builds the graph of a network.

  Args:
    images: [batch, height, width, 3] float32 Keras tensor, values in [0, 255].
    blocks_args: the network's stages, `BlockArgs`.
    global_params: `GlobalParams`.
    dtype: Keras dtype policy or its name. Normalisation and classifier compute in float32 under a
      16-bit policy.
    with_head: False ends at the endpoint `features`.

  Returns:
    {official endpoint name: Keras tensor}, in the official order. `head` holds the logits,
    [batch, num_classes]; `pooled_features` is [batch, C], or [batch, 1, 1, C] with `local_pooling`.

  Raises:
    ValueError: a CondConv block without `condconv_num_experts`; an unknown dtype policy.
  """
  blocks = scale_blocks(blocks_args, global_params)
  if any(block.condconv for block in blocks) and not global_params.condconv_num_experts:
    raise ValueError('A block is marked cc (CondConv), so condconv_num_experts must be at least 1.')
  policy = keras.dtype_policies.get(dtype)
  x = layers.normalized(images, global_params, policy)
  endpoints = _features(x, blocks, global_params, policy)
  if with_head:
    endpoints.update(_head(endpoints['features'], global_params, policy))
  return endpoints
