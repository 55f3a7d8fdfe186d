"""Builders of models by name, and the preprocessing of their images."""
from collections.abc import Sequence
from typing import Any

import keras

from resnext import network_params, resnext_model
from tpu_utils.functional_model import check_endpoints, functional_model, height_and_width
from tpu_utils.images import spec
from tpu_utils.names import unknown_name


def get_preprocess_spec(model_name: str, **overrides: Any) -> spec.PreprocessSpec:
  """Returns the preprocessing of a model's images, for training, evaluation and export.

  Raises:
    ValueError: an unknown model or override, with the nearest names.
  """
  params = network_params.from_name(model_name, overrides)
  return spec.PreprocessSpec(
    image_size=params.image_size,
    mean_rgb=tuple(params.mean_rgb),
    stddev_rgb=tuple(params.stddev_rgb),
    interpolation='bicubic',
    crop='whole' if params.stem == 'cifar' else 'official',
  )


def build_model(
  model_name: str,
  num_classes: int | None = None,
  image_size: int | tuple[int | None, int | None] | None = None,
  weights: str | None = None,
  dtype_policy: str | keras.DTypePolicy | None = None,
  include_top: bool = True,
  pooling: str | None = None,
  **overrides: Any,
) -> keras.Model:
  """Builds a model as a `keras.Model` named `model_name`.

  Input: `images`, float32 [batch, height, width, 3] in [0, 255]; the model normalises them.
  Output: float32 logits [batch, num_classes], or features; see `include_top`.

  Args:
    model_name: such as 'resnext-50-32x4d', 'resnet-50', 'resnext-29-8x64d'; see
      `network_params.from_name`.
    num_classes: number of classes; None is 1000, or 10 for CIFAR networks; 0 leaves the classifier
      out.
    image_size: height and width in pixels, or (height, width); None is 224, or 32 for CIFAR
      networks.
    weights: path of a checkpoint for `tpu_utils.weights.load`; None initialises the weights.
    dtype_policy: Keras dtype policy or its name, such as 'mixed_bfloat16'; None is float32.
    include_top: False returns the last feature map [batch, h, w, C] instead of logits, or with
      `pooling` its mean ('avg') or maximum ('max') over space, [batch, C].
    pooling: None, 'avg' or 'max'; requires `include_top=False`.
    **overrides: fields of `network_params.NetworkParams`, such as `block_form`, `shortcut_type`,
      `preactivation`, `residual`.

  Raises:
    ValueError: an unknown model or override, with the nearest names; a value out of range; or
      weights that don't fit.
  """
  if pooling is not None and include_top:
    raise ValueError(f'pooling={pooling!r} requires include_top=False.')
  if pooling not in (None, 'avg', 'max'):
    raise unknown_name('pooling', pooling, ('avg', 'max'))
  if num_classes is not None:
    overrides['num_classes'] = num_classes
  network = _Network(model_name, image_size, dtype_policy, overrides)
  network.load(weights, with_classifier=include_top)
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
  model_name: str,
  endpoints: Sequence[str] | None = None,
  image_size: int | tuple[int | None, int | None] | None = None,
  weights: str | None = None,
  dtype_policy: str | keras.DTypePolicy | None = None,
  **overrides: Any,
) -> keras.Model:
  """Builds a model that returns a dict of feature maps, for detection or segmentation.

  Args:
    model_name: such as 'resnext-50-32x4d'.
    endpoints: endpoints of `resnext_model.build_network`, such as `layer4` (a stage's output) or
      `layer3_5` (a block's). None is the last output of each resolution, `reduction_1` to
      `reduction_5` (CIFAR: `reduction_0` to `reduction_2`), and `features`.
    image_size: as for `build_model`; (None, None) accepts any size.
    weights: as for `build_model`.
    dtype_policy: as for `build_model`.
    **overrides: as for `build_model`.

  Returns:
    `keras.Model` with output {endpoint: tensor}.

  Raises:
    ValueError: as `build_model`; or an unknown endpoint, with the nearest names.
  """
  network = _Network(model_name, image_size, dtype_policy, overrides)
  network.load(weights, with_classifier='fc' in (endpoints or ()))
  known = network.endpoints
  if endpoints is None:
    endpoints = [name for name in known if name.startswith('reduction_')] + ['features']
  check_endpoints(endpoints, known)
  return network.model({name: known[name] for name in endpoints})


class _Network:
  """Graph of a named network, from which models with different outputs are made.

  Weights are loaded into the whole graph, so that a checkpoint fits whatever the outputs.
  """

  def __init__(self, model_name, image_size, dtype_policy, overrides):
    self.name = model_name
    self._params = network_params.from_name(model_name, overrides)
    height, width = height_and_width(
      self._params.image_size if image_size is None else image_size
    )
    self._dtype = dtype_policy or 'float32'
    self._images = keras.Input((height, width, 3), name='images', dtype='float32')
    self.endpoints = resnext_model.build_network(self._images, self._params, self._dtype)

  def model(self, outputs):
    return functional_model(self._images, outputs, self.name)

  def load(self, path, with_classifier):
    """Loads a checkpoint; if not `with_classifier`, that may be missing or have another size."""
    if path is None:
      return
    from tpu_utils.weights import classifier_of, load  # Not needed without a checkpoint.

    model = self.model(list(self.endpoints.values())[-1])
    load(model, path, keep_initial=() if with_classifier else (classifier_of(model),))
