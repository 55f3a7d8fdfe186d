"""The Torch7 reader on reference files, on files written here, and on damaged ones."""
import struct

import numpy as np
import pytest

from tests.resnext import golden
from tests.t7_writer import module, save
from tpu_utils.weights import t7


@pytest.mark.parametrize('name', ['tiny_resnext', 'tiny_resnext_nn'])
def test_every_parameter_of_the_reference_files(name):
  want = golden.read_npz(f'{name}_expected.npz')
  positions = golden.read_json('lua_index_map.json')['maps'][name]
  got = t7.read(golden.FOLDER / f'{name}.t7')
  wanted = {}
  for key, value in want.items():
    if key.startswith('param/'):
      module, _, field = key.removeprefix('param/').rpartition('.')
      wanted[f'{positions[module]}.{field}'] = value
  assert set(got) == set(wanted)
  for position, value in wanted.items():
    np.testing.assert_array_equal(got[position], value)


def test_values_of_every_kind(tmp_path):
  value = {'a': 1.5, 'b': True, 'c': None, 'd': {'e': 'text', 2.0: b'\xff'}, 'f': [False, 'x']}
  want = {**value, 'f': {1.0: False, 2.0: 'x'}}
  assert t7.load(save(tmp_path / 'x.t7', value)) == want


@pytest.mark.parametrize('element', ['Cuda', 'Half', 'Long', 'CudaHalf'])
def test_other_elements(tmp_path, element):
  dtype = {'Cuda': 'f4', 'Half': 'f2', 'Long': 'i8', 'CudaHalf': 'f2'}[element]
  value = np.arange(6, dtype=dtype).reshape(2, 3)
  path = save(tmp_path / 'x.t7', lambda writer: writer.tensor(value, element))
  got = t7.load(path)
  np.testing.assert_array_equal(got, value)
  assert got.dtype == dtype


def test_functions_are_skipped(tmp_path):
  """The format has three kinds; the last is referred to twice."""

  def function(kind, index):
    def write(writer):
      writer.int(kind)
      if kind != 6:
        writer.int(index)
      writer.text(b'\x1bLua bytecode')
      writer.object({'upvalue': 1.0})

    return write

  def reference(writer):
    writer.int(8)
    writer.int(102)

  value = {
    'a': function(6, 0), 'b': function(7, 101), 'c': function(8, 102), 'd': reference, 'e': 2.0
  }  # fmt: skip
  assert t7.load(save(tmp_path / 'x.t7', value)) == {
    'a': None, 'b': None, 'c': None, 'd': None, 'e': 2.0
  }


def test_objects_may_contain_themselves(tmp_path):
  def write(writer):
    writer.torch('nn.Linear')
    writer.int(3)
    writer.index()
    writer.int(1)
    writer.object('self')
    writer.int(4)
    writer.int(1)

  root = t7.load(save(tmp_path / 'x.t7', write))
  assert root.fields['self'] is root


def test_modules_of_older_classes(tmp_path):
  """No version before the class, a kernel as a matrix, and `running_std`."""
  weight = np.arange(2 * 3 * 2 * 2, dtype=np.float32)
  variance = np.array([0.5, 2.0], np.float64)
  network = module(
    'nn.Sequential',
    version=None,
    modules=[
      module('nn.SpatialConvolutionMM', weight=weight.reshape(2, 12), kW=2.0, kH=2.0, bias=None),
      module('nn.SpatialBatchNormalization', running_std=(variance + 1e-3) ** -0.5, eps=1e-3),
      module('nn.Concat', modules=[module('nn.Linear', weight=weight.reshape(2, 12))]),
    ],
  )
  got = t7.read(save(tmp_path / 'x.t7', network))
  assert set(got) == {'1.weight', '2.running_var', '3.1.weight'}
  np.testing.assert_array_equal(got['1.weight'], weight.reshape(2, 3, 2, 2))
  np.testing.assert_allclose(got['2.running_var'], variance, rtol=1e-12)
  assert got['3.1.weight'].shape == (2, 12)


def test_files_without_a_network_are_refused(tmp_path):
  with pytest.raises(ValueError, match='no network with parameters, but a dict'):
    t7.read(save(tmp_path / 'x.t7', {'epoch': 3.0, 'modelFile': 'model_3.t7'}))
  with pytest.raises(FileNotFoundError, match='no such file'):
    t7.read(tmp_path / 'none.t7')
  (tmp_path / 'empty.t7').write_bytes(b'')
  with pytest.raises(ValueError, match='empty'):
    t7.read(tmp_path / 'empty.t7')
  (tmp_path / 'ascii.t7').write_text('4\n1\n3\nV 1\n13\nnn.Sequential\n')
  with pytest.raises(ValueError, match='expected a complete binary Torch7 file'):
    t7.read(tmp_path / 'ascii.t7')


def test_a_tensor_beyond_its_storage_is_refused(tmp_path):
  def write(writer):
    writer.torch('torch.FloatTensor')
    writer.int(1)
    writer.long(5, 1, 1)
    writer.torch('torch.FloatStorage')
    writer.long(4)
    writer.parts.append(bytes(16))

  with pytest.raises(ValueError, match='reaches beyond its storage of 4'):
    t7.load(save(tmp_path / 'x.t7', write))


def test_endless_nesting_is_refused(tmp_path):
  opening = struct.pack('<i', 3)
  data = b''.join(opening + struct.pack('<iii', i, 1, 1) + bytes(8) for i in range(1, 100_000))
  (tmp_path / 'deep.t7').write_bytes(data)
  with pytest.raises(ValueError, match='cannot be read as a binary Torch7 file .maximum recursion'):
    t7.load(tmp_path / 'deep.t7')


@pytest.mark.slow
def test_damaged_files_end_in_one_line(tmp_path):
  """A cut-off file is refused; one with a changed byte is read or refused."""
  whole = (golden.FOLDER / 'tiny_resnext_nn.t7').read_bytes()
  path = tmp_path / 'x.t7'
  for size in range(1, len(whole), 4999):
    path.write_bytes(whole[:size])
    with pytest.raises(ValueError, match=r'x\.t7: at byte \d+') as error:
      t7.read(path)
    assert '\n' not in str(error.value)
  rng = np.random.default_rng(0)
  for _ in range(200):
    data = bytearray(whole)
    data[rng.integers(0, 5000)] = rng.integers(256)
    path.write_bytes(data)
    try:
      t7.read(path)
    except ValueError as error:
      assert 'x.t7' in str(error)
