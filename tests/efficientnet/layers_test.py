"""Initialisers, activations and drop connect at fixed inputs."""
import keras
import numpy as np
import pytest

from efficientnet import layers
from tests.efficientnet import golden

TABLES = golden.read_json('tables.json')


@pytest.mark.parametrize('survival_prob', TABLES['drop_connect']['output_by_survival_prob'])
def test_drop_connect_at_fixed_random_numbers(survival_prob):
  want = TABLES['drop_connect']
  uniform = np.asarray(want['uniform'], np.float32).reshape(-1, 1, 1, 1)
  got = layers.drop_connect(np.asarray(want['input'], np.float32), uniform, float(survival_prob))
  np.testing.assert_allclose(got, want['output_by_survival_prob'][survival_prob], rtol=1e-6)


def test_drop_connect_layer():
  layer = layers.DropConnect(0.75, seed=1, name='drop')
  x = np.ones((4000, 2, 2, 3), np.float32)
  np.testing.assert_array_equal(layer(x, training=False), x)
  first, second = np.asarray(layer(x, training=True)), np.asarray(layer(x, training=True))
  assert not np.array_equal(first, second)
  assert set(np.unique(first)) == {np.float32(0), np.float32(1 / 0.75)}
  # An example is kept or dropped as a whole.
  assert (first == first[:, :1, :1, :1]).all()
  assert np.mean(first[:, 0, 0, 0] > 0) == pytest.approx(0.75, abs=0.03)
  again = layers.DropConnect.from_config(layer.get_config())
  np.testing.assert_array_equal(again(x, training=True), first)
  assert layer.seed_generator.state.path == 'drop_seed/seed_generator_state'


@pytest.mark.parametrize(('key', 'name'), [('swish', 'swish'), ('hard_swish', 'hard_swish')])
def test_activations(key, name):
  x = np.asarray(TABLES['swish']['x'], np.float32)
  got = keras.activations.get(name)(x)
  np.testing.assert_allclose(got, TABLES['swish'][key], rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize('shape', [(3, 3, 32, 64), (5, 5, 600, 1), (1, 1, 64, 300)])
def test_conv_kernels_are_normal_with_variance_by_fan_out(shape):
  values = np.asarray(layers.conv_kernel_initializer()(shape))
  std = np.sqrt(2.0 / (shape[0] * shape[1] * shape[3]))
  assert values.std() == pytest.approx(std, rel=0.03)
  assert values.mean() == pytest.approx(0, abs=0.05 * std)
  # Not truncated: a normal variable exceeds two standard deviations 4.6 % of the time.
  assert np.mean(np.abs(values) > 2 * std) == pytest.approx(0.0455, abs=0.01)


def test_dense_kernels_are_uniform_by_output_units():
  values = np.asarray(layers.dense_kernel_initializer()((64, 400)))
  assert np.abs(values).max() <= 1 / 20
  assert values.std() == pytest.approx(1 / 20 / np.sqrt(3), rel=0.03)


def test_two_kernels_differ():
  x = keras.Input((8, 8, 4))
  scope = layers.Scope('stem', _Params(), 'float32')
  model = keras.Model(x, scope.conv(scope.conv(x, 4, 3), 4, 3))
  first, second = (v.numpy() for v in model.weights)
  assert not np.array_equal(first, second)
  assert [v.path for v in model.weights] == ['stem_conv2d/kernel', 'stem_conv2d_1/kernel']


class _Params:
  local_pooling = False
  padding = 'same'
