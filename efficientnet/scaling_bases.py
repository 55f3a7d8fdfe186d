"""Baselines for compound scaling: every EfficientNet, MobileNetV1, MobileNetV2, ResNet-50.

The last three have the stages, filters and cost of the networks that Table 3 of the paper scales;
other programs' weights do not fit them. Width and depth scale them like an EfficientNet: stem and
head by width only, stages by both.
"""
import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from efficientnet import efficientnet_model, layers, model_builder_factory
from efficientnet.network_params import GlobalParams, round_filters, round_repeats
from tpu_utils import profile
from tpu_utils.functional_model import functional_model
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
# (filters, strides, repeats) of each stage; ResNet's filters before expansion.
# arXiv 1704.04861, Table 1; arXiv 1512.03385, Table 1.
_MOBILENET_V1 = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 2, 6), (1024, 2, 2))
_RESNET_50 = ((64, 1, 3), (128, 2, 4), (256, 2, 6), (512, 2, 3))
_EXPANSION = 4
_IMAGE_SIZE = 224


def base_names() -> list[str]:
  """Returns the names of all baselines."""
  return [*_OTHERS, 'mobilenet-v2', *model_builder_factory.model_names()]


def get_preprocess_spec(base: str) -> spec.PreprocessSpec:
  """Returns the `PreprocessSpec` of a baseline.

  Raises:
    ValueError: an unknown baseline; the message names the nearest ones.
  """
  check_name('model_name', base, base_names())
  if base in model_builder_factory.model_names():
    return model_builder_factory.get_preprocess_spec(base)
  return spec.PreprocessSpec(_IMAGE_SIZE)


def get_params(base: str, overrides: Mapping[str, Any] | None = None) -> GlobalParams:
  """Returns the `GlobalParams` of a baseline.

  Args:
    base: one of `base_names`.
    overrides: {field: value}.

  Raises:
    ValueError: an unknown baseline or field (the message names the nearest ones), or a value out of
      range.
  """
  return _stages_and_params(base, overrides)[1]


def build_model(
  base: str,
  num_classes: int | None = None,
  image_size: int | None = None,
  dtype_policy: str | keras.DTypePolicy | None = None,
  **overrides: Any,
) -> keras.Model:
  """Builds a baseline as a `keras.Model` from `images` ([0, 255]) to float32 logits.

  Args:
    base: one of `base_names`.
    num_classes: number of classes; None is the baseline's default.
    image_size: pixels a side; None is the baseline's own size.
    dtype_policy: Keras dtype policy or its name; None is float32.
    **overrides: fields of `GlobalParams`, such as `width_coefficient` and `depth_coefficient`.

  Raises:
    ValueError: as `get_params`.
  """
  if num_classes is not None:
    overrides['num_classes'] = num_classes
  blocks_args, params = _stages_and_params(base, overrides)
  size = image_size or get_preprocess_spec(base).image_size
  images = keras.Input((size, size, 3), name='images', dtype='float32')
  policy = keras.dtype_policies.get(dtype_policy or 'float32')
  if base in _OTHERS:
    x = layers.normalized(images, params, policy)
    logits = _OTHERS[base](x, params, policy)
  else:
    logits = efficientnet_model.build_network(images, blocks_args, params, policy)['head']
  return functional_model(images, logits, base)


def count(base: str, image_size: int | None = None, **overrides: Any) -> profile.Counts:
  """Counts parameters and multiply-adds of `build_model`'s model, without memory for weights.

  Raises:
    ValueError: as `get_params`.
  """
  return profile.count(lambda: build_model(base, image_size=image_size, **overrides))


def _stages_and_params(base, overrides):
  """Returns (stages, GlobalParams) of a baseline; stages is None for `_OTHERS`."""
  check_name('model_name', base, base_names())
  overrides = dict(overrides or {})
  if base in _OTHERS:
    fields = [field.name for field in dataclasses.fields(GlobalParams)]
    for name in overrides:
      check_name('model parameter', name, fields)
    params = GlobalParams(relu_fn='relu', dropout_rate=0.0, survival_prob=None)
    return None, dataclasses.replace(params, **overrides)
  if base == 'mobilenet-v2':
    mobilenet = {'blocks_args': MOBILENET_V2, 'relu_fn': 'relu6', 'survival_prob': None}
    base, overrides = 'efficientnet-b0', {**mobilenet, **overrides}
  return model_builder_factory.get_model_builder(base).get_model_params(base, overrides)


def _conv_norm(x, filters, kernel_size, strides, scope):
  return scope.batch_norm(scope.conv(x, filters, kernel_size, (strides, strides)))


def _stages(stages, params):
  """Yields (stage, block, filters, strides) for each block after scaling."""
  for stage, (filters, strides, repeats) in enumerate(stages):
    for i in range(round_repeats(repeats, params)):
      yield stage, i, round_filters(filters, params), strides if i == 0 else 1


def _classify(x, params, scope):
  x = scope.spatial_mean(x, keepdims=False)
  if params.dropout_rate:
    x = scope.layer(keras.layers.Dropout, params.dropout_rate)(x)
  return scope.classifier(x, params.num_classes)


def _mobilenet_v1(x, params, policy):
  """Applies alternating depthwise and pointwise convolutions, without shortcuts."""
  scope = layers.Scope('stem', params, policy)
  x = scope.activation(_conv_norm(x, round_filters(32, params), 3, 2, scope), params.relu_fn)
  for stage, i, filters, strides in _stages(_MOBILENET_V1, params):
    scope = layers.Scope(f'stages_{stage}_{i}', params, policy)
    x = scope.batch_norm(scope.depthwise_conv(x, 3, (strides, strides)))
    x = _conv_norm(scope.activation(x, params.relu_fn), filters, 1, 1, scope)
    x = scope.activation(x, params.relu_fn)
  return _classify(x, params, layers.Scope('head', params, policy))


def _resnet_50(x, params, policy):
  """Applies bottleneck blocks with the stride on the 3x3 convolution."""
  scope = layers.Scope('stem', params, policy)
  x = scope.activation(_conv_norm(x, round_filters(64, params), 7, 2, scope), params.relu_fn)
  x = scope.max_pool(x, 3, 2)
  for stage, i, filters, strides in _stages(_RESNET_50, params):
    scope = layers.Scope(f'stages_{stage}_{i}', params, policy)
    y = scope.activation(_conv_norm(x, filters, 1, 1, scope), params.relu_fn)
    y = scope.activation(_conv_norm(y, filters, 3, strides, scope), params.relu_fn)
    y = _conv_norm(y, filters * _EXPANSION, 1, 1, scope)
    if i == 0:
      x = _conv_norm(x, filters * _EXPANSION, 1, strides, scope)
    x = scope.activation(scope.layer(keras.layers.Add)([y, x]), params.relu_fn)
  return _classify(x, params, layers.Scope('head', params, policy))


_OTHERS = {'mobilenet-v1': _mobilenet_v1, 'resnet-50': _resnet_50}
