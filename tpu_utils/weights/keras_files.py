"""Reads weights that Keras saved: `.weights.h5`, `.keras`, and the older `.h5`.

Only arrays are read: no layer is built from a file and no code in it is run. Source of the formats:
Keras 3, src/saving/saving_lib.py (the first two) and src/legacy/saving/legacy_h5_format.py.
"""
import io
import math
import mmap
import os
import struct
import zipfile
from collections.abc import Mapping

import h5py
import numpy as np

from tpu_utils.reading import check_unpacked, reading

_SUFFIXES = ('.h5', '.hdf5', '.keras')
_IN_ARCHIVE = 'model.weights.h5'
_SIGNATURE = b'\x89HDF\r\n\x1a\n'
_HEAP = b'GCOL\x01\0\0\0'
_HEADER_BYTES = 16  # Of a heap, and of each object in it.
_MAX_RATIO = 1100  # Greatest compression in zip and HDF5: deflate reaches 1,032.
_SMALL = 2**20  # Bytes allowed without storage: HDF5 does not store values never written.

# Names of a layer's variables in Keras' order, by kind of layer.
_VARIABLES = {
  'normalization': ('mean', 'variance', 'count'),
  'cond_conv2d': ('condconv_kernel',),
  'depthwise_cond_conv2d': ('depthwise_condconv_kernel',),
  'batch_normalization': ('gamma', 'beta', 'moving_mean', 'moving_variance'),
}
_KERNEL_AND_BIAS = ('kernel', 'bias')


def matches(path: str) -> bool:
  """Returns whether `path` is a file with a suffix of Keras' formats."""
  return path.endswith(_SUFFIXES) and os.path.isfile(path)


def read(path: str | os.PathLike[str], use_ema: bool = True) -> Mapping[str, np.ndarray]:
  """Reads the variables of a model's layers.

  Args:
    path: the file: a model or weights alone, of Keras 2 or 3.
    use_ema: unused, as the formats have no moving averages.

  Returns:
    {'<layer>/<variable>': array}, such as 'stem_conv/kernel'. The 'depthwise_kernel' of older
    versions is called 'kernel', as in Keras 3. State of optimizers is left out.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: the file has another format, is cut off, or holds no layers with variables.
  """
  del use_ema
  path = os.fspath(path)
  if not os.path.isfile(path):
    raise FileNotFoundError(f'{path}: no such file.')
  # For damage, h5py raises the exceptions of Python's containers, too, hence `foreign`.
  with reading(path, 'a Keras file', foreign=True), h5py.File(_open(path), 'r') as file:
    _check_contents(file)
    variables = _variables(path, file)
  if not variables:
    raise ValueError(
      f'{path} holds no layers with variables; expected the weights of a Keras model.'
    )
  return variables


def check(path: str | os.PathLike[str]) -> None:
  """Checks a file before Keras' own loader reads it.

  Raises:
    ValueError: values stand in other files or would exhaust memory, or the file is damaged.
  """
  path = os.fspath(path)
  with reading(path, 'a Keras file', foreign=True), h5py.File(_open(path), 'r') as file:
    _check_contents(file)


def _open(path):
  """Returns the checked HDF5 file: `path` itself, or the one inside a `.keras` archive."""
  if not path.endswith('.keras'):
    with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
      _check_heaps(data)
    return path
  with zipfile.ZipFile(path) as archive:
    entry = archive.getinfo(_IN_ARCHIVE)
    # More than `deflate` can compress is damage, or an attempt to exhaust memory.
    if entry.file_size > _MAX_RATIO * entry.compress_size + _SMALL:
      raise ValueError(
        f'{entry.compress_size} bytes cannot hold the {entry.file_size} of {_IN_ARCHIVE}'
      )
    check_unpacked(_IN_ARCHIVE, entry.file_size, entry.compress_size)
    data = archive.read(entry)
  _check_heaps(data)
  return io.BytesIO(data)


def _check_heaps(data):
  """Refuses global heaps (collections of texts) on which HDF5 would loop forever.

  HDF5 1.14 does not advance over free space of size 0. Layout: HDF5 File Format Specification 3.0,
  sections II.A (the superblock) and III.E (the global heap).

  Raises:
    ValueError: there is such a heap, or offsets and lengths do not have 8 bytes as in h5py's files.
  """
  widths = data[13:15] if data[8] < 2 else data[9:11]
  if data[:8] != _SIGNATURE or widths != b'\x08\x08':
    raise ValueError('it does not begin as HDF5 files do')
  begin = data.find(_HEAP)
  while begin >= 0:
    (size,) = struct.unpack_from('<Q', data, begin + 8)
    place, end = begin + _HEADER_BYTES, begin + size
    while place + _HEADER_BYTES <= end:
      index, length = struct.unpack_from('<H6xQ', data, place)
      place += _HEADER_BYTES + -(-length // 8) * 8 if index else length
      if place > end or not (index or length >= _HEADER_BYTES):
        raise ValueError(f'its texts at byte {begin} are damaged')
    begin = data.find(_HEAP, begin + 1)


def _check_contents(file):
  """Refuses links to other files, values in them, and more values than the file can hold.

  HDF5 would follow them to any file that this process can read.
  """
  total = total_stored = 0
  for item in _items(file):
    if not isinstance(item, h5py.Dataset):
      continue
    if item.external or item.is_virtual:
      raise ValueError(f'the values of {item.name} stand in other files')
    stored = item.id.get_storage_size()
    if item.nbytes > _MAX_RATIO * stored + _SMALL:
      raise ValueError(f'{stored} bytes cannot hold {item.name}, which is {list(item.shape)}')
    # HDF5 unpacks whole chunks, which may exceed an extensible array.
    total += max(item.nbytes, math.prod(item.chunks or (0,)) * item.dtype.itemsize)
    total_stored += stored
  check_unpacked('all its arrays', total, total_stored)


def _items(file):
  """Yields the groups and datasets of a file, each once; refuses links to other files."""
  groups, seen = [file], set()
  while groups:
    group = groups.pop()
    for name in group:
      link = group.get(name, getlink=True)
      if isinstance(link, h5py.ExternalLink):
        raise ValueError(f'{group.name}/{name} is a link to another file, {link.filename}')
      if isinstance(link, h5py.SoftLink):  # It leads to an item that a hard link holds, too.
        continue
      item = group[name]
      address = h5py.h5o.get_info(item.id).addr
      if address not in seen:
        seen.add(address)
        groups += [item] if isinstance(item, h5py.Group) else []
        yield item


def _variables(path, file):
  if 'layers' in file and 'layer_names' not in file.attrs:
    arrays = dict(_numbered(path, file['layers']))
  else:
    arrays = dict(_named(file.get('model_weights', file)))
  # Again, as several names may lead to one array.
  size = sum(array.nbytes for array in arrays.values() if isinstance(array, h5py.Dataset))
  check_unpacked('the arrays of its layers', size, os.path.getsize(path))
  return {name: _array(array) for name, array in arrays.items()}


def _numbered(path, layers):
  """Yields (name, array) of Keras 3's format: layers by kind and number, variables by number."""
  for kind, layer in _group(layers).items():
    numbered = _group(layer).get('vars')
    if numbered is None or not len(_group(numbered)):
      continue
    name = numbered.attrs.get('name')
    if name is None:
      raise ValueError(
        f'{path} has no names of layers, which the first versions of Keras 3 left out; load it '
        'with a newer Keras and save it again.'
      )
    arrays = [numbered[str(number)] for number in range(len(numbered))]
    for variable, array in zip(_variable_names(kind, len(arrays)), arrays, strict=True):
      yield f'{_text(name)}/{variable}', array


def _variable_names(kind, count):
  """Returns names for the variables of a layer; `kind` is such as 'batch_normalization_3'."""
  for prefix, names in _VARIABLES.items():
    if kind.startswith(prefix) and count == len(names):
      return names
  if count <= len(_KERNEL_AND_BIAS):
    return _KERNEL_AND_BIAS[:count]
  return tuple(map(str, range(count)))


def _named(layers):
  """Yields (name, array) of the older format: each layer lists the names of its variables."""
  for layer in layers.attrs.get('layer_names', ()):
    group = _group(_group(layers)[_text(layer)])
    for name in group.attrs.get('weight_names', ()):
      variable = _text(name).rpartition('/')[2].partition(':')[0]
      variable = 'kernel' if variable == 'depthwise_kernel' else variable
      yield f'{_text(layer)}/{variable}', group[_text(name)]


def _group(item):
  if not isinstance(item, h5py.Group):
    raise ValueError(f'{item.name} is an array; expected a group of layers or variables')
  return item


def _array(dataset):
  if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in 'biuf':
    raise ValueError(f'{dataset.name} holds no numbers')
  return np.asarray(dataset)


def _text(name):
  return name.decode() if isinstance(name, bytes) else str(name)
