"""Baseline networks that compound scaling is tried on: every EfficientNet, MobileNetV1, MobileNetV2, ResNet-50.

Those that are no EfficientNets are like the networks they are named after in stages, filters and cost (Table 3 of the
paper scales them); their weights are not meant to be exchanged with others'. Width and depth scale them as
they scale an EfficientNet: stem and head by width alone, stages by both.
"""
import dataclasses
import functools

import keras

from efficientnet import counting, efficientnet_model, model_builder_factory
from efficientnet.efficientnet_model import GlobalParams, round_filters, round_repeats
from tpu_utils.images import spec
from tpu_utils.names import check_name

# arXiv 1801.04381, Table 2, in the notation of `efficientnet_builder.BlockDecoder`.
MOBILENET_V2 = (
  'r1_k3_s11_e1_i32_o16',
  'r2_k3_s22_e6_i16_o24',
  'r3_k3_s22_e6_i24_o32',
  'r4_k3_s22_e6_i32_o64',
  'r3_k3_s11_e6_i64_o96',
  'r3_k3_s22_e6_i96_o160',
  'r1_k3_s11_e6_i160_o320',
)
# (filters, strides, repeats): arXiv 1704.04861, Table 1; arXiv 1512.03385, Table 1, without expansion.
_MOBILENET_V1 = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 2, 6), (1024, 2, 2))
_RESNET_50 = ((64, 1, 3), (128, 2, 4), (256, 2, 6), (512, 2, 3))
_EXPANSION = 4
_IMAGE_SIZE = 224


def base_names():
  """Names of all baselines."""
  return [*_OTHERS, 'mobilenet-v2', *model_builder_factory.model_names()]


def get_preprocess_spec(base):
  """The `PreprocessSpec` of a baseline."""
  check_name('model_name', base, base_names())
  if base in model_builder_factory.model_names():
    return model_builder_factory.get_preprocess_spec(base)
  return spec.PreprocessSpec(_IMAGE_SIZE)


def get_params(base, overrides=None):
  """The `GlobalParams` of a baseline.

  Args:
    base: one of `base_names`.
    overrides: {field: value}.

  Raises:
    ValueError: an unknown baseline or field, with the nearest names; a value out of range.
  """
  return _connection(base, overrides)[1]


def build_model(base, num_classes=None, image_size=None, dtype_policy=None, **overrides):
  """A baseline, scaled or not, as a `keras.Model` from `images` to float32 logits.

  Args:
    base: one of `base_names`.
    num_classes: classes; None is the family's own number.
    image_size: pixels a side; None is the size that the baseline was made for.
    dtype_policy: Keras dtype policy or its name; None is float32 throughout.
    **overrides: fields of `GlobalParams`, `width_coefficient` and `depth_coefficient` among them.

  Raises:
    ValueError: as `get_params`.
  """
  if num_classes is not None:
    overrides['num_classes'] = num_classes
  connect, params = _connection(base, overrides)
  size = image_size or get_preprocess_spec(base).image_size
  images = keras.Input((size, size, 3), name='images', dtype='float32')
  logits = efficientnet_model.connect_layers(connect, images, params, dtype_policy or 'float32')
  return keras.Model(images, logits, name=base)


def count(base, image_size=None, **overrides):
  """The `counting.Counts` of what `build_model` builds, without building it."""
  connect, _ = _connection(base, overrides)
  return counting.count_connected(connect, image_size or get_preprocess_spec(base).image_size)


def _connection(base, overrides):
  """(function(normalised images, make_scope) -> logits, GlobalParams) of a baseline."""
  check_name('model_name', base, base_names())
  overrides = dict(overrides or {})
  if base in _OTHERS:
    fields = [field.name for field in dataclasses.fields(GlobalParams)]
    for name in overrides:
      check_name('model parameter', name, fields)
    params = dataclasses.replace(
      GlobalParams(relu_fn='relu', dropout_rate=0.0, survival_prob=None), **overrides
    )
    return functools.partial(_OTHERS[base], params=params), params
  if base == 'mobilenet-v2':
    settings = {'blocks_args': MOBILENET_V2, 'relu_fn': 'relu6', 'survival_prob': None}
    base, overrides = 'efficientnet-b0', {**settings, **overrides}
  builder = model_builder_factory.get_model_builder(base)
  blocks_args, params = builder.get_model_params(base, overrides)

  def connect(x, make_scope):
    return efficientnet_model.connect(x, blocks_args, params, make_scope)['head']

  return connect, params


def _conv_norm(x, filters, kernel_size, strides, scope):
  return scope.batch_norm(scope.conv(x, filters, kernel_size, (strides, strides)))


def _stages(stages, params):
  """(stage, block, filters, strides) of each block of scaled stages."""
  for stage, (filters, strides, repeats) in enumerate(stages):
    for i in range(round_repeats(repeats, params)):
      yield stage, i, round_filters(filters, params), strides if i == 0 else 1


def _classify(x, params, scope):
  x = scope.spatial_mean(x, keepdims=False)
  if params.dropout_rate:
    x = scope.layer(keras.layers.Dropout, params.dropout_rate)(x)
  return scope.classifier(x, params.num_classes)


def _connect_mobilenet_v1(x, make_scope, params):
  """Depthwise and pointwise convolutions in turn, without shortcuts."""
  scope = make_scope('stem')
  x = scope.activation(_conv_norm(x, round_filters(32, params), 3, 2, scope), params.relu_fn)
  for stage, i, filters, strides in _stages(_MOBILENET_V1, params):
    scope = make_scope(f'stages_{stage}_{i}')
    x = scope.batch_norm(scope.depthwise_conv(x, 3, (strides, strides)))
    x = _conv_norm(scope.activation(x, params.relu_fn), filters, 1, 1, scope)
    x = scope.activation(x, params.relu_fn)
  return _classify(x, params, make_scope('head'))


def _connect_resnet_50(x, make_scope, params):
  """Bottlenecks with the stride on the 3x3 convolution."""
  scope = make_scope('stem')
  x = scope.activation(_conv_norm(x, round_filters(64, params), 7, 2, scope), params.relu_fn)
  x = scope.max_pool(x, 3, 2)
  for stage, i, filters, strides in _stages(_RESNET_50, params):
    scope = make_scope(f'stages_{stage}_{i}')
    y = scope.activation(_conv_norm(x, filters, 1, 1, scope), params.relu_fn)
    y = scope.activation(_conv_norm(y, filters, 3, strides, scope), params.relu_fn)
    y = _conv_norm(y, filters * _EXPANSION, 1, 1, scope)
    if i == 0:
      x = _conv_norm(x, filters * _EXPANSION, 1, strides, scope)
    x = scope.activation(scope.layer(keras.layers.Add)([y, x]), params.relu_fn)
  return _classify(x, params, make_scope('head'))


_OTHERS = {'mobilenet-v1': _connect_mobilenet_v1, 'resnet-50': _connect_resnet_50}
