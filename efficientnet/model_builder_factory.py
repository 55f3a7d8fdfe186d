"""Models by name: `build_model`, `feature_extractor`, and the family of each model.

The other functions are named as in tensorflow/tpu,
models/official/efficientnet/model_builder_factory.py.
"""
from collections.abc import Sequence
from typing import Any

import keras

from efficientnet import efficientnet_builder, efficientnet_model, pretrained
from efficientnet.condconv import efficientnet_condconv_builder
from efficientnet.edgetpu import efficientnet_edgetpu_builder
from efficientnet.lite import efficientnet_lite_builder
from efficientnet.tpu import efficientnet_x_builder
from tpu_utils.functional_model import check_endpoints, functional_model, height_and_width
from tpu_utils.images import spec
from tpu_utils.names import check_name

FAMILIES = (
  efficientnet_builder.FAMILY,
  efficientnet_lite_builder.FAMILY,
  efficientnet_edgetpu_builder.FAMILY,
  efficientnet_condconv_builder.FAMILY,
  efficientnet_x_builder.FAMILY,
)
_FAMILY_OF = {name: family for family in FAMILIES for name in family.scales}


def model_names() -> list[str]:
  """Returns the names of all models, in the order of the families' tables."""
  return list(_FAMILY_OF)


def get_model_builder(model_name: str) -> efficientnet_builder.Family:
  """Returns the `Family` of a model, which has the model's parameters.

  Raises:
    ValueError: an unknown model; the message names the nearest ones.
  """
  check_name('model_name', model_name, _FAMILY_OF)
  return _FAMILY_OF[model_name]


def get_model_input_size(model_name: str) -> int:
  """Returns a model's own image size, in pixels a side.

  Raises:
    ValueError: an unknown model.
  """
  return get_model_builder(model_name).scale(model_name).resolution


def get_preprocess_spec(model_name: str) -> spec.PreprocessSpec:
  """Returns the preprocessing of a model's images, for training, evaluation and export.

  Raises:
    ValueError: an unknown model.
  """
  return get_model_builder(model_name).get_preprocess_spec(model_name)


def build_model(
  model_name: str,
  num_classes: int | None = None,
  image_size: int | tuple[int | None, int | None] | None = None,
  weights: str | None = None,
  dtype_policy: str | keras.DTypePolicy | None = None,
  include_top: bool = True,
  pooling: str | None = None,
  features_only: bool = False,
  pooled_features_only: bool = False,
  **overrides: Any,
) -> keras.Model:
  """Builds a model as a `keras.Model` named `model_name`.

  Input: `images`, float32 [batch, height, width, 3] in [0, 255]; the model normalises them itself.
  Output: float32 logits [batch, num_classes], or features as below.

  Args:
    model_name: such as 'efficientnet-b0'; see `model_names`.
    num_classes: classes of the head; None is the family's default (1000; EdgeTPU 1001), 0 leaves
      the classifier out.
    image_size: pixels a side, or (height, width); None is the model's own size.
    weights: path of a checkpoint for `tpu_utils.weights.load`; 'pretrained' for ImageNet weights
      from an installed package, see `pretrained`; or None for fresh weights.
    dtype_policy: Keras dtype policy or its name, such as 'mixed_bfloat16'; None is float32.
    include_top: False returns the head's 1x1 convolution [batch, h, w, C] instead of logits, or
      with `pooling` its mean ('avg') or maximum ('max') over space, [batch, C].
    pooling: None, 'avg' or 'max'; only without top.
    features_only: True returns the output of the last block, [batch, h, w, C], before the head.
    pooled_features_only: True returns the official endpoint `pooled_features`, before dropout and
      classifier, as [batch, C].
    **overrides: fields of `network_params.GlobalParams`, and `drop_connect_rate`.

  Returns:
    `keras.Model`.

  Raises:
    ValueError: an unknown model or override (the message names the nearest ones), a value out of
      range, or weights that don't fit.
  """
  if sum((not include_top, features_only, pooled_features_only)) > 1:
    raise ValueError(
      'include_top=False, features_only=True and pooled_features_only=True exclude each other.'
    )
  if pooling is not None and include_top:
    raise ValueError(f'pooling={pooling!r} needs include_top=False; the top returns logits.')
  if pooling is not None:
    check_name('pooling', pooling, ('avg', 'max'))
  if num_classes is not None:
    overrides['num_classes'] = num_classes
  network = _Network(model_name, image_size, dtype_policy, not features_only or weights, overrides)
  without_classifier = features_only or pooled_features_only or not include_top
  network.load(weights, with_classifier=not without_classifier)
  if features_only:
    return network.model('features')
  if pooled_features_only:
    return network.pooled_model()
  if include_top:
    return network.model('head')
  return network.headless_model(pooling)


def feature_extractor(
  model_name: str,
  endpoints: Sequence[str] | None = None,
  image_size: int | tuple[int | None, int | None] | None = None,
  weights: str | None = None,
  dtype_policy: str | keras.DTypePolicy | None = None,
  features_only: bool = False,
  pooled_features_only: bool = False,
  **overrides: Any,
) -> keras.Model:
  """Builds a model that returns a dict of feature maps, such as for detection or segmentation.

  Args:
    model_name: such as 'efficientnet-b0'.
    endpoints: official endpoint names (`stem`, `block_3`, `block_3/expansion_output`,
      `reduction_2`, `features`, `head_1x1`, `pooled_features`, `head`, ...); None is `reduction_1`
      to `reduction_5` (the last output of each resolution) and `features`.
    image_size: as for `build_model`; (None, None) leaves it open.
    weights: as for `build_model`.
    dtype_policy: as for `build_model`.
    features_only: True returns only the endpoint `features`, not a dict.
    pooled_features_only: True returns only the endpoint `pooled_features`, not a dict.
    **overrides: as for `build_model`.

  Returns:
    `keras.Model` with output {endpoint name: tensor}, or a tensor for a single output.

  Raises:
    ValueError: as `build_model`, or an unknown endpoint (the message names the nearest ones).
  """
  if features_only or pooled_features_only:
    if endpoints is not None:
      raise ValueError('endpoints= and features_only or pooled_features_only exclude each other.')
    return build_model(
      model_name,
      image_size=image_size,
      weights=weights,
      dtype_policy=dtype_policy,
      features_only=features_only,
      pooled_features_only=pooled_features_only,
      **overrides,
    )
  head = ('head_1x1', 'pooled_features', 'global_pool', 'head')
  with_head = weights is not None or any(name in head for name in endpoints or ())
  network = _Network(model_name, image_size, dtype_policy, with_head, overrides)
  network.load(weights, with_classifier='head' in (endpoints or ()))
  known = network.endpoints
  if endpoints is None:
    endpoints = [n for n in known if n.startswith('reduction_') and '/' not in n] + ['features']
  check_endpoints(endpoints, [*known, *(n for n in head if n not in known)])
  return functional_model(network.images, {name: known[name] for name in endpoints}, model_name)


class _Network:
  """Graph of a model, from which models with different outputs are made.

  Weights are loaded into the whole graph, so that a checkpoint fits regardless of the outputs.
  """

  def __init__(self, model_name, image_size, dtype_policy, with_head, overrides):
    blocks_args, global_params = get_model_builder(model_name).get_model_params(
      model_name, overrides
    )
    self.name = model_name
    if image_size is None:
      image_size = get_model_input_size(model_name)
    height, width = height_and_width(image_size)
    self.images = keras.Input((height, width, 3), name='images', dtype='float32')
    self.endpoints = efficientnet_model.build_network(
      self.images, blocks_args, global_params, dtype_policy or 'float32', bool(with_head)
    )

  def load(self, path, with_classifier):
    """Loads a checkpoint; without classifier, the checkpoint's may be of any size or missing."""
    if path is None:
      return
    from tpu_utils.weights import classifier_of, load  # Only models with a checkpoint need it.

    if path == pretrained.PRETRAINED:
      path = pretrained.find(self.name)
    model = self.model('head')
    load(model, path, keep_initial=() if with_classifier else (classifier_of(model),))

  def model(self, endpoint):
    outputs = self.endpoints[endpoint]
    return functional_model(self.images, outputs, self.name)

  def pooled_model(self):
    """Returns the model with output `pooled_features`, flattened to [batch, C]."""
    outputs = self.endpoints['pooled_features']
    if len(outputs.shape) > 2:  # [batch, 1, 1, C] with `local_pooling`.
      outputs = keras.layers.Flatten(name='flat_pooled_features', dtype=outputs.dtype)(outputs)
    return functional_model(self.images, outputs, self.name)

  def headless_model(self, pooling):
    outputs = self.endpoints['head_1x1']
    if pooling:
      kind = 'GlobalAveragePooling2D' if pooling == 'avg' else 'GlobalMaxPooling2D'
      layer = getattr(keras.layers, kind)
      outputs = layer(data_format='channels_last', name=f'{pooling}_pooling', dtype=outputs.dtype)(
        outputs
      )
    return functional_model(self.images, outputs, self.name)
