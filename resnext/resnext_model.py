"""The ResNeXt and ResNet networks as Keras functional graphs.

Source: arXiv 1611.05431; facebookresearch/ResNeXt, models/resnext.lua; for pre-activated blocks
facebook/fb.resnet.torch, models/preresnet.lua. Layers are named after torchvision's modules with `.`
written as `_` (`layer1_0_conv2`).
"""
import dataclasses

import keras

from resnext import block_forms, layers
from tpu_utils import suggest

IMAGENET_MEAN_RGB = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STDDEV_RGB = (0.229 * 255, 0.224 * 255, 0.225 * 255)
CIFAR10_MEAN_RGB = (125.3, 123.0, 113.9)
CIFAR10_STDDEV_RGB = (63.0, 62.1, 66.7)
CIFAR100_MEAN_RGB = (129.3, 124.1, 112.4)
CIFAR100_STDDEV_RGB = (68.2, 65.4, 70.4)

STEMS = ('imagenet', 'deep', 'cifar')
SHORTCUT_TYPES = ('A', 'B', 'C')
_EXPANSION = 4  # A block's output channels over its width.


@dataclasses.dataclass(frozen=True)
class NetworkParams:
  """A whole network.

  Attributes:
    stage_blocks: number of blocks of each stage; every stage but the first halves the resolution.
    cardinality: C, the number of paths of a block.
    base_width: d, the width of a path in a stage of width 64.
    num_classes: of the classifier; 0 leaves it out.
    stem: 'imagenet' (7x7 stride 2 and max pooling), 'deep' (three 3x3 for the 7x7; the `d` variant
      of arXiv 1812.01187) or 'cifar' (3x3).
    stem_width: channels of the stem.
    width: width of the first stage; it doubles with each stage.
    block_form: 'a', 'b' or 'c', the equivalent forms of Figure 3.
    shortcut_type: 'A' (zeros for new channels), 'B' (1x1 convolution where channels change) or 'C'
      (1x1 convolution in every block).
    average_shortcut: a strided 1x1 shortcut averages 2x2 pixels instead of skipping three of them.
    preactivation: norm and ReLU before the convolutions (arXiv 1603.05027).
    residual: False removes all shortcuts (the ablation of Section 5.1).
    mean_rgb: subtracted from the images, in units of 0..255.
    stddev_rgb: by which they are then divided.
  """

  stage_blocks: tuple
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
  mean_rgb: tuple = IMAGENET_MEAN_RGB
  stddev_rgb: tuple = IMAGENET_STDDEV_RGB

  def __post_init__(self):
    choices = (
      ('stem', STEMS), ('block_form', block_forms.FORMS), ('shortcut_type', SHORTCUT_TYPES)
    )
    for name, known in choices:
      if getattr(self, name) not in known:
        raise suggest.unknown_name(name, getattr(self, name), known)
    for name in ('cardinality', 'base_width', 'stem_width', 'width'):
      _check_positive(name, getattr(self, name))
    if not self.stage_blocks:
      raise ValueError('stage_blocks is empty; give the number of blocks of each stage, as (3, 4, 6, 3).')
    for count in self.stage_blocks:
      _check_positive('stage_blocks', count)
    if self.path_width(0) < 1:
      raise ValueError(
        f'base_width={self.base_width} with width={self.width} leaves paths without channels: the '
        'width of a path is floor(width * base_width / 64).'
      )
    for name in ('mean_rgb', 'stddev_rgb'):
      if len(getattr(self, name)) != 3:
        raise ValueError(f'{name}={getattr(self, name)!r} must hold three numbers, one a channel.')
    if not all(self.stddev_rgb):
      raise ValueError(f'stddev_rgb={self.stddev_rgb!r} must not hold a zero.')

  def path_width(self, stage):
    """D, the channels of one path in stage 0, 1, ..."""
    return self.width * 2**stage * self.base_width // 64


@dataclasses.dataclass(frozen=True)
class Block:
  """One block: `filters` are its output channels, `inner_norms` the norms between its convolutions."""

  name: str
  filters: int
  strides: int
  cardinality: int
  path_width: int
  form: str
  inner_norms: tuple


def _check_positive(name, value):
  if not isinstance(value, int) or value < 1:
    raise ValueError(f'{name}={value!r} must be a whole number, at least 1.')


def network_blocks(params):
  """The blocks of a network: a list of `Block`s for each stage."""
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


def _shortcut(x, block, params, make):
  """What is added to a block's transformation."""
  channels = x.shape[-1]
  name = f'{block.name}_downsample'
  if params.shortcut_type == 'C' or (params.shortcut_type == 'B' and channels != block.filters):
    strides, first = block.strides, 0
    if params.average_shortcut:
      # The modules count the pooling, which is there even where it does nothing.
      strides, first = 1, 1
      if block.strides > 1:
        # 'same' leaves the padding out of the mean, as Torch does here.
        x = make.layer(
          keras.layers.AveragePooling2D, 2, block.strides, 'same', 'channels_last', name=f'{name}_0'
        )(x)
    x = make.conv(x, block.filters, 1, strides, name=f'{name}_{first}')
    if params.preactivation:
      return x
    return make.norm(x, name=f'{name}_{first + 1}')
  if channels != block.filters:
    return make.layer(layers.PaddedIdentity, block.filters, block.strides, name=name)(x)
  return x


def _add_shortcut(y, x, block, params, make):
  if not params.residual:
    return y
  shortcut = _shortcut(x, block, params, make)
  return make.layer(keras.layers.Add, name=f'{block.name}_add')([y, shortcut])


def _block(x, block, params, make):
  """The original block: ReLU after the addition."""
  y = make.norm(block_forms.transform(x, block, make), name=f'{block.name}_bn3')
  return make.relu(_add_shortcut(y, x, block, params, make), name=f'{block.name}_relu')


def _preactivated_block(x, block, params, make, *, first_of_stage, activated):
  """Norm and ReLU before each convolution; what is added stays as it is.

  The first block of a stage also takes its shortcut after norm and ReLU. A block whose input comes
  `activated` from the stem has none of its own.
  """
  y = x
  if not activated:
    y = make.norm_relu(x, norm=f'{block.name}_bn1', relu=f'{block.name}_relu')
    if first_of_stage:
      x = y
  return _add_shortcut(block_forms.transform(y, block, make), x, block, params, make)


def _stem(images, params, make):
  """(Endpoints of the stem in order, whether the last is behind a ReLU)."""
  width = params.stem_width
  if params.stem == 'cifar':
    x = make.conv(images, width, 3, name='conv1')
    if params.preactivation:
      return {'conv1': x}, False
    norm = make.norm(x, name='bn1')
    return {'conv1': x, 'bn1': norm, 'relu': make.relu(norm, name='relu')}, True
  if params.stem == 'deep':
    x = make.conv(images, width // 2, 3, 2, name='conv1_0')
    x = make.norm_relu(x, norm='conv1_1', relu='conv1_2')
    x = make.conv(x, width // 2, 3, name='conv1_3')
    x = make.norm_relu(x, norm='conv1_4', relu='conv1_5')
    x = make.conv(x, width, 3, name='conv1_6')
  else:
    x = make.conv(images, width, 7, 2, name='conv1')
  norm = make.norm(x, name='bn1')
  relu = make.relu(norm, name='relu')
  # Behind a ReLU, padding with zeros is padding with minus infinity.
  pool = make.pad(relu, 1, name='maxpool_pad')
  pool = make.layer(
    keras.layers.MaxPooling2D, 3, 2, 'valid', 'channels_last', name='maxpool'
  )(pool)
  return {'conv1': x, 'bn1': norm, 'relu': relu, 'maxpool': pool}, True


def _features(images, params, make):
  """Stem and stages. Returns the endpoints up to `features`."""
  endpoints, activated = _stem(images, params, make)
  x = list(endpoints.values())[-1]
  reduction = 0
  if params.stem != 'cifar':
    endpoints['reduction_1'] = endpoints['relu']
    reduction = 2
  for stage, blocks in enumerate(network_blocks(params)):
    for i, block in enumerate(blocks):
      if params.preactivation:
        x = _preactivated_block(
          x, block, params, make, first_of_stage=i == 0, activated=activated
        )
        activated = False
      else:
        x = _block(x, block, params, make)
      endpoints[block.name] = x
    endpoints[f'layer{stage + 1}'] = x
    endpoints[f'reduction_{reduction + stage}'] = x
  if params.preactivation:
    x = make.norm_relu(x, norm='norm', relu='norm_relu')
  endpoints['features'] = x
  return endpoints


def build_network(images, params, dtype='float32', with_head=True):
  """The graph of a network.

  Args:
    images: [batch, height, width, 3] float32 Keras tensor, values in [0, 255].
    params: `NetworkParams`.
    dtype: Keras dtype policy or its name. Normalisation and classifier compute in float32 under a
      16-bit policy.
    with_head: False ends at the endpoint `features`.

  Returns:
    {endpoint: Keras tensor}: `conv1`, `bn1`, `relu`, `maxpool` of the stem, each block
    (`layer1_0`), each stage (`layer1`), the last output of each resolution (`reduction_2` at a quarter
    of the images' sides), `features` (the last, behind its ReLU), `avgpool` and `fc`, the logits
    [batch, num_classes]. What a network lacks is left out.
  """
  policy = keras.dtype_policies.get(dtype)
  full_dtype = 'float32' if policy.compute_dtype in ('bfloat16', 'float16') else policy
  x = keras.layers.Rescaling(
    scale=[1.0 / s for s in params.stddev_rgb],
    offset=[-m / s for m, s in zip(params.mean_rgb, params.stddev_rgb, strict=True)],
    name='normalization',
    dtype=full_dtype,
  )(images)
  endpoints = _features(x, params, layers.LayerMaker(policy))
  if with_head:
    x = keras.layers.GlobalAveragePooling2D(
      data_format='channels_last', name='avgpool', dtype=full_dtype
    )(endpoints['features'])
    endpoints['avgpool'] = x
    if params.num_classes:
      endpoints['fc'] = keras.layers.Dense(
        params.num_classes,
        kernel_initializer=layers.dense_kernel_initializer(),
        name='fc',
        dtype=full_dtype,
      )(x)
  return endpoints
