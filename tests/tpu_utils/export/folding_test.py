"""Folding: the folded model has the same outputs, and as few batch norms as possible."""
import keras
import numpy as np
import pytest

import efficientnet
import resnext
from tests.tpu_utils.export import tiny
from tpu_utils import export

SMALL = {'width_coefficient': 0.25, 'depth_coefficient': 0.3, 'image_size': 32, 'num_classes': 7}
EFFICIENTNETS = (
  'efficientnet-b0',
  'efficientnet-lite0',
  'efficientnet-edgetpu-S',
  'efficientnet-condconv-b0-4e',
  'efficientnet-x-b0',
)
RESNEXTS = {
  'grouped': {'block_form': 'c'},
  'paths': {'block_form': 'a'},
  'early concatenation': {'block_form': 'b'},
  'pre-activated': {'preactivation': True},
}


def with_random_statistics(model):
  rng = np.random.default_rng(0)
  for layer in model.layers:
    if isinstance(layer, keras.layers.BatchNormalization):
      layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
  return model


def norms(model):
  kind = keras.layers.BatchNormalization
  return [layer.name for layer in model.layers if isinstance(layer, kind)]


def check(model, left=0):
  shape = (2, *model.inputs[0].shape[1:])
  images = np.random.default_rng(1).uniform(0, 255, shape).astype('float32')
  before = [weight.copy() for weight in model.get_weights()]
  folded = export.fold_batch_norm(model)
  expected, got = (m(images, training=False).numpy() for m in (model, folded))
  np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
  assert len(norms(folded)) == left < len(norms(model))
  assert folded.name == model.name and folded.count_params() < model.count_params()
  for weight, now in zip(before, model.get_weights(), strict=True):
    np.testing.assert_array_equal(weight, now)


@pytest.mark.parametrize('name', EFFICIENTNETS)
def test_efficientnet(name):
  model = with_random_statistics(efficientnet.build_model(name, **SMALL))
  # A norm after a CondConv cannot be folded: each image has its own kernel.
  after_condconv = [
    layer for layer in model.layers
    if isinstance(layer, keras.layers.BatchNormalization)
    and 'CondConv' in type(layer.input._keras_history.operation).__name__
  ]
  check(model, left=len(after_condconv))


@pytest.mark.parametrize('form', RESNEXTS)
def test_resnext(form):
  settings = RESNEXTS[form]
  model = with_random_statistics(
    resnext.build_model(
      'resnext-20-2x32d', num_classes=7, image_size=16, width=8, stem_width=8, **settings
    )
  )
  after_additions = [
    name for name in norms(model)
    if not isinstance(model.get_layer(name).input._keras_history.operation, keras.layers.Conv2D)
  ]
  check(model, left=len(after_additions))
  assert bool(after_additions) == (form in ('pre-activated', 'paths'))


def test_a_norm_stays_if_another_layer_reads_its_input():
  inputs = keras.Input((8, 8, 3))
  conv = keras.layers.Conv2D(4, 3, name='conv')(inputs)
  norm = keras.layers.BatchNormalization(name='norm')(conv)
  other = keras.layers.Conv2D(4, 3, name='other')(inputs)
  folded = keras.layers.BatchNormalization(name='folded', scale=False, center=False)(other)
  x = keras.layers.Concatenate()([conv, norm, folded])
  check(with_random_weights(keras.Model(inputs, x)), left=1)


def with_random_weights(model):
  rng = np.random.default_rng(0)
  model.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in model.get_weights()])
  return model


def test_a_norm_after_an_activation_stays():
  inputs = keras.Input((8, 8, 3))
  x = keras.layers.Conv2D(4, 3, activation='relu')(inputs)
  x = keras.layers.BatchNormalization()(x)
  model = keras.Model(inputs, x)
  assert len(norms(export.fold_batch_norm(model))) == 1


def test_bias_is_kept():
  inputs = keras.Input((8, 8, 3))
  x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2)(inputs)
  x = keras.layers.BatchNormalization()(x)
  x = keras.layers.Dense(5)(x)
  x = keras.layers.BatchNormalization()(x)
  check(with_random_weights(keras.Model(inputs, x)))


def test_a_bfloat16_model_keeps_its_policies():
  model = tiny.build_model('mixed_bfloat16')
  folded = export.fold_batch_norm(model)
  assert folded.get_layer('conv2d').compute_dtype == 'bfloat16'
