"""Models by name: counts, outputs, feature maps, precision, saving, other backends, bad input."""
import importlib.util
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import efficientnet
from efficientnet import model_builder_factory
from tests import traced
from tests.efficientnet import golden
from tpu_utils import export, profile

pytestmark = pytest.mark.slow

COUNTS = golden.read_json('counts.json')

# Stages with the features that are special to each family.
STAGES = {
  'efficientnet-b0': ('r1_k3_s11_e1_i32_o16_se0.25', 'r2_k5_s22_e6_i16_o24_se0.25'),
  'efficientnet-lite0': ('r1_k3_s11_e1_i32_o16_se0.25', 'r2_k5_s22_e6_i16_o24_se0.25'),
  'efficientnet-edgetpu-S': ('r1_k3_s11_e4_i24_o24_c1_noskip', 'r2_k3_s22_e8_i24_o32_c1'),
  'efficientnet-condconv-b0-4e': (
    'r1_k3_s11_e1_i32_o16_se0.25_cc',
    'r2_k5_s22_e6_i16_o24_se0.25_cc',
    'r1_k3_s22_e2_i24_o32_f1_cc',
  ),
  'efficientnet-x-b0': (
    'r1_k3_s11_e1_i32_o16_se0.25_d1_a0',
    'r2_k3_s22_e6_i16_o24_se0.25_f1_d2_a1',
    'r1_k5_s22_e6_i24_o40_se0.25_f1_a1',
  ),
}
SMALL = {'width_coefficient': 0.25, 'image_size': 32, 'num_classes': 5}
TINY = {'blocks_args': STAGES['efficientnet-b0'], **SMALL}

each_family = pytest.mark.parametrize('name', STAGES)


def tiny(name, **arguments):
  return efficientnet.build_model(name, blocks_args=STAGES[name], **SMALL, **arguments)


@pytest.mark.parametrize('name', COUNTS)
def test_counts(name):
  want, built = COUNTS[name], []

  def build():
    built.append(efficientnet.build_model(name))
    return built[0]

  sizes = want['trainable_parameters'], want['non_trainable'], want['multiply_adds']
  assert profile.count(build) == profile.Counts(*sizes)
  model = built[0]
  assert model.name == name
  assert model.input.shape == (None, want['resolution'], want['resolution'], 3)
  assert model.output.shape == (None, want['num_classes'])
  assert model.count_params() == want['trainable_parameters'] + want['non_trainable']
  blocks = {layer.name.split('_')[1] for layer in model.layers if layer.name.startswith('blocks_')}
  assert len(blocks) == want['num_blocks']


def test_published_size_of_a_model_without_reference_counts():
  counts = profile.count(lambda: efficientnet.build_model('efficientnet-condconv-b0-8e-depth'))
  assert round(counts.parameters / 1e6, 1) == 39.7  # Official condconv/README.
  # The published 614M seem to count more than convolutions and matrix products, as do the 402M and
  # 413M for 4e and 8e.
  assert counts.multiply_adds == pytest.approx(614e6, rel=0.02)


@pytest.mark.parametrize(
  ('name', 'settings'),
  [
    ('efficientnet-b0', {'image_size': (65, 43), 'width_coefficient': 0.3, 'num_classes': 7}),
    ('efficientnet-b0', {'image_size': 33, 'num_classes': 0, 'clip_projection_output': True}),
    ('efficientnet-lite2', {'image_size': 71, 'depth_coefficient': 0.5}),
    ('efficientnet-edgetpu-M', {'image_size': 45, 'width_coefficient': 0.5}),
    ('efficientnet-condconv-b0-8e', {'image_size': 50, 'condconv_num_experts': 3}),
    (
      'efficientnet-h-tpu-b5',
      {'image_size': 51, 'width_coefficient': 0.4, 'depth_coefficient': 0.6},
    ),
    (
      'efficientnet-condconv-b0-4e',
      {
        'image_size': 37,
        'blocks_args': ['r2_k3_s22_e2_i32_o16_se0.25_f1_cc', 'r1_k3_s22_e1_i16_o24_cc'],
      },
    ),
  ],
)
def test_counts_without_weights_equal_those_of_the_graph(name, settings):
  model = efficientnet.build_model(name, **settings)
  weights = model.trainable_weights, model.non_trainable_weights
  sizes = [sum(int(np.prod(v.shape)) for v in w) for w in weights]
  want = profile.Counts(*sizes, traced.multiply_adds(model))
  assert profile.count(lambda: efficientnet.build_model(name, **settings)) == want


IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
AROUND_ZERO = ((127.0,) * 3, (128.0,) * 3)


@pytest.mark.parametrize(
  ('name', 'size', 'normalisation', 'interpolation'),
  [
    ('efficientnet-b4', 380, IMAGENET, 'bicubic'),
    ('efficientnet-lite4', 300, AROUND_ZERO, 'bilinear'),
    ('efficientnet-edgetpu-M', 240, AROUND_ZERO, 'bilinear'),
    ('efficientnet-condconv-b0-8e-depth', 224, AROUND_ZERO, 'bicubic'),
    ('efficientnet-x-tpu-b6', 328, IMAGENET, 'bicubic'),
    ('efficientnet-h-b5', 456, IMAGENET, 'bicubic'),
  ],
)
def test_spec(name, size, normalisation, interpolation):
  spec = model_builder_factory.get_preprocess_spec(name)
  assert spec.image_size == model_builder_factory.get_model_input_size(name) == size
  assert spec.mean_rgb == pytest.approx(normalisation[0])
  assert spec.stddev_rgb == pytest.approx(normalisation[1])
  assert (spec.interpolation, spec.crop) == (interpolation, 'official')


@pytest.mark.parametrize('name', model_builder_factory.model_names())
def test_every_name_has_the_official_parameters(name):
  builder = model_builder_factory.get_model_builder(name)
  blocks, params = builder.get_model_params(name)
  spec = model_builder_factory.get_preprocess_spec(name)
  width, depth, _, dropout_rate = builder.scales[name][:4]
  assert (params.width_coefficient, params.depth_coefficient) == (width, depth)
  assert (params.mean_rgb, params.stddev_rgb) == (spec.mean_rgb, spec.stddev_rgb)
  assert (params.dropout_rate, params.survival_prob) == (dropout_rate, 0.8)
  assert len(blocks) in (6, 7)
  assert builder.get_model_params(name, {'num_classes': 7})[1].num_classes == 7


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
    pooled = function(want['head_1x1'], axis=(1, 2))
    np.testing.assert_allclose(model(images), pooled, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize('name', ['efficientnet-b0', 'efficientnet-lite0'])
def test_pooled_features_are_the_official_ones_as_rows(name):
  full = efficientnet.build_model(name, image_size=64)
  golden.set_weights(full, name)
  model = efficientnet.build_model(name, image_size=64, pooled_features_only=True)
  model.set_weights(full.get_weights()[:-2])  # All but the classifier's.
  want = golden.read_npz(f'logits_{name}_S64.npz')['pooled_features']
  found = model(golden.images(64), training=False)
  assert found.shape == (2, 1280)
  assert golden.relative_error(found, want) < 2e-4


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


def test_feature_extractor_with_one_output():
  images = golden.images(32)
  for endpoint in ('features', 'pooled_features'):
    full = efficientnet.feature_extractor('efficientnet-b0', [endpoint], **TINY)
    model = efficientnet.feature_extractor('efficientnet-b0', **{f'{endpoint}_only': True}, **TINY)
    model.set_weights(full.get_weights())
    np.testing.assert_array_equal(model(images), full(images)[endpoint])
  with pytest.raises(ValueError, match='exclude each other'):
    efficientnet.feature_extractor('efficientnet-b0', ['features'], features_only=True, **TINY)


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


@each_family
def test_bfloat16_model_leaves_the_global_policy(name):
  model = efficientnet.build_model(name, dtype_policy='mixed_bfloat16', image_size=64)
  assert keras.config.dtype_policy().name == 'float32'
  assert {v.dtype for v in model.weights} == {'float32'}
  full = {layer.name for layer in model.layers if layer.compute_dtype == 'float32'}
  assert full == {'images', 'normalization', 'head_dense'}
  golden.set_weights(model, name)
  logits = model(golden.images(64), training=False)
  assert str(keras.backend.standardize_dtype(logits.dtype)) == 'float32'
  want = golden.read_npz(f'logits_{name}_S64.npz')['logits']
  # Untrained weights amplify rounding, Lite's most.
  assert 1e-4 < golden.relative_error(logits, want) < 0.3


def test_a_global_policy_changes_nothing():
  keras.config.set_dtype_policy('mixed_bfloat16')
  try:
    model = efficientnet.build_model('efficientnet-b0', **TINY)
  finally:
    keras.config.set_dtype_policy('float32')
  assert {layer.compute_dtype for layer in model.layers[1:]} == {'float32'}
  assert model.input.dtype == 'float32'


@each_family
@pytest.mark.parametrize('policy', [None, 'mixed_bfloat16'])
def test_saving(tmp_path, name, policy):
  model = tiny(name, dtype_policy=policy, clip_projection_output=True)
  path = tmp_path / 'model.keras'
  model.save(path)
  again = keras.models.load_model(path)
  assert again.name == name
  assert [v.path for v in again.weights] == [v.path for v in model.weights]
  assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
  np.testing.assert_array_equal(again(golden.images(32)), model(golden.images(32)))
  json.dumps(model.get_config())  # Plain values only: no tensors.


@each_family
def test_training_pass_differs_by_drop_connect_and_dropout(name):
  model = tiny(name)
  images = golden.images(32)
  first, second = (np.asarray(model(images, training=True)) for _ in range(2))
  assert not np.array_equal(first, second)
  plain = tiny(name, survival_prob=0, dropout_rate=0)
  first, second = (np.asarray(plain(images, training=True)) for _ in range(2))
  np.testing.assert_array_equal(first, second)


@pytest.mark.host_xla
@pytest.mark.parametrize(
  'name', [pytest.param(n, marks=pytest.mark.long if 'condconv' in n else ()) for n in STAGES]
)
def test_training_step_compiled_by_xla(name):
  """XLA's gradients equal those of the plain kernels, and every variable has one.

  In float64, because on some processors float32 rounds a value across a ReLU6's kink.
  """
  model = tiny(name, survival_prob=0, dropout_rate=0, dtype_policy='float64')
  images = golden.images(32)

  def gradients():
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(model(images, training=True)[:, 0])
    return [tf.convert_to_tensor(g) for g in tape.gradient(loss, model.trainable_variables)]

  plain, compiled = tf.function(gradients)(), tf.function(gradients, jit_compile=True)()
  largest = max(float(tf.reduce_max(tf.abs(g))) for g in plain)
  assert largest > 0
  for variable, ours, theirs in zip(model.trainable_variables, plain, compiled, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9 * largest, err_msg=variable.path)


@each_family
def test_only_condconv_needs_this_package_for_loading(name):
  copy = export.with_builtin_layers(tiny(name))
  classes = {type(layer) for layer in copy.layers}
  own = {c.__name__ for c in classes if not c.__module__.startswith('keras')}
  assert own == ({'CondConv2D', 'DepthwiseCondConv2D'} if 'condconv' in name else set())
  np.testing.assert_array_equal(copy(golden.images(32)).shape, (2, 5))


@pytest.mark.parametrize('backend', ['jax', 'torch'])
def test_logits_on_other_backends(backend):
  if importlib.util.find_spec(backend) is None:
    pytest.skip(f'{backend} is not installed')
  code = (
    'import efficientnet, numpy as np\n'
    'from keras import ops\n'
    'from tests.efficientnet import golden\n'
    f'for name in {list(STAGES)}:\n'
    '  model = efficientnet.build_model(name, image_size=64)\n'
    '  golden.set_weights(model, name)\n'
    '  logits = ops.convert_to_numpy(model(golden.images(64), training=False))\n'
    "  want = golden.read_npz(f'logits_{name}_S64.npz')['logits']\n"
    '  error = golden.relative_error(logits, want)\n'
    '  assert error < 2e-4, (name, error)\n'
    '  train = ops.convert_to_numpy(model(golden.images(64), training=True))\n'
    '  assert np.isfinite(train).all(), name\n'
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
    ('efficientnet-b0', {'image_size': 32.5}, r'image_size=32\.5'),
    ('efficientnet-b0', {'batch_norm_epsilon': -1}, 'batch_norm_epsilon=-1'),
    ('efficientnet-b0', {'batch_norm_epsilon': None}, 'batch_norm_epsilon=None.*number at least 0'),
    ('efficientnet-b0', {'num_classes': 2.5}, r'num_classes=2\.5.*whole number'),
    ('efficientnet-b0', {'depth_divisor': 0}, 'depth_divisor=0.*at least 1'),
    ('efficientnet-b0', {'blocks_args': ['r1_k3_s00_e1_i32_o16']}, 'r1_k3_s00.*stride=0'),
    ('efficientnet-b0', {'blocks_args': ['r1_k3_s11_e0_i32_o16']}, 'r1_k3_s11_e0.*expand_ratio=0'),
    ('efficientnet-b0', {'pooling': 'avg'}, 'include_top=False'),
    ('efficientnet-b0', {'pooling': 'mean', 'include_top': False}, 'avg'),
    ('efficientnet-b0', {'include_top': False, 'features_only': True}, 'exclude each other'),
    ('efficientnet-b0', {'relu_fn': 'swich'}, 'swish'),
    ('efficientnet-lite5', {}, 'efficientnet-lite4'),
    ('efficientnet-edgetpu-XL', {}, 'efficientnet-edgetpu-L'),
    ('efficientnet-condconv-b0', {}, 'efficientnet-condconv-b0-4e'),
    ('efficientnet-x-tpu-b8', {}, 'efficientnet-x-tpu-b7'),
    ('efficientnet-b0', {'blocks_args': ['r1_k3_s11_e1_i32_o16_cc']}, 'condconv_num_experts'),
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
