"""State dicts in both formats, alone and inside checkpoints, and other or damaged files."""
import argparse
import collections
import errno
import json
import struct

import numpy as np
import pytest

from tpu_utils.weights import torch_files, torch_tensors

TENSORS = {
  'layer.weight': np.arange(6, dtype=np.float32).reshape(2, 3),
  'layer.bias': np.float32([1.5, -2.0]),
  'scalar': np.float32(3.0),
}


def check(got, want=TENSORS):
  assert set(got) == set(want)
  for name, value in want.items():
    np.testing.assert_array_equal(got[name], value)
    assert got[name].shape == np.shape(value)


# safetensors


def test_safetensors_round_trip(tmp_path):
  path = tmp_path / 'model.safetensors'
  torch_files.write(path, {**TENSORS, 'transposed': TENSORS['layer.weight'].T})
  assert torch_files.matches(str(path))
  check(torch_files.read(path), {**TENSORS, 'transposed': TENSORS['layer.weight'].T})
  assert [p.name for p in tmp_path.iterdir()] == ['model.safetensors']


def write_parts(folder):
  """Writes TENSORS in two files with an index; returns the path of the index."""
  places = {name: f'model-0000{1 + (name == "scalar")}-of-00002.safetensors' for name in TENSORS}
  for part in set(places.values()):
    torch_files.write(
      folder / part, {name: TENSORS[name] for name in TENSORS if places[name] == part}
    )
  index = folder / 'model.safetensors.index.json'
  index.write_text(json.dumps({'metadata': {'total_size': 36}, 'weight_map': places}))
  return index


def test_tensors_in_several_files(tmp_path):
  index = write_parts(tmp_path)
  for path in (index, tmp_path):
    assert torch_files.matches(str(path))
    check(torch_files.read(path))


def test_an_index_with_a_byte_order_mark(tmp_path):
  torch_files.write(tmp_path / 'model-1.safetensors', {'a': np.ones(2, np.float16)})
  index = '\ufeff{"weight_map": {"a": "model-1.safetensors"}}'
  (tmp_path / 'model.safetensors.index.json').write_text(index, encoding='utf-8')
  np.testing.assert_array_equal(torch_files.read(tmp_path)['a'], np.ones(2))


def test_damaged_sets_of_files(tmp_path):
  index = write_parts(tmp_path)
  second = tmp_path / 'model-00002-of-00002.safetensors'
  torch_files.write(second, {'other': np.ones(2)})
  with pytest.raises(ValueError, match='00002-of-00002.safetensors lacks scalar, which .*index'):
    torch_files.read(tmp_path)
  second.unlink()
  with pytest.raises(FileNotFoundError, match='00002-of-00002.safetensors: no such file, and .*i'):
    torch_files.read(tmp_path)
  for content in ('[', '[' * 100_000, '[]', '{"weight_map": {"a": 3}}'):
    index.write_text(content)
    with pytest.raises(ValueError, match='index.json.* index of weights'):
      torch_files.read(tmp_path)
  for part in ('../x.safetensors', '/x.bin', 'x.txt', ''):
    index.write_text(json.dumps({'weight_map': {'a': part}}))
    with pytest.raises(ValueError, match='expected names of files beside it'):
      torch_files.read(tmp_path)


def safetensors_file(path, dtype, shape, data):
  header = {'x': {'dtype': dtype, 'shape': shape, 'data_offsets': [0, len(data)]}}
  text = json.dumps(header).encode()
  path.write_bytes(struct.pack('<Q', len(text)) + text + data)
  return path


def test_bfloat16_is_converted_to_float32(tmp_path):
  data = struct.pack('<3H', 0x3F80, 0xC040, 0x0000)
  got = torch_files.read(safetensors_file(tmp_path / 'b.safetensors', 'BF16', [3], data))
  np.testing.assert_array_equal(got['x'], np.float32([1.0, -3.0, 0.0]))
  assert got['x'].dtype == np.float32


def test_unknown_element_type(tmp_path):
  path = safetensors_file(tmp_path / 'b.safetensors', 'F8_E4M3', [2], b'ab')
  with pytest.raises(ValueError, match='x is F8_E4M3; expected one of BF16, F64'):
    torch_files.read(path)


def test_cut_off_safetensors(tmp_path):
  path = tmp_path / 'model.safetensors'
  torch_files.write(path, TENSORS)
  path.write_bytes(path.read_bytes()[:-5])
  with pytest.raises(ValueError, match='model.safetensors cannot be read as a safetensors file'):
    torch_files.read(path)


def test_prefixes_of_wrappers_and_counters_are_removed(tmp_path):
  """DataParallel's prefix only if all names have it."""
  path = tmp_path / 'model.safetensors'
  torch_files.write(path, {f'module.{name}': value for name, value in TENSORS.items()})
  check(torch_files.read(path))
  torch_files.write(path, {**TENSORS, 'bn.num_batches_tracked': np.int64(3)})
  check(torch_files.read(path))
  mixed = {'module.a': TENSORS['scalar'], 'b': TENSORS['scalar']}
  torch_files.write(path, mixed)
  check(torch_files.read(path), mixed)


def test_missing_and_empty_files_are_refused(tmp_path):
  with pytest.raises(FileNotFoundError, match='none.pth: no such file'):
    torch_files.read(tmp_path / 'none.pth')
  path = tmp_path / 'model.safetensors'
  torch_files.write(path, {})
  with pytest.raises(ValueError, match='holds no tensors'):
    torch_files.read(path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
  path = tmp_path / 'model.safetensors'
  torch_files.write(path, TENSORS)

  def full_disk(*_):
    raise OSError(errno.ENOSPC, 'No space left on device', str(path))

  monkeypatch.setattr(torch_files.os, 'replace', full_disk)
  with pytest.raises(OSError, match='No space left'):
    torch_files.write(path, {'x': TENSORS['scalar']})
  check(torch_files.read(path))
  assert len(list(tmp_path.iterdir())) == 1


def test_writing_to_a_missing_folder_fails(tmp_path):
  with pytest.raises(OSError, match=r'none/model\.safetensors cannot be written'):
    torch_files.write(tmp_path / 'none' / 'model.safetensors', TENSORS)


# torch's own format


@pytest.fixture
def torch():
  return pytest.importorskip('torch')


@pytest.fixture
def state_dict(torch):
  return collections.OrderedDict((k, torch.tensor(v)) for k, v in TENSORS.items())


@pytest.mark.parametrize('zipped', [True, False])
def test_bare_state_dict(tmp_path, torch, state_dict, zipped):
  path = tmp_path / 'model.pth'
  torch.save(state_dict, path, _use_new_zipfile_serialization=zipped)
  assert torch_files.matches(str(path))
  check(torch_files.read(path))


def test_write(tmp_path, torch):
  torch_files.write(tmp_path / 'model.pth', TENSORS)
  loaded = torch.load(tmp_path / 'model.pth', weights_only=True)
  check({name: value.numpy() for name, value in loaded.items()})
  with pytest.raises(OSError, match=r'none/model\.pth cannot be written'):
    torch_files.write(tmp_path / 'none' / 'model.pth', TENSORS)


def test_sixteen_bits(tmp_path, torch):
  torch.save({'b': torch.ones(2).bfloat16(), 'h': torch.ones(2).half()}, tmp_path / 'm.bin')
  got = torch_files.read(tmp_path / 'm.bin')
  assert (got['b'].dtype, got['h'].dtype) == (np.float32, np.float16)


@pytest.mark.parametrize('key', ['state_dict', 'model_state_dict', 'model'])
def test_training_checkpoint(tmp_path, torch, state_dict, key):
  content = {
    'epoch': 3, key: state_dict, 'optimizer': {'state': {0: {'step': torch.tensor(1.0)}}},
    'args': argparse.Namespace(lr=0.1),
  }
  torch.save(content, tmp_path / 'c.pth.tar')
  check(torch_files.read(tmp_path / 'c.pth.tar'))


def test_moving_averages(tmp_path, torch, state_dict):
  ema = {name: value * 2 for name, value in state_dict.items()}
  torch.save({'state_dict': state_dict, 'state_dict_ema': ema}, tmp_path / 'c.pth')
  check(torch_files.read(tmp_path / 'c.pth', use_ema=False))
  check(torch_files.read(tmp_path / 'c.pth'), {name: 2 * value for name, value in TENSORS.items()})


class Bomb:
  def __reduce__(self):
    return (open, ('exploded', 'w'))


def test_code_in_a_file_does_not_run(tmp_path, torch, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for zipped in (True, False):
    torch.save({'x': Bomb()}, 'm.pth', _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match='m.pth holds objects that run code'):
      torch_files.read('m.pth')
  assert not (tmp_path / 'exploded').exists()


@pytest.mark.parametrize('content', [b'', b'no such format', None])
def test_damaged_file(tmp_path, torch, state_dict, content):
  path = tmp_path / 'm.pth'
  torch.save(state_dict, path)
  path.write_bytes(path.read_bytes()[:300] if content is None else content)
  with pytest.raises(ValueError, match='m.pth') as error:
    torch_files.read(path)
  assert '\n' not in str(error.value)


def test_tensors_that_repeat_one_value_cannot_fill_the_memory(tmp_path, monkeypatch):
  path = tmp_path / 'm.pth'
  path.write_bytes(bytes(100))
  view = torch_tensors.StoredTensor(str(path), 0, 1, '<f4', 0, (2**22,), (0,))
  monkeypatch.setattr(torch_tensors, 'load', lambda _: {str(i): view for i in range(5)})
  with pytest.raises(ValueError, match='m.pth .*its tensors would take 83,886,080 bytes of memory'):
    torch_files.read(path)


def test_other_contents(tmp_path, torch):
  path = tmp_path / 'm.pth'
  torch.save([torch.ones(2)], path)
  with pytest.raises(ValueError, match='holds a list; expected a state dict'):
    torch_files.read(path)
  torch.save({'epoch': 3, 'lr': 0.1}, path)
  with pytest.raises(ValueError, match='holds epoch, lr; expected a state dict'):
    torch_files.read(path)
