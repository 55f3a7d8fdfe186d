"""The reader of torch files without torch: both formats, views, damage, memory."""
import pathlib
import pickle
import struct
import sys
import tracemalloc
import types
import zipfile

import numpy as np
import pytest

from tpu_utils.weights import safe_pickle, torch_tensors

GOLDENS = pathlib.Path(__file__).parents[2] / 'goldens' / 'oscar'
FILES = GOLDENS / 'torch_files'


@pytest.mark.parametrize('name', ['zip.pt', 'old.pt'])
def test_both_formats_give_the_saved_values(name):
  """`make.py` in the folder of the files wrote them."""
  read, base = torch_tensors.load(FILES / name), np.arange(24, dtype=np.float32)
  for key, expected in {
    'plain': base.reshape(4, 6),
    'view': base[6:18].reshape(2, 6),
    'transposed': base.reshape(4, 6).T,
    'stepped': base[::5],
    'expanded': np.float32([3, 3, 3]),
    'empty': np.zeros([0, 6], np.float32),
    'scalar': np.float32(2.5),
  }.items():
    value = read[key].read()
    assert value.dtype == np.float32 and value.shape == expected.shape
    np.testing.assert_array_equal(value, expected)
  tensor, text, plain = read[7]['a']
  np.testing.assert_array_equal(tensor.read(), np.arange(3))
  assert (text, plain) == ('text', (1, 2.5, None))
  dtypes = ['f8', 'f2', 'i8', 'i4', 'i2', 'i1', 'u1', '?']
  for value, dtype in zip(read['dtypes'], dtypes, strict=True):
    assert value.read().dtype == np.dtype(dtype)
    np.testing.assert_array_equal(value.read(), np.array([0, 1, 2]).astype(dtype))
  assert read['counts'] == {('a', 'b'): 2.0}


def test_bfloat16_is_converted_to_float32():
  value = torch_tensors.load(FILES / 'bfloat16.pt')['a'].read()
  np.testing.assert_array_equal(value, np.zeros(2, np.float32))
  assert value.dtype == np.float32


def rewritten(path, change):
  """Copies zip.pt with `change(entry, data)` applied to each entry; it returns the data."""
  with zipfile.ZipFile(FILES / 'zip.pt') as old, zipfile.ZipFile(path, 'w') as new:
    for entry in old.infolist():
      data = change(entry, old.read(entry))
      new.writestr(entry, data)
  return path


def test_an_undecodable_name_in_the_zip_is_refused(tmp_path):
  data = rewritten(tmp_path / 'some.pt', lambda entry, data: data).read_bytes()
  directory = data.rindex(b'PK\x01\x02')
  name = data.index(b'zip/', directory)
  damaged = bytearray(data)
  damaged[directory + 9] |= 8  # Says that the name is UTF-8.
  damaged[name] = 0x80
  (tmp_path / 'some.pt').write_bytes(damaged)
  message = r"some\.pt cannot be read as a file of torch.save \('utf-8' codec"
  with pytest.raises(ValueError, match=message):
    torch_tensors.load(tmp_path / 'some.pt')


@pytest.mark.parametrize(
  'place, value', [(6, 1), (8, 0x20), (10, 8), (10, 99), (42, 0xFF), (20, 0xFF)]
)
def test_damage_in_the_directory_of_the_zip(tmp_path, place, value):
  """Version, encryption, compression method, offset and size of the entry data.pkl."""
  data = bytearray((FILES / 'zip.pt').read_bytes())
  entry = data.index(b'PK\x01\x02')
  data[entry + place] = value
  (tmp_path / 'some.pt').write_bytes(data)
  try:
    torch_tensors.load(tmp_path / 'some.pt')
  except ValueError as error:
    assert 'some.pt' in str(error) and '\n' not in str(error)


def test_zips_that_torch_never_writes(tmp_path):
  def compress(entry, data):
    entry.compress_type = zipfile.ZIP_DEFLATED
    return data

  with pytest.raises(ValueError, match=r'some\.pt .*is compressed or encrypted'):
    torch_tensors.load(rewritten(tmp_path / 'some.pt', compress))
  path = rewritten(tmp_path / 'twice.pt', lambda entry, data: data)
  with zipfile.ZipFile(path, 'a') as archive, pytest.warns(UserWarning, match='Duplicate'):
    archive.writestr('zip/data.pkl', b'')
  with pytest.raises(ValueError, match=r'twice\.pt .*two entries of its zip have the same name'):
    torch_tensors.load(path)


def test_views_that_would_exhaust_memory_are_refused(tmp_path):
  """A stride of zero makes any shape fit into one element."""
  view = torch_tensors.StoredTensor(str(FILES / 'zip.pt'), 0, 1, '<f4', 0, (2**20, 2**20), (0, 0))
  with pytest.raises(ValueError, match='leaves its storage of 1 elements'):
    view.read()


@pytest.mark.parametrize('name', ['zip.pt', 'old.pt'])
def test_a_file_cut_off_anywhere_is_refused(tmp_path, name):
  data = (FILES / name).read_bytes()
  for length in range(0, len(data), 97):
    (tmp_path / 'cut.pt').write_bytes(data[:length])
    with pytest.raises(ValueError, match=r'cut\.pt'):
      torch_tensors.load(tmp_path / 'cut.pt')


class _Runs:
  def __reduce__(self):
    return eval, ('1 + 1',)


def test_no_code_runs(tmp_path):
  path = tmp_path / 'bad.pt'
  old = [0x1950A86A20F9469CFC6C, 1001, {'little_endian': True}, _Runs(), []]
  path.write_bytes(b''.join(pickle.dumps(part, 2) for part in old))
  with pytest.raises(safe_pickle.UnsafePickleError, match='bad.pt asks for .*eval'):
    torch_tensors.load(path)
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('bad/data.pkl', pickle.dumps(_Runs(), 2))
  with pytest.raises(safe_pickle.UnsafePickleError, match='bad.pt asks for .*eval'):
    torch_tensors.load(path)


def test_other_files_are_refused(tmp_path):
  path = tmp_path / 'other.pt'
  path.write_bytes(pickle.dumps({'a': 1}))
  with pytest.raises(ValueError, match='other.pt is a pickle, but no file of torch.save'):
    torch_tensors.load(path)
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('readme.txt', 'hello')
  with pytest.raises(ValueError, match='other.pt is a zip without data.pkl'):
    torch_tensors.load(path)
  with pytest.raises(FileNotFoundError, match='absent.pt does not exist'):
    torch_tensors.load(tmp_path / 'absent.pt')


class _Storage:
  def __init__(self, key, elements):
    self.key, self.elements = key, elements


class _Tensor:
  def __init__(self, storage, shape):
    self.storage, self.shape = storage, shape

  def __reduce__(self):
    strides = (self.shape[1], 1)
    return sys.modules['torch._utils']._rebuild_tensor_v2, (self.storage, 0, self.shape, strides)


def write_old(path, shapes, monkeypatch):
  """Writes zeros of the given shapes in the older torch format, without torch."""
  torch, utils = types.ModuleType('torch'), types.ModuleType('torch._utils')
  torch.FloatStorage = type('FloatStorage', (), {'__module__': 'torch'})
  utils._rebuild_tensor_v2 = lambda *args: None
  utils._rebuild_tensor_v2.__module__ = 'torch._utils'
  utils._rebuild_tensor_v2.__qualname__ = '_rebuild_tensor_v2'
  monkeypatch.setitem(sys.modules, 'torch', torch)
  monkeypatch.setitem(sys.modules, 'torch._utils', utils)

  class Pickler(pickle.Pickler):
    def persistent_id(self, item):
      if isinstance(item, _Storage):
        return 'storage', torch.FloatStorage, item.key, 'cpu', item.elements, None
      return None

  tensors = {
    key: _Tensor(_Storage(str(i), shape[0] * shape[1]), shape)
    for i, (key, shape) in enumerate(shapes.items())
  }
  with open(path, 'wb') as file:
    for part in (0x1950A86A20F9469CFC6C, 1001, {'little_endian': True}):
      pickle.dump(part, file, 2)
    Pickler(file, 2).dump(tensors)
    pickle.dump([tensor.storage.key for tensor in tensors.values()], file, 2)
    for rows, columns in shapes.values():
      file.write(struct.pack('<q', rows * columns))
      file.seek(4 * rows * columns - 1, 1)
      file.write(b'\0')


def test_tensors_stay_in_the_file_until_they_are_read(tmp_path, monkeypatch):
  shapes = {key: (50, 2054) for key in range(200)}  # 82 MB
  write_old(tmp_path / 'big.pt', shapes, monkeypatch)
  assert (tmp_path / 'big.pt').stat().st_size > 80e6
  tracemalloc.start()
  read = torch_tensors.load(tmp_path / 'big.pt')
  shapes_read = {key: value.read().shape for key, value in read.items()}
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert shapes_read == shapes and peak < 3 << 20
