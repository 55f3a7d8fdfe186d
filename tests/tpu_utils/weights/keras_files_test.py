"""The reader of Keras' formats, on files by Keras and on damaged ones."""
import zipfile

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
def test_every_variable_is_read_from_every_format(tmp_path, model, name):
  path = save(model, tmp_path / name)
  assert keras_files.matches(str(path))
  got = keras_files.read(path)
  assert set(got) == {variable.path for variable in model.weights}
  for variable in model.weights:
    np.testing.assert_array_equal(got[variable.path], variable)


def test_names_of_keras_2(tmp_path):
  """Names end in a colon and a number, and `depthwise_kernel` becomes `kernel`."""
  with h5py.File(tmp_path / 'old.h5', 'w') as file:
    file.attrs['layer_names'] = [b'input_1', b'block1a_dwconv']
    file.create_group('input_1').attrs['weight_names'] = []
    group = file.create_group('block1a_dwconv')
    group.attrs['weight_names'] = [b'block1a_dwconv/depthwise_kernel:0']
    group['block1a_dwconv/depthwise_kernel:0'] = np.ones((3, 3, 4, 1))
  got = keras_files.read(tmp_path / 'old.h5')
  shapes = {name: value.shape for name, value in got.items()}
  assert shapes == {'block1a_dwconv/kernel': (3, 3, 4, 1)}


@pytest.mark.parametrize('name', FORMATS)
def test_a_cut_off_file_is_refused(tmp_path, model, name):
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


def test_values_outside_the_file_are_refused(tmp_path):
  """Also huge arrays that were never written, and text."""
  path = tmp_path / 'm.weights.h5'
  other = tmp_path / 'secret'
  other.write_bytes(bytes(64))

  def rejected(match, **settings):
    with h5py.File(path, 'w') as file:
      file.create_dataset('layers/dense/vars/0', **settings)
      file['layers/dense/vars'].attrs['name'] = 'top'
    with pytest.raises(ValueError, match=match) as error:
      keras_files.read(path)
    assert 'm.weights.h5 cannot be read as a Keras file' in str(error.value)

  rejected('0 bytes cannot hold .*1099511627776', shape=(2**40,), dtype='f4', chunks=(1024,))
  rejected('stand in other files', shape=(4,), dtype='f4', external=[(str(other), 0, 64)])
  rejected('holds no numbers', data=[b'text'])


def test_links_to_other_files_are_refused(tmp_path):
  """Also in parts of the file that hold no weights, as Keras' loader would follow them."""
  with h5py.File(tmp_path / 'secret.h5', 'w') as file:
    file['values'] = np.ones(4)
  path = tmp_path / 'm.weights.h5'
  for place in ('layers/dense/vars/0', 'optimizer/vars/0'):
    with h5py.File(path, 'w') as file:
      file['layers/dense/vars/1'] = np.ones(4)
      file['layers/dense/vars'].attrs['name'] = 'top'
      file[place] = h5py.ExternalLink(tmp_path / 'secret.h5', 'values')
    for read in (keras_files.read, keras_files.check):
      with pytest.raises(ValueError, match=f'{place} is a link to another file, .*secret.h5'):
        read(path)


def test_virtual_arrays_are_refused(tmp_path):
  with h5py.File(tmp_path / 'secret.h5', 'w') as file:
    file['values'] = np.ones(4)
  layout = h5py.VirtualLayout((4,), 'f8')
  layout[:] = h5py.VirtualSource(tmp_path / 'secret.h5', 'values', (4,))
  with h5py.File(tmp_path / 'm.weights.h5', 'w') as file:
    file.create_virtual_dataset('layers/dense/vars/0', layout)
    file['layers/dense/vars'].attrs['name'] = 'top'
  with pytest.raises(ValueError, match='the values of .*vars/0 stand in other files'):
    keras_files.read(tmp_path / 'm.weights.h5')


def test_many_arrays_that_were_never_written_are_refused(tmp_path):
  """Each takes under a megabyte, all of them over 64."""
  with h5py.File(tmp_path / 'm.weights.h5', 'w') as file:
    for number in range(70):
      file.create_dataset(f'layers/dense/vars/{number}', (2**18,), 'f4', chunks=(1024,))
    file['layers/dense/vars'].attrs['name'] = 'top'
  with pytest.raises(ValueError, match='all its arrays would take 73,400,320 bytes of memory'):
    keras_files.read(tmp_path / 'm.weights.h5')


def test_many_names_of_one_array_are_refused(tmp_path):
  with h5py.File(tmp_path / 'm.weights.h5', 'w') as file:
    file['layers/dense/vars/0'] = np.zeros(2**17)
    for number in range(1, 80):
      file[f'layers/dense/vars/{number}'] = file['layers/dense/vars/0']
    file['layers/dense/vars'].attrs['name'] = 'top'
  with pytest.raises(ValueError, match='the arrays of its layers would take 83,886,080 bytes'):
    keras_files.read(tmp_path / 'm.weights.h5')


def test_a_chunk_larger_than_its_array_is_refused(tmp_path):
  with h5py.File(tmp_path / 'm.weights.h5', 'w') as file:
    file.create_dataset(
      'layers/dense/vars/0', (4,), 'f8', maxshape=(None,), chunks=(2**24,), compression='gzip'
    )[:] = 0
    file['layers/dense/vars'].attrs['name'] = 'top'
  with pytest.raises(ValueError, match='all its arrays would take 134,217,728 bytes of memory'):
    keras_files.read(tmp_path / 'm.weights.h5')


@pytest.mark.parametrize('place', ['layers', 'layers/dense', 'layers/dense/vars'])
def test_an_array_in_the_place_of_a_group(tmp_path, place):
  with h5py.File(tmp_path / 'm.weights.h5', 'w') as file:
    file[place] = np.ones(4)
  with pytest.raises(ValueError, match=f'm.weights.h5 .*/{place} is an array; expected a group'):
    keras_files.read(tmp_path / 'm.weights.h5')


def test_an_archive_that_unpacks_to_zeros_is_refused(tmp_path):
  path = tmp_path / 'm.keras'
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
    archive.writestr('model.weights.h5', bytes(70 * 2**20))
  with pytest.raises(ValueError, match='model.weights.h5 would take 73,400,320 bytes of memory'):
    keras_files.read(path)


def test_an_archive_that_would_exhaust_memory_is_refused(tmp_path):
  path = tmp_path / 'm.keras'
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
    archive.writestr('model.weights.h5', b'')
  data = bytearray(path.read_bytes())
  size = data.index(b'PK\x01\x02') + 24
  data[size : size + 4] = b'\xff\xff\xff\x7f'
  path.write_bytes(data)
  message = 'm.keras cannot be read as a Keras file .*cannot hold the 2147483647'
  with pytest.raises(ValueError, match=message):
    keras_files.read(path)


@pytest.mark.parametrize('archive', [False, True])
def test_a_heap_on_which_hdf5_loops_forever_is_refused(tmp_path, archive):
  """Free space of size 0; a random search found it."""
  whole = tmp_path / 'm.weights.h5'
  with h5py.File(whole, 'w') as file:
    file['layers/dense/vars/0'] = np.zeros(3)
    file['layers/dense/vars'].attrs['name'] = 'top'
  assert list(keras_files.read(whole)) == ['top/kernel']
  data = bytearray(whole.read_bytes())
  text = data.index(b'top', data.index(b'GCOL'))
  data[text - 8] = 57  # The length of the text: zeros follow.
  path = tmp_path / 'm.keras' if archive else whole
  if archive:
    with zipfile.ZipFile(path, 'w') as file:
      file.writestr('model.weights.h5', bytes(data))
  else:
    path.write_bytes(data)
  message = 'cannot be read as a Keras file .its texts at byte .* are damaged'
  with pytest.raises(ValueError, match=message):
    keras_files.read(path)
