"""Models by name: `build_model`, `feature_extractor`, and what a name stands for.

A name is `resnext-DEPTH-CxDd` (cardinality C, base width D) or `resnet-DEPTH`; see `network_params`.

Source: arXiv 1611.05431, Tables 1 to 4; facebookresearch/ResNeXt, models/resnext.lua and opts.lua.
"""
import dataclasses
import re

import keras

from resnext import resnext_model
from tpu_utils import suggest
from tpu_utils.images import spec

# Blocks of the four stages. 200 layers: arXiv 1603.05027.
_IMAGENET_STAGES = {
  50: (3, 4, 6, 3),
  101: (3, 4, 23, 3),
  152: (3, 8, 36, 3),
  200: (3, 24, 36, 3),
}
_NAME = re.compile(r'(resnext|resnet)-(\d+)(d?)(?:-(\d+)x(\d+)d)?')

# The networks of the paper's tables and of the README of the official code, and torchvision's others.
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


def model_names():
  """Names of the networks in the paper and its code; `build_model` takes any depth and width."""
  return [*_IMAGENET_MODELS, *_CIFAR_MODELS]


def network_params(model_name, overrides=None):
  """The parameters of a named network.

  Args:
    model_name: `resnext-DEPTH-CxDd` or `resnet-DEPTH[-1xDd]`. DEPTH is 50, 101, 152 or 200 for
      images of 224 pixels, else 9n+2 for CIFAR's; with `stem='cifar'` any 9n+2. A `d` after the depth
      (`resnext-50d-32x4d`) is the variant with deep stem and averaging shortcuts.
    overrides: {field of `resnext_model.NetworkParams`: value}.

  Returns:
    `resnext_model.NetworkParams`.

  Raises:
    ValueError: no such network or field, with the nearest names; a value out of range.
  """
  overrides = dict(overrides or {})
  fields = [field.name for field in dataclasses.fields(resnext_model.NetworkParams)]
  for field in overrides:
    if field not in fields:
      raise suggest.unknown_name('model parameter', field, fields)
  depth, deep, cardinality, base_width = _parse(model_name)
  params = {'cardinality': cardinality, 'base_width': base_width}
  if deep:
    params |= {'stem': 'deep', 'average_shortcut': True}
  stem = overrides.get('stem', 'imagenet' if depth in _IMAGENET_STAGES or deep else 'cifar')
  if stem == 'cifar':
    params |= _cifar_params(model_name, depth)
  elif depth in _IMAGENET_STAGES:
    params['stage_blocks'] = _IMAGENET_STAGES[depth]
  elif 'stage_blocks' not in overrides:
    raise ValueError(
      f'{model_name!r} with stem={stem!r}: depth {depth} is none of '
      f'{", ".join(map(str, _IMAGENET_STAGES))}; give stage_blocks for another.'
    )
  return resnext_model.NetworkParams(**{**params, **overrides})


def _parse(model_name):
  """(depth, whether it is a `d` variant, cardinality, base width) of a name."""
  match = _NAME.fullmatch(str(model_name))
  if not match:
    raise suggest.unknown_name('model', model_name, model_names())
  family, depth, deep, cardinality, base_width = match.groups()
  if family == 'resnext' and cardinality is None:
    raise ValueError(
      f'{model_name!r} lacks cardinality and base width; write it as {model_name}-32x4d.'
    )
  if family == 'resnet' and int(cardinality or 1) != 1:
    raise ValueError(
      f'{model_name!r} has cardinality {cardinality}; a network with paths is called '
      f'{model_name.replace("resnet", "resnext", 1)}.'
    )
  return int(depth), bool(deep), int(cardinality or 1), int(base_width or 64)


def _cifar_params(model_name, depth):
  """Three stages of n blocks each; the first keeps the images' resolution."""
  blocks, rest = divmod(depth - 2, 9)
  if rest or blocks < 1:
    raise ValueError(
      f'{model_name!r}: depth {depth} is neither one of {", ".join(map(str, _IMAGENET_STAGES))} nor '
      f'9n+2, as CIFAR networks are (29, 38, 47, ...). Known names: {", ".join(model_names())}.'
    )
  return {
    'stem': 'cifar',
    'stage_blocks': (blocks,) * 3,
    'num_classes': 10,
    'mean_rgb': resnext_model.CIFAR10_MEAN_RGB,
    'stddev_rgb': resnext_model.CIFAR10_STDDEV_RGB,
  }


def get_preprocess_spec(model_name, **overrides):
  """The `PreprocessSpec` of a model: what training, evaluation and export do to its images."""
  return _preprocess_spec(network_params(model_name, overrides))


def _preprocess_spec(params):
  return spec.PreprocessSpec(
    image_size=32 if params.stem == 'cifar' else 224,
    mean_rgb=tuple(params.mean_rgb),
    stddev_rgb=tuple(params.stddev_rgb),
    interpolation='bicubic',
  )


def build_model(
  model_name,
  num_classes=None,
  image_size=None,
  weights=None,
  dtype_policy=None,
  include_top=True,
  pooling=None,
  **overrides,
):
  """A model as a `keras.Model` named `model_name`.

  Input: `images`, float32 [batch, height, width, 3] in [0, 255]; the model normalises them itself.
  Output: float32 logits [batch, num_classes], or features as below.

  Args:
    model_name: such as 'resnext-50-32x4d', 'resnet-50', 'resnext-29-8x64d'; see `network_params`.
    num_classes: classes of the head; None is the data set's own (1000; CIFAR 10), 0 leaves the
      classifier out.
    image_size: pixels a side, or (height, width); None is the size that the model was made for.
    weights: path of a checkpoint for `tpu_utils.weights.load`, or None for fresh weights.
    dtype_policy: Keras dtype policy or its name, such as 'mixed_bfloat16'; None is float32 throughout.
    include_top: False gives the last feature map [batch, h, w, C] instead of logits, or with
      `pooling` its mean ('avg') or maximum ('max') over space, [batch, C].
    pooling: None, 'avg' or 'max'; only without top.
    **overrides: fields of `resnext_model.NetworkParams`, such as `block_form`, `shortcut_type`,
      `preactivation`, `residual`.

  Returns:
    `keras.Model`.

  Raises:
    ValueError: an unknown model or override (the nearest names are given), a value out of range, or
      weights that don't fit.
  """
  if pooling is not None and include_top:
    raise ValueError(f'pooling={pooling!r} needs include_top=False: with the top, logits come out.')
  if pooling not in (None, 'avg', 'max'):
    raise suggest.unknown_name('pooling', pooling, ('avg', 'max'))
  if num_classes is not None:
    overrides['num_classes'] = num_classes
  network = _Network(model_name, image_size, dtype_policy, overrides)
  network.load(weights)
  if include_top:
    return network.model(network.endpoints.get('fc', network.endpoints['avgpool']))
  features = network.endpoints['features']
  if pooling == 'avg':
    return network.model(network.endpoints['avgpool'])
  if pooling == 'max':
    features = keras.layers.GlobalMaxPooling2D(
      data_format='channels_last', name='maxpool_features', dtype=features.dtype
    )(features)
  return network.model(features)


def feature_extractor(
  model_name, endpoints=None, image_size=None, weights=None, dtype_policy=None, **overrides
):
  """A model whose output is a dict of feature maps, for detection, segmentation and the like.

  Args:
    model_name: such as 'resnext-50-32x4d'.
    endpoints: names of `resnext_model.build_network`: `layer1` to `layer4` are the stages' outputs,
      `layer3_5` a block's. None is the last output of each resolution, `reduction_1` to
      `reduction_5` (CIFAR: `reduction_0` to `reduction_2`), and `features`.
    image_size: as for `build_model`; (None, None) leaves it open.
    weights: as for `build_model`.
    dtype_policy: as for `build_model`.
    **overrides: as for `build_model`.

  Returns:
    `keras.Model` with output {endpoint: tensor}.

  Raises:
    ValueError: as `build_model`; an unknown endpoint, with the nearest names.
  """
  network = _Network(model_name, image_size, dtype_policy, overrides)
  network.load(weights)
  known = network.endpoints
  if endpoints is None:
    endpoints = [name for name in known if name.startswith('reduction_')] + ['features']
  for name in endpoints:
    if name not in known:
      raise suggest.unknown_name('endpoint', name, known)
  return network.model({name: known[name] for name in endpoints})


class _Network:
  """The graph of a named network, from which models with different outputs are cut.

  Weights are loaded into the whole graph, so that a checkpoint fits however the model is cut.
  """

  def __init__(self, model_name, image_size, dtype_policy, overrides):
    self.name = model_name
    self._params = network_params(model_name, overrides)
    height, width = _height_and_width(image_size or _preprocess_spec(self._params).image_size)
    self._dtype = dtype_policy or 'float32'
    self._images = keras.Input((height, width, 3), name='images', dtype='float32')
    self.endpoints = resnext_model.build_network(self._images, self._params, self._dtype)

  def model(self, outputs):
    return keras.Model(self._images, outputs, name=self.name)

  def load(self, path):
    if path is None:
      return
    from tpu_utils import weights  # Models without a checkpoint need no reader.

    weights.load(self.model(list(self.endpoints.values())[-1]), path)


def _height_and_width(image_size):
  pair = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
  if len(pair) != 2 or not all(side is None or (isinstance(side, int) and side > 0) for side in pair):
    raise ValueError(
      f'image_size={image_size!r} must be a positive number of pixels or a pair (height, width).'
    )
  return pair
