"""Files that Keras wrote, in all of its formats, and files that are something else."""
import h5py
import keras
import numpy as np
import pytest

from tpu_utils.weights import keras_files

FORMATS = ('m.weights.h5', 'm.keras', 'm.h5')


@pytest.fixture(scope='module')
def model():
  x = inputs = keras.Input((8, 8, 3))
  x = keras.layers.Normalization(name='scale')(x)
  x = keras.layers.Conv2D(4, 3, use_bias=False, name='first')(x)
  x = keras.layers.BatchNormalization(name='norm')(x)
  x = keras.layers.DepthwiseConv2D(3, use_bias=False, name='depthwise')(x)
  x = keras.layers.Flatten()(x)
  model = keras.Model(inputs, keras.layers.Dense(2, name='top')(x))
  rng = np.random.default_rng(0)
  for variable in model.weights:
    variable.assign(rng.normal(size=variable.shape))
  return model


def save(model, path):
  (model.save_weights if path.name.endswith('.weights.h5') else model.save)(path)
  return path


@pytest.mark.parametrize('name', FORMATS)
def test_every_format_gives_every_variable_by_its_path(tmp_path, model, name):
  path = save(model, tmp_path / name)
  assert keras_files.matches(str(path))
  got = keras_files.read(path)
  assert set(got) == {variable.path for variable in model.weights}
  for variable in model.weights:
    np.testing.assert_array_equal(got[variable.path], variable)


def test_names_of_keras_2(tmp_path):
  """A colon and a number behind each name, and `depthwise_kernel`."""
  with h5py.File(tmp_path / 'old.h5', 'w') as file:
    file.attrs['layer_names'] = [b'input_1', b'block1a_dwconv']
    file.create_group('input_1').attrs['weight_names'] = []
    group = file.create_group('block1a_dwconv')
    group.attrs['weight_names'] = [b'block1a_dwconv/depthwise_kernel:0']
    group['block1a_dwconv/depthwise_kernel:0'] = np.ones((3, 3, 4, 1))
  got = keras_files.read(tmp_path / 'old.h5')
  assert {name: value.shape for name, value in got.items()} == {'block1a_dwconv/kernel': (3, 3, 4, 1)}


@pytest.mark.parametrize('name', FORMATS)
def test_half_a_file(tmp_path, model, name):
  path = save(model, tmp_path / name)
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  with pytest.raises(ValueError, match=f'{name} cannot be read as a Keras file') as error:
    keras_files.read(path)
  assert '\n' not in str(error.value)


def test_files_without_layers(tmp_path):
  with h5py.File(tmp_path / 'other.h5', 'w') as file:
    file['data'] = np.zeros(3)
  with pytest.raises(ValueError, match='holds no layers with variables'):
    keras_files.read(tmp_path / 'other.h5')
  with pytest.raises(FileNotFoundError, match='none.h5'):
    keras_files.read(tmp_path / 'none.h5')


def test_layers_without_names(tmp_path):
  with h5py.File(tmp_path / 'm.weights.h5', 'w') as file:
    file['layers/conv2d/vars/0'] = np.zeros(3)
  with pytest.raises(ValueError, match='no names of layers.*save it again'):
    keras_files.read(tmp_path / 'm.weights.h5')
