"""Weights of `keras.applications` in each file format give its logits."""
import h5py
import keras
import numpy as np
import pytest
from keras.src.applications import efficientnet as keras_efficientnet

import efficientnet
from efficientnet.checkpoint_names import keras_applications
from tests.efficientnet import golden
from tests.goldens import weights as golden_weights
from tpu_utils import weights
from tpu_utils.image_jobs import fine_tuning
from tpu_utils.weights import keras_files

pytestmark = pytest.mark.slow

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
def test_the_published_variances_are_standard_deviations(tmp_path, in_file):
  """The published files' values and correct variances both give ImageNet's deviations."""
  path = tmp_path / 'm.weights.h5'
  with h5py.File(path, 'w') as file:
    file['layers/normalization/vars/0'] = np.float32(IMAGENET_MEAN)
    file['layers/normalization/vars/1'] = np.float32(in_file)
    file['layers/normalization/vars/2'] = 0
    file['layers/normalization/vars'].attrs['name'] = 'normalization_1'
  mean, stddev = keras_applications.normalization(keras_files.read(path), str(path))
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


FORMATS = ('m.weights.h5', 'm.h5', 'm.keras')


SMALL = {'width_coefficient': 0.25, 'depth_coefficient': 0.25}
FEATURES = 320


def base(pooling='avg', depth=0.25):
  """Builds a small network of keras.applications without a classifier."""
  keras.backend.clear_session()
  model = keras_efficientnet.EfficientNet(
    0.25, depth, 32, name='efficientnetb0', include_top=False, weights=None,
    input_shape=(32, 32, 3), pooling=pooling,
  )  # fmt: skip
  rng = np.random.default_rng(0)
  for variable in model.weights:
    low = 0.5 if variable.path.endswith(('variance', 'gamma')) else -0.2
    if not variable.path.endswith('kernel'):
      variable.assign(rng.uniform(low, low + 0.7, variable.shape))
  scaling = model.get_layer('normalization')
  scaling.set_weights([np.float32(IMAGENET_MEAN), np.square(IMAGENET_STDDEV), np.int32(0)])
  scaling.finalize_state()
  return model


def ours(num_classes=5, **settings):
  return efficientnet.build_model(
    'efficientnet-b0', num_classes=num_classes, image_size=32, **SMALL, **settings
  )


def nested(network, *before, depth=1):
  """Returns a model of five classes: layers, the network inside it, and a head."""
  for _ in range(depth - 1):
    network = keras.Sequential([keras.Input((32, 32, 3)), network])
  head = keras.layers.Dense(5, name='scores')
  model = keras.Sequential(
    [keras.Input((32, 32, 3)), *before, network, keras.layers.Dropout(0.3), head]
  )
  rng = np.random.default_rng(0)
  head.set_weights([rng.normal(size=shape) for shape in ((FEATURES, 5), (5,))])
  return model


@pytest.fixture(scope='module')
def built():
  return ours()


@pytest.fixture
def model(built):
  """Returns a model with the scaling that it was built with."""
  layer = built.get_layer('normalization')
  scaling = layer.scale, layer.offset
  yield built
  layer.scale, layer.offset = scaling


def check_logits(model, path, original, message=''):
  """Checks that the file's model and ours give the same logits."""
  model.set_weights([np.zeros(v.shape) for v in model.weights])
  report = weights.load(model, path)
  assert len(report.loaded) == len(model.weights) and message in str(report)
  images = golden.images(32)
  assert golden.relative_error(model(images), original(images, training=False)) < 1e-4
  return report


def test_a_base_network_inside_another_model(tmp_path, model):
  original = nested(base())
  for name in FORMATS:
    assert not check_logits(model, save(original, tmp_path / name), original).unused


def test_a_base_network_two_models_deep_after_augmentation(tmp_path, model):
  augment = keras.Sequential(
    [keras.layers.RandomFlip(), keras.layers.RandomRotation(0.1)], name='augment'
  )
  original = nested(base(), augment, depth=2)
  for name in FORMATS:
    check_logits(model, save(original, tmp_path / name), original)


def test_scaling_before_the_network_is_taken_over(tmp_path, model):
  """Weights alone do not say by how much; the layer is named."""
  scaling = keras.layers.Rescaling(1 / 127.5, offset=-1, name='scale_images')
  original = nested(base(), scaling)
  for name in ('m.h5', 'm.keras'):
    path = save(original, tmp_path / name)
    report = check_logits(model, path, original, 'mean_rgb 15896.1, 14953.2, 13327.6; ')
    assert 'not read' not in str(report)
  report = weights.load(model, save(original, tmp_path / 'm.weights.h5'))
  assert 'Its layers scale_images are not read: where they change values' in str(report)


def test_another_pooling_is_named(tmp_path, model):
  original = nested(base('max'))
  for name in ('m.weights.h5', 'm.keras'):
    report = weights.load(model, save(original, tmp_path / name))
    assert 'max_pool are not read' in str(report)


def flat(*sizes):
  """Returns base network and dense layers in one flat model."""
  network = base()
  x = network.output
  for number, size in enumerate(sizes):
    x = keras.layers.Dense(size, name=f'dense_{number}')(x)
  return keras.Model(network.input, x)


def test_a_head_of_any_name_in_a_flat_model(tmp_path, model):
  original = flat(5)
  for name in FORMATS:
    check_logits(model, save(original, tmp_path / name), original)


def test_a_head_of_another_shape(tmp_path, model):
  path = save(flat(7), tmp_path / 'm.weights.h5')
  message = r'wrong shape: dense_0/kernel \[320, 7\] for head_dense/kernel \[320, 5\]'
  with pytest.raises(ValueError, match=message):
    weights.load(model, path)
  report = fine_tuning.load(model, str(path))
  assert list(report.kept) == ['head_dense/kernel', 'head_dense/bias']
  assert sorted(report.unused) == ['dense_0/bias', 'dense_0/kernel']


@pytest.mark.parametrize('inside', [False, True])
def test_several_layers_after_the_network(tmp_path, model, inside):
  """A network without them would compute something else; a new classifier does not need them."""
  path = tmp_path / 'm.weights.h5'
  if inside:
    dense = (keras.layers.Dense(FEATURES, name='dense_0'), keras.layers.Dense(5, name='dense_1'))
    save(keras.Sequential([keras.Input((32, 32, 3)), base(), *dense]), path)
  else:
    save(flat(FEATURES, 5), path)
  before = model.get_weights()
  with pytest.raises(ValueError, match='2 missing: predictions/kernel.* 4 unexpected: .*dense_0/k'):
    weights.load(model, path)
  assert all(map(np.array_equal, before, model.get_weights()))
  report = fine_tuning.load(model, str(path))
  assert len(report.kept) == 2 and len(report.unused) == 4
  headless = ours(num_classes=0)
  assert len(weights.load(headless, path).unused) == 4


def test_a_larger_network_is_not_taken_for_one_with_layers_beside_it(tmp_path, model):
  larger = base(depth=0.6)
  for original in (larger, nested(larger)):
    path = save(original, tmp_path / 'm.weights.h5')
    with pytest.raises(ValueError, match='unexpected: .*block2b'):
      fine_tuning.load(model, str(path))


def test_our_own_network_inside_another_model(tmp_path, model):
  network = ours(include_top=False, pooling='avg')
  original = nested(network)
  check_logits(model, save(original, tmp_path / 'm.keras'), original)


def test_the_layouts_of_keras_2(tmp_path, model):
  """The names end in ':0', long lists of them are in several attributes, seeds are variables."""
  network = base()
  values = {v.path: v.numpy() for v in network.weights}
  head = np.random.default_rng(0).normal(size=(FEATURES, 5)).astype(np.float32)
  with h5py.File(tmp_path / 'm.h5', 'w') as file:
    group = file.create_group('model_weights')
    group.attrs['layer_names'] = [b'augment', b'efficientnetb0', b'dense']
    contents = {
      'augment': {'StateVar': np.zeros(3, np.int64)},
      'efficientnetb0': values,
      'dense': {'dense/kernel': head, 'dense/bias': np.zeros(5, np.float32)},
    }
    for layer, variables in contents.items():
      own = group.create_group(layer)
      names = [f'{name}:0'.replace('dwconv/k', 'dwconv/depthwise_k') for name in variables]
      for number, part in enumerate(np.array_split(np.array(names, 'S'), 2)):
        own.attrs[f'weight_names{number}'] = part
      for name, value in zip(names, variables.values(), strict=True):
        own[name] = value
  original = nested(network)
  original.layers[-1].set_weights([head, np.zeros(5)])
  report = check_logits(model, tmp_path / 'm.h5', original)
  assert report.unused == ('augment/StateVar',)
