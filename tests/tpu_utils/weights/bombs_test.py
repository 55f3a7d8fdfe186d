"""Files that are made to exhaust memory: refused in one line, with little memory taken.

One process without TensorFlow tries them all and reports its greatest memory.
"""
import json
import pathlib
import re
import struct
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest

from tests import t7_writer

MAX_BYTES = 300 * 2**20
READ = """
import json, sys
from types import SimpleNamespace
import numpy as np
from tpu_utils.weights import Rule, assign, keras_files, t7, torch_files

variable = SimpleNamespace(path='a/kernel', shape=(3, 2), assign=None)
model = SimpleNamespace(name='m', weights=[variable])
readers = {'.h5': keras_files, '.keras': keras_files, '.t7': t7}
for path in sys.argv[1:]:
  reader = readers.get(path[path.rindex('.'):], torch_files)
  try:
    tensors = reader.read(path)
    rules = {'a/kernel': Rule('a/kernel' if 'a/kernel' in tensors else '1.weight')}
    assign.assign(model, rules, tensors, path)
    problem = 'loaded'
  except (ValueError, OSError) as error:
    problem = str(error)
  with open('/proc/self/status') as status:  # `resource` counts the parent's memory, too.
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith('VmHWM'))
  print(json.dumps([path, problem, peak]))
"""
TENSOR = b'ctorch._utils\n_rebuild_tensor_v2\n'
STORAGE = b'((Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI%d\ntQI0\n(%s(%stR'
EMPTY = b'\x80\x02'


def torch_zip(path, pickled, storage=b'', compression=zipfile.ZIP_STORED):
  with zipfile.ZipFile(path, 'w', compression) as archive:
    archive.writestr('m/data.pkl', pickled)
    archive.writestr('m/data/0', storage)


def tensor(shape, strides, elements):
  """Returns the opcodes of a tensor on storage 0."""
  numbers = [b''.join(b'I%d\n' % n for n in values) + b't' for values in (shape, strides)]
  return TENSOR + STORAGE % (elements, *numbers)


def stride_0(path):
  """1.6e9 elements on 4 bytes."""
  torch_zip(path, b'(dVa/kernel\n' + tensor((40_000, 40_000), (0, 0), 1) + b's.', bytes(4))


def a_shape_of_another_model(path):
  """Below every other limit: 40 tensors of 12 MB in a file of 24 MB."""
  name = b''.join(
    b'V%d\n' % i + tensor((3_000_000,), (0,), 6_000_000) + b's' for i in range(39)
  )
  pickled = b'(dVa/kernel\n' + tensor((3_000_000,), (1,), 6_000_000) + b's' + name + b'.'
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('m/data.pkl', pickled)
    with archive.open('m/data/0', 'w') as file:
      file.write(bytes(24_000_000))


def archive_of_zeros(path, name):
  with (
    zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive, archive.open(name, 'w') as file
  ):
    for _ in range(10):
      file.write(bytes(10**7))


def memo(path):
  torch_zip(path, EMPTY + b']r\xf0\xff\xff\x0f.')


def deflated(path):
  archive_of_zeros(path, 'm/data.pkl')


def empty_lists(path):
  torch_zip(path, b'(' + b']' * 2_000_000 + b't.')


def copied_lists(path):
  """A list of 100,000 elements, copied 100,000 times."""
  first = b'c__builtin__\nlist\nq\x010](' + b'N' * 100_000 + b'eq\x020'
  torch_zip(path, EMPTY + b'(' + first + b'h\x01h\x02\x85R' * 100_000 + b't.')


def shared_options(path):
  """100,000 namespaces with the same 100,000 options."""
  options = b''.join(b'VN%d\nN' % i for i in range(100_000))
  made = b'cargparse\nNamespace\nq\x01)\x81q\x030}(' + options + b'uq\x020'
  torch_zip(path, EMPTY + b'(' + made + b'h\x01)\x81h\x02b' * 100_000 + b't.')


def nested_lists_in_a_message(path):
  """As text, the name of a device would take 2**60 characters."""
  doubled = b'2\x86' * 60
  torch_zip(path, EMPTY + b'ctorch\ndevice\n(' + b'K\x01' + doubled + b'tR.')


def keras_archive(path):
  archive_of_zeros(path, 'model.weights.h5')


def chunks_never_written(path):
  with h5py.File(path, 'w') as file:
    for name in ('0', '1'):
      file.create_dataset(f'layers/dense/vars/{name}', (10**9,), 'f4', chunks=(2**20,))
    file['layers/dense/vars'].attrs['name'] = 'a'


def zeros_of_another_shape(path):
  """Below every other limit: 16 arrays of 4 MB, compressed to nothing."""
  with h5py.File(path, 'w') as file:
    for number in range(15):
      file.create_dataset(
        f'layers/dense/vars/{number}', (10**6,), 'f4', chunks=(10**6,), compression='gzip'
      )[:] = 0
    file['layers/dense/vars'].attrs['name'] = 'a'


def one_long_text_in_many_places(path):
  """4,000 names of layers, all of them the same megabyte."""
  with h5py.File(path, 'w') as file:
    kind = h5py.string_dtype()
    file.attrs.create('layer_names', ['x' * 10**6, *(['yyyyyyyyyyyyyyy'] * 3999)], dtype=kind)
  data = bytearray(path.read_bytes())
  long, short = struct.pack('<I', 10**6), struct.pack('<I', 15)
  first = data.index(long)  # Length, place of the heap, number in it.
  while data[first + 16 : first + 20] != short:
    first = data.index(long, first + 1)
  for place in range(first, first + 16 * 4000, 16):
    data[place : place + 16] = data[first : first + 16]
  path.write_bytes(data)


def header(path):
  with open(path, 'wb') as file:
    file.write(struct.pack('<Q', 50_000_000))
    file.write(b'{"__metadata__": {' + b' ' * 50_000_000)


def safetensors_of_another_shape(path):
  """400 MB of holes in the file."""
  size = 4 * 10**8
  text = json.dumps({'a/kernel': {'dtype': 'F32', 'shape': [10**8], 'data_offsets': [0, size]}})
  with open(path, 'wb') as file:
    file.write(struct.pack('<Q', len(text)) + text.encode())
    file.truncate(8 + len(text) + size)


def once(module):
  """Returns the module, which a file holds once however often it stands in others."""
  index = []

  def write(writer):
    if index:
      writer.int(4)
      writer.int(index[0])
    else:
      index.append(writer.next_index)
      module(writer)

  return write


def modules_in_each_other(path):
  """2**40 places of one layer."""
  module = once(t7_writer.module('nn.Linear', weight=np.zeros((3, 2), np.float32)))
  for _ in range(40):
    module = once(t7_writer.module('nn.Sequential', modules=[module, module]))
  t7_writer.save(path, module)


BOMBS = {
  stride_0: ('m.pth', 'leaves its storage|would take'),
  a_shape_of_another_model: ('s.pth', 'wrong shape|unexpected'),
  memo: ('m.pth', 'after 2 opcodes'),
  deflated: ('m.pth', 'compressed or encrypted'),
  empty_lists: ('m.pth', 'its containers would take'),
  copied_lists: ('m.pth', 'copies more elements than it holds'),
  shared_options: ('m.pth', 'expected a state dict'),
  nested_lists_in_a_message: ('m.pth', 'a device that is neither'),
  keras_archive: ('m.keras', 'would take'),
  chunks_never_written: ('m.weights.h5', 'bytes cannot hold'),
  zeros_of_another_shape: ('z.weights.h5', 'does not fit m'),
  one_long_text_in_many_places: ('m.h5', 'the texts layer_names .* would take'),
  header: ('m.safetensors', 'a header of 50,000,000 bytes'),
  safetensors_of_another_shape: ('s.safetensors', 'wrong shape'),
  modules_in_each_other: ('m.t7', 'over 100,000 modules'),
}


@pytest.fixture(scope='module')
def results(tmp_path_factory):
  """Returns {name of the bomb: (message, greatest memory until then)}."""
  paths = {}
  for write, (name, _) in BOMBS.items():
    folder = tmp_path_factory.mktemp(write.__name__)
    paths[write.__name__] = folder / name
    write(folder / name)
  command = [sys.executable, '-c', READ, *map(str, paths.values())]
  out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100).stdout
  found = {path: (problem, peak) for path, problem, peak in map(json.loads, out.splitlines())}
  return {name: (*found[str(path)], str(path)) for name, path in paths.items()}


@pytest.mark.slow
@pytest.mark.parametrize('write', BOMBS, ids=lambda write: write.__name__)
def test_a_bomb_is_refused_in_one_line_with_little_memory(results, write):
  problem, peak, path = results[write.__name__]
  assert pathlib.Path(path).name in problem and '\n' not in problem
  assert re.search(BOMBS[write][1], problem), problem
  assert peak < MAX_BYTES, f'{peak:,} bytes'
