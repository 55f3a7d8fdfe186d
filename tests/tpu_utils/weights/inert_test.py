"""Values of numpy, pathlib and torch in torch files: read as plain values, and without effects."""
import argparse
import collections
import pathlib
import pickle
import zipfile

import numpy as np
import pytest

from tpu_utils.weights import inert, torch_files, torch_tensors


def stored(path, content):
  """Writes a torch file of a pickle, or of a value to pickle."""
  pickled = content if isinstance(content, bytes) else pickle.dumps(content, 2)
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('m/data.pkl', pickled)
  return path


@pytest.mark.parametrize(
  'value',
  [
    np.float64(1.5), np.int32(-3), np.bool_(True), np.str_('text'), np.arange(3.0),
    np.arange(6, dtype='>i2').reshape(2, 3), np.asfortranarray(np.ones((2, 3))), np.zeros((0, 2)),
    np.array(2.5), np.array(['a', 'bcd']), collections.Counter('aab'),
    collections.OrderedDict(a=1), pathlib.PurePosixPath('/a/b'), pathlib.PureWindowsPath('C:/a'),
  ],
  ids=lambda value: f'{type(value).__name__} {value}'.replace('\n', ''),
)  # fmt: skip
def test_values_of_other_libraries(tmp_path, value):
  got = torch_tensors.load(stored(tmp_path / 'm.pt', {'a': value}))['a']
  np.testing.assert_array_equal(got, value)
  if isinstance(value, np.ndarray | np.generic):
    assert got.dtype == value.dtype and np.shape(got) == value.shape


def test_paths_devices_and_dtypes(tmp_path):
  def value(content):
    return torch_tensors.load(stored(tmp_path / 'm.pt', content))

  assert value(pathlib.Path('/a/b')) == pathlib.PurePosixPath('/a/b')
  assert value(b'ctorch\ndevice\n(X\x04\0\0\0cudaK\x01tR.') == 'cuda:1'
  assert value(b'ctorch\nfloat16\n.') == 'torch.float16'
  options = value(argparse.Namespace(out=pathlib.Path('/a'), lr=np.float64(0.1)))
  assert isinstance(options, argparse.Namespace) and options.lr == 0.1


@pytest.mark.parametrize('protocol', range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_in_every_protocol(tmp_path, protocol):
  array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
  values = {'a': array, 'b': np.zeros((0, 2)), 'c': np.int8(3)}
  content = pickle.dumps({'state_dict': values, 'dtype': np.float32}, protocol)
  got = torch_tensors.load(stored(tmp_path / 'm.pt', content))
  for name, value in values.items():
    np.testing.assert_array_equal(got['state_dict'][name], value)
  assert got['dtype'] == 'numpy.float32'


def test_numpy_arrays_are_weights(tmp_path):
  content = {'a': np.ones((2, 2), np.float32), 'b': np.zeros(2), 'epoch': np.float64(3)}
  assert list(torch_files.read(stored(tmp_path / 'm.pt', content))) == ['a', 'b']
  content = {'state_dict': content, 'best': np.float64(0.5), 'args': argparse.Namespace(lr=0.1)}
  got = torch_files.read(stored(tmp_path / 'm.pt', content))
  np.testing.assert_array_equal(got['a'], np.ones((2, 2)))


@pytest.mark.parametrize(
  'name',
  [
    'argparse\nNamespace', 'torch._utils\n_rebuild_tensor_v2', 'torch\nFloatStorage',
    'collections\nCounter', 'numpy\ndtype', 'pathlib\nPosixPath', 'collections\nOrderedDict',
  ],
)  # fmt: skip
@pytest.mark.parametrize('slots', [False, True])
def test_a_pickle_cannot_change_what_later_files_are_read_with(tmp_path, name, slots):
  """BUILD sets attributes, of classes and functions, too."""
  state = {'name': 'DoubleStorage', '_function': 3, '__init__': 4}
  state = pickle.dumps((None, state) if slots else state, 2)[2:-1]
  path = stored(tmp_path / 'bad.pt', b'c' + name.encode() + b'\n' + state + b'b.')
  with pytest.raises(ValueError, match='bad.pt cannot be read as a pickle') as error:
    torch_tensors.load(path)
  assert '\n' not in str(error.value)
  assert 'name' not in vars(inert.Namespace) and inert.Namespace(a=1).a == 1


@pytest.mark.parametrize(
  'value', [np.array([{}]), np.zeros(2, [('a', 'f4')])], ids=['objects', 'records']
)
def test_arrays_of_other_things_than_numbers_are_refused(tmp_path, value):
  with pytest.raises(ValueError, match='bad.pt .*expected numbers or text'):
    torch_tensors.load(stored(tmp_path / 'bad.pt', {'a': value}))


def test_a_container_in_many_places_is_read_once(tmp_path):
  """Without that, 40 lists of two would become 2**40."""
  value = [1]
  for _ in range(40):
    value = [value, value]
  got = torch_tensors.load(stored(tmp_path / 'm.pt', value))
  assert got[0] is got[1]
