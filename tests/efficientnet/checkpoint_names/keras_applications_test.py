"""Weights of `keras.applications` in each file format give its logits."""
import keras
import numpy as np
import pytest

import efficientnet
from efficientnet.checkpoint_names import keras_applications
from tests.efficientnet import golden
from tests.goldens import weights as golden_weights
from tpu_utils import weights

IMAGENET_MEAN, IMAGENET_STDDEV = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def peer(**settings):
  """Builds EfficientNetB0 of keras.applications with the weights of the reference numbers."""
  keras.backend.clear_session()
  model = keras.applications.EfficientNetB0(
    weights=None, classifier_activation=None, input_shape=(64, 64, 3), **settings
  )
  records = golden.read_json('keras_efficientnetb0_shapes.json')['variables']
  for variable, record in zip(model.weights, records[: len(model.weights)], strict=True):
    if record['value_name']:
      variable.assign(golden_weights.value(record['value_name'], record['shape']))
  return model


def save(model, path):
  (model.save_weights if path.name.endswith('.weights.h5') else model.save)(path)
  return path


@pytest.mark.parametrize('name', ['m.weights.h5', 'm.h5', 'm.keras'])
def test_logits_are_those_of_the_peer(tmp_path, name):
  path = save(peer(), tmp_path / name)
  model = efficientnet.build_model('efficientnet-b0', image_size=64, weights=path)
  want = golden.read_npz('keras_efficientnetb0_s64.npz')
  np.testing.assert_allclose(model(want['input']), want['logits'], rtol=0, atol=1e-5)


def test_without_top(tmp_path):
  path = save(peer(include_top=False), tmp_path / 'notop.weights.h5')
  model = efficientnet.build_model(
    'efficientnet-b0', image_size=64, weights=path, include_top=False, pooling='avg'
  )
  want = golden.read_npz('keras_efficientnetb0_s64.npz')
  np.testing.assert_allclose(model(want['input']), want['pooled'], rtol=0, atol=1e-5)
  with pytest.raises(ValueError, match='2 missing: predictions/kernel, predictions/bias'):
    efficientnet.build_model('efficientnet-b0', image_size=64, weights=path)


def test_the_files_normalisation_replaces_the_models(tmp_path):
  original = peer()
  layer = original.get_layer('normalization')
  layer.set_weights([np.float32([0.1, 0.2, 0.3]), np.float32([0.04, 0.09, 0.16]), np.int32(0)])
  layer.finalize_state()
  path = tmp_path / 'm.weights.h5'
  original.save_weights(path)
  images = golden.images(64)
  model = efficientnet.build_model('efficientnet-b0', image_size=64)
  model.predict(images, verbose=0)  # Traced with the model's own normalisation.
  report = weights.load(model, path)
  assert 'mean_rgb 25.5, 51, 76.5; stddev_rgb 51, 76.5, 102.' in report.table()
  want = original.predict(images, verbose=0)
  np.testing.assert_allclose(model.predict(images, verbose=0), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize('in_file', [IMAGENET_STDDEV, np.square(IMAGENET_STDDEV)])
def test_the_published_variances_are_standard_deviations(in_file):
  """The published files' values and correct variances both give ImageNet's deviations."""
  tensors = {
    'normalization_1/mean': np.float32(IMAGENET_MEAN),
    'normalization_1/variance': np.float32(in_file),
  }
  mean, stddev = keras_applications.normalization(tensors, 'm.h5')
  np.testing.assert_allclose(mean, np.multiply(255, IMAGENET_MEAN), rtol=1e-6)
  np.testing.assert_allclose(stddev, np.multiply(255, IMAGENET_STDDEV), rtol=1e-6)


def test_weights_of_another_network(tmp_path):
  path = save(peer(), tmp_path / 'b0.weights.h5')
  with pytest.raises(ValueError, match='nothing was loaded') as error:
    efficientnet.build_model('efficientnet-b1', image_size=32, weights=path)
  message = str(error.value)
  assert 'does not fit efficientnet-b1' in message and 'block1b_dwconv/kernel' in message
  assert '\n' not in message
  with pytest.raises(ValueError, match='keras.applications has no such network'):
    weights.load(efficientnet.build_model('efficientnet-condconv-b0-4e', image_size=32), path)


def test_own_exports_load_back(tmp_path):
  """A `.keras` file of one of our models has our own names."""
  model = efficientnet.build_model('efficientnet-lite0', image_size=32, num_classes=3)
  model.save(tmp_path / 'own.keras')
  loaded = efficientnet.build_model(
    'efficientnet-lite0', image_size=32, num_classes=3, weights=tmp_path / 'own.keras'
  )
  for one, other in zip(model.weights, loaded.weights, strict=True):
    np.testing.assert_array_equal(one, other)
