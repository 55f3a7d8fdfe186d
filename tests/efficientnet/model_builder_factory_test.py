"""Models by name: counts, outputs, feature maps, precision, saving, other backends, bad input."""
import importlib.util
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import efficientnet
from efficientnet import efficientnet_builder, model_builder_factory
from tests.efficientnet import golden
from tpu_utils import profile

COUNTS = golden.read_json('counts.json')
STAGES = ('r1_k3_s11_e1_i32_o16_se0.25', 'r2_k5_s22_e6_i16_o24_se0.25')
TINY = {'blocks_args': STAGES, 'width_coefficient': 0.25, 'image_size': 32, 'num_classes': 5}
LARGE = [f'efficientnet-{n}' for n in ('b4', 'b5', 'b6', 'b7', 'b8', 'l2')]


@pytest.mark.parametrize(
  'name',
  [
    pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n
    for n in model_builder_factory.model_names()
  ],
)
def test_counts(name):
  want = COUNTS[name]
  model = efficientnet.build_model(name)
  assert model.name == name
  assert model.input.shape == (None, want['resolution'], want['resolution'], 3)
  assert model.output.shape == (None, want['num_classes'])
  assert model.count_params() == want['trainable_parameters'] + want['non_trainable']
  trainable = sum(int(np.prod(v.shape)) for v in model.trainable_weights)
  assert trainable == want['trainable_parameters']
  assert profile.flops(model) == pytest.approx(want['multiply_adds'], rel=1e-3)
  blocks = {layer.name.split('_')[1] for layer in model.layers if layer.name.startswith('blocks_')}
  assert len(blocks) == want['num_blocks']


def test_spec():
  spec = model_builder_factory.get_preprocess_spec('efficientnet-b4')
  assert spec.image_size == model_builder_factory.get_model_input_size('efficientnet-b4') == 380
  assert spec.mean_rgb == pytest.approx((123.675, 116.28, 103.53))
  assert spec.stddev_rgb == pytest.approx((58.395, 57.12, 57.375))
  assert (spec.interpolation, spec.crop) == ('bicubic', 'official')
  assert model_builder_factory.get_model_builder('efficientnet-b4') is efficientnet_builder


def test_images_are_normalised_inside():
  model = efficientnet.build_model(
    'efficientnet-b0', mean_rgb=(10, 20, 30), stddev_rgb=(2, 4, 5), **TINY
  )
  normalised = keras.Model(model.input, model.get_layer('normalization').output)
  image = np.full((1, 32, 32, 3), [12, 12, 35], np.float32)
  np.testing.assert_allclose(normalised(image)[0, 0, 0], [1, -2, 1], rtol=1e-6)


def test_outputs_without_top():
  full = efficientnet.feature_extractor(
    'efficientnet-b0', ['features', 'head_1x1', 'pooled_features'], **TINY
  )
  images = golden.images(32)
  want = {k: np.asarray(v) for k, v in full(images).items()}
  cases = {
    'features': {'features_only': True},
    'head_1x1': {'include_top': False},
    'pooled_features': {'pooled_features_only': True},
  }
  for endpoint, arguments in cases.items():
    model = efficientnet.build_model('efficientnet-b0', **TINY, **arguments)
    by_path = {v.path: v for v in full.weights}
    for variable in model.weights:
      variable.assign(by_path[variable.path])
    np.testing.assert_array_equal(model(images), want[endpoint])
  for pooling, function in (('avg', np.mean), ('max', np.max)):
    model = efficientnet.build_model('efficientnet-b0', include_top=False, pooling=pooling, **TINY)
    model.set_weights(full.get_weights())
    np.testing.assert_allclose(model(images), function(want['head_1x1'], axis=(1, 2)), rtol=1e-5, atol=1e-8)


def test_no_classes_means_no_classifier():
  model = efficientnet.build_model('efficientnet-b0', image_size=32, num_classes=0)
  assert model.output.shape == (None, 1280)


def test_feature_extractor():
  model = efficientnet.feature_extractor('efficientnet-b0', image_size=64)
  features = model(golden.images(64))
  assert list(features) == [f'reduction_{i}' for i in range(1, 6)] + ['features']
  shapes = [tuple(features[f'reduction_{i}'].shape[1:]) for i in range(1, 6)]
  assert shapes == [(32, 32, 16), (16, 16, 24), (8, 8, 40), (4, 4, 112), (2, 2, 320)]
  np.testing.assert_array_equal(features['features'], features['reduction_5'])
  assert not [v for v in model.weights if v.path.startswith('head')]


def test_feature_extractor_at_any_size():
  model = efficientnet.feature_extractor(
    'efficientnet-b0', image_size=(None, None), width_coefficient=0.25
  )
  assert model(np.zeros((1, 64, 96, 3), np.float32))['reduction_3'].shape[1:3] == (8, 12)


def test_scaling_by_overrides():
  model = efficientnet.build_model(
    'efficientnet-b0', width_coefficient=1.1, depth_coefficient=1.2, image_size=(64, 96)
  )
  want = COUNTS['efficientnet-b2']
  assert model.count_params() == want['trainable_parameters'] + want['non_trainable']
  assert model.input.shape == (None, 64, 96, 3)


def test_bfloat16_is_the_models_own():
  model = efficientnet.build_model('efficientnet-b0', dtype_policy='mixed_bfloat16', image_size=64)
  assert keras.config.dtype_policy().name == 'float32'
  assert {v.dtype for v in model.weights} == {'float32'}
  assert model.get_layer('blocks_5_conv2d').compute_dtype == 'bfloat16'
  assert model.get_layer('normalization').compute_dtype == 'float32'
  golden.set_weights(model, 'efficientnet-b0')
  logits = model(golden.images(64), training=False)
  assert str(keras.backend.standardize_dtype(logits.dtype)) == 'float32'
  want = golden.read_npz('logits_efficientnet-b0_S64.npz')['logits']
  assert 1e-4 < golden.relative_error(logits, want) < 0.1


def test_a_global_policy_changes_nothing():
  keras.config.set_dtype_policy('mixed_bfloat16')
  try:
    model = efficientnet.build_model('efficientnet-b0', **TINY)
  finally:
    keras.config.set_dtype_policy('float32')
  assert {layer.compute_dtype for layer in model.layers[1:]} == {'float32'}
  assert model.input.dtype == 'float32'


@pytest.mark.parametrize('policy', [None, 'mixed_bfloat16'])
def test_saving(tmp_path, policy):
  model = efficientnet.build_model(
    'efficientnet-b0', dtype_policy=policy, clip_projection_output=True, **TINY
  )
  path = tmp_path / 'model.keras'
  model.save(path)
  again = keras.models.load_model(path)
  assert again.name == 'efficientnet-b0'
  assert [v.path for v in again.weights] == [v.path for v in model.weights]
  assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
  np.testing.assert_array_equal(again(golden.images(32)), model(golden.images(32)))
  json.dumps(model.get_config())  # Plain values only: no tensors.


def test_training_pass_differs_by_drop_connect_and_dropout():
  model = efficientnet.build_model('efficientnet-b0', **TINY)
  images = golden.images(32)
  first, second = (np.asarray(model(images, training=True)) for _ in range(2))
  assert not np.array_equal(first, second)
  plain = efficientnet.build_model('efficientnet-b0', survival_prob=0, dropout_rate=0, **TINY)
  first, second = (np.asarray(plain(images, training=True)) for _ in range(2))
  np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize('backend', ['jax', 'torch'])
def test_logits_on_other_backends(backend):
  if importlib.util.find_spec(backend) is None:
    pytest.skip(f'{backend} is not installed')
  code = (
    'import efficientnet, numpy as np\n'
    'from keras import ops\n'
    'from tests.efficientnet import golden\n'
    "model = efficientnet.build_model('efficientnet-b0', image_size=64)\n"
    "golden.set_weights(model, 'efficientnet-b0')\n"
    'logits = ops.convert_to_numpy(model(golden.images(64), training=False))\n'
    "want = golden.read_npz('logits_efficientnet-b0_S64.npz')['logits']\n"
    'assert golden.relative_error(logits, want) < 2e-4, golden.relative_error(logits, want)\n'
    'train = ops.convert_to_numpy(model(golden.images(64), training=True))\n'
    'assert np.isfinite(train).all()\n'
  )
  done = subprocess.run(
    [sys.executable, '-c', code],
    env={**os.environ, 'KERAS_BACKEND': backend, 'PYTHONPATH': os.getcwd()},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr[-2000:]


def test_importing_the_package_imports_no_tensorflow():
  code = (
    'import sys, efficientnet, tpu_utils\n'
    'from tpu_utils.images import spec\n'
    "assert not {'tensorflow', 'keras'} & set(sys.modules)"
  )
  subprocess.run([sys.executable, '-c', code], check=True)


@pytest.mark.parametrize(
  ('name', 'arguments', 'message'),
  [
    ('efficientnet-b9', {}, 'efficientnet-b8'),
    ('efficientnetb0', {}, 'efficientnet-b0'),
    ('efficientnet-b0', {'droput_rate': 0.1}, 'dropout_rate'),
    ('efficientnet-b0', {'image_size': 0}, 'image_size=0'),
    ('efficientnet-b0', {'image_size': -3}, 'image_size=-3'),
    ('efficientnet-b0', {'image_size': (1, 2, 3)}, r'image_size=\(1, 2, 3\)'),
    ('efficientnet-b0', {'pooling': 'avg'}, 'include_top=False'),
    ('efficientnet-b0', {'pooling': 'mean', 'include_top': False}, 'avg'),
    ('efficientnet-b0', {'include_top': False, 'features_only': True}, 'exclude each other'),
    ('efficientnet-b0', {'relu_fn': 'swich'}, 'swish'),
    ('efficientnet-b0', {'dtype_policy': 'bfloat17'}, 'bfloat16'),
    ('efficientnet-b0', {'weights': '/no/such/file'}, '/no/such/file'),
  ],
)
def test_bad_input(name, arguments, message):
  with pytest.raises((ValueError, OSError), match=message) as error:
    efficientnet.build_model(name, **arguments)
  assert '\n' not in str(error.value)


def test_unknown_endpoint():
  with pytest.raises(ValueError, match='reduction_5'):
    efficientnet.feature_extractor('efficientnet-b0', ['reduction_6'], image_size=32)
