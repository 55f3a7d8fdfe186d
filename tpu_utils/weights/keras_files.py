"""Reads weights that Keras saved: `.weights.h5`, `.keras`, and the older `.h5`.

Only arrays are read: no layer is built from a file and no code in it is run. Source of the formats:
Keras 3, src/saving/saving_lib.py (the first two) and src/legacy/saving/legacy_h5_format.py.

A layer inside another model has that model's name before its own: 'efficientnetb0/stem_conv'.
"""
import functools
import io
import itertools
import json
import math
import mmap
import os
import struct
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np

from tpu_utils.reading import check_unpacked, reading
from tpu_utils.weights.stored import StoredArray

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
_CONFIG = 'config.json'
_MAX_CONFIG = 2**22  # Bytes; EfficientNet-B7's takes a quarter.
# Groups of Keras 3's format that hold no weights: state of training and of random numbers.
_STATE = ('optimizer', 'seed_generator')
_VARS = 'vars'


def matches(path: str) -> bool:
  """Returns whether `path` is a file with a suffix of Keras' formats."""
  return path.endswith(_SUFFIXES) and os.path.isfile(path)


def read(path: str | os.PathLike[str], use_ema: bool = True) -> Mapping[str, StoredArray]:
  """Reads the variables of a model's layers.

  Args:
    path: the file: a model or weights alone, of Keras 2 or 3.
    use_ema: unused, as the formats have no moving averages.

  Returns:
    {'<layer>/<variable>': array}, such as 'stem_conv/kernel'; for models inside the model,
    '<model>/<layer>/<variable>'. The 'depthwise_kernel' of older versions is called 'kernel', as in
    Keras 3. State of optimizers and random number generators is left out.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: the file has another format, is cut off, or holds no layers with variables.
  """
  del use_ema
  path = os.fspath(path)
  if not os.path.isfile(path):
    raise FileNotFoundError(f'{path}: no such file.')
  # For damage, h5py raises the exceptions of Python's containers, too, hence `foreign`.
  with reading(path, 'a Keras file', foreign=True):
    file = _open(path)  # The arrays keep it open until they are read.
    try:
      variables = _variables(path, file)
    except BaseException:
      file.close()
      raise
  if not variables:
    raise ValueError(
      f'{path} holds no layers with variables; expected the weights of a Keras model.'
    )
  return variables


def layers(path: str | os.PathLike[str]) -> list[tuple[str, str, dict[str, Any] | None]]:
  """Lists the layers of the model in a file, those of models inside it included.

  Args:
    path: a file that `read` reads.

  Returns:
    [(class or kind, such as 'Rescaling' or 'rescaling_1'; name; config)], in order; a name has the
    names of the models around the layer before it. The config is None for all layers of files of
    weights alone, which have no order either.

  Raises:
    ValueError: the file is damaged.
  """
  path = os.fspath(path)
  with reading(path, 'a Keras file', foreign=True):
    config = _config(path)
    if config is not None:
      return list(_configured(config, ()))
    with _open(path) as file:
      if _is_named(file):
        return [(name, name, None) for name in _texts(_root(file), 'layer_names')]
      groups = _groups(file, (), set())
      return [(kind, '/'.join(names), None) for names, kind, _ in groups if names]


def check(path: str | os.PathLike[str]) -> None:
  """Checks a file before Keras' own loader reads it.

  Raises:
    ValueError: values stand in other files or would exhaust memory, or the file is damaged.
  """
  path = os.fspath(path)
  with reading(path, 'a Keras file', foreign=True):
    _open(path).close()


def _open(path):
  """Opens a file after checks: the HDF5 file `path`, or the one inside a `.keras` archive."""
  source, longest = _checked_source(path)
  file = h5py.File(source, 'r')
  try:
    _check_contents(file, longest, os.path.getsize(path))
  except BaseException:
    file.close()
    raise
  return file


def _checked_source(path):
  """Returns (path or bytes of the HDF5 file, length of its longest text)."""
  if not path.endswith('.keras'):
    with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
      return path, _check_heaps(data)
  with zipfile.ZipFile(path) as archive:
    entry = archive.getinfo(_IN_ARCHIVE)
    # More than `deflate` can compress is damage, or an attempt to exhaust memory.
    if entry.file_size > _MAX_RATIO * entry.compress_size + _SMALL:
      raise ValueError(
        f'{entry.compress_size} bytes cannot hold the {entry.file_size} of {_IN_ARCHIVE}'
      )
    check_unpacked(_IN_ARCHIVE, entry.file_size, entry.compress_size)
    data = archive.read(entry)
  return io.BytesIO(data), _check_heaps(data)


def _config(path):
  """Returns the architecture in a file of a whole model, if it lists the layers; else None."""
  if path.endswith('.keras'):
    with zipfile.ZipFile(path) as archive, archive.open(_CONFIG) as entry:
      text = entry.read(_MAX_CONFIG + 1)
  else:
    with _open(path) as file:
      text = file.attrs.get('model_config')
  if text is None:
    return None
  if len(text) > _MAX_CONFIG:
    raise ValueError(f'the architecture takes over {_MAX_CONFIG:,} bytes')
  config = json.loads(text)
  # Models of other classes do not list their layers.
  return config if isinstance(config['config'].get('layers'), list) else None


def _configured(config, names):
  """Yields what `layers` lists, from the config of a model."""
  for layer in config['config']['layers']:
    own = layer.get('config', {})
    place = (*names, str(own.get('name', '')))
    if isinstance(own.get('layers'), list):
      yield from _configured(layer, place)
    else:
      yield str(layer['class_name']), '/'.join(place), own


def _check_heaps(data):
  """Refuses global heaps (collections of texts) on which HDF5 would loop forever.

  HDF5 1.14 does not advance over free space of size 0. Layout: HDF5 File Format Specification 3.0,
  sections II.A (the superblock) and III.E (the global heap).

  Returns:
    The length of the longest text.

  Raises:
    ValueError: there is such a heap, or offsets and lengths do not have 8 bytes as in h5py's files.
  """
  widths = data[13:15] if data[8] < 2 else data[9:11]
  if data[:8] != _SIGNATURE or widths != b'\x08\x08':
    raise ValueError('it does not begin as HDF5 files do')
  begin, longest = data.find(_HEAP), 0
  while begin >= 0:
    (size,) = struct.unpack_from('<Q', data, begin + 8)
    place, end = begin + _HEADER_BYTES, begin + size
    while place + _HEADER_BYTES <= end:
      index, length = struct.unpack_from('<H6xQ', data, place)
      place += _HEADER_BYTES + -(-length // 8) * 8 if index else length
      longest = max(longest, length if index else 0)
      if place > end or not (index or length >= _HEADER_BYTES):
        raise ValueError(f'its texts at byte {begin} are damaged')
    begin = data.find(_HEAP, begin + 1)
  return longest


def _check_contents(file, longest, size):
  """Refuses links to other files, values in them, and more values than the file can hold.

  HDF5 would follow them to any file that this process can read.

  Args:
    file: the HDF5 file.
    longest: length of its longest text; thousands of places can hold the same one.
    size: bytes of the file on disk.
  """
  total = total_stored = 0
  for item in itertools.chain((file,), _items(file)):
    for name in item.attrs:
      attribute = item.attrs.get_id(name)
      if attribute.dtype.hasobject and attribute.shape:
        texts = math.prod(attribute.shape) * longest
        check_unpacked(f'the texts {name} of {item.name}', texts, size)
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
  pairs = list(_named(_root(file)) if _is_named(file) else _numbered(path, file))
  arrays = dict(pairs)
  if len(arrays) < len(pairs):
    names = [name for name, _ in pairs]
    twice = next(name for name in names if names.count(name) > 1)
    raise ValueError(f'{path} has two arrays called {twice}; name its layers differently.')
  # Again, as several names may lead to one array.
  size = sum(array.nbytes for array in arrays.values() if isinstance(array, h5py.Dataset))
  check_unpacked('the arrays of its layers', size, os.path.getsize(path))
  return {name: _stored(path, array) for name, array in arrays.items()}


def _root(file):
  """Returns the group with the layers of the older format."""
  return _group(file.get('model_weights', file))


def _is_named(file):
  return bool({'layer_names', 'layer_names0'} & set(_root(file).attrs))


def _numbered(path, file):
  """Yields (name, array) of Keras 3's format: groups by kind and number, variables by number."""
  unnamed = named = False
  for names, kind, group in _groups(file, (), set()):
    if not len(group):
      continue
    if not names:
      unnamed = True
      continue
    named = True
    numbers = [str(number) for number in range(len(group))]
    # Some layers name their variables themselves.
    keys = numbers if set(group) == set(numbers) else sorted(group)
    variables = _variable_names(kind, len(keys)) if keys is numbers else keys
    for key, variable in zip(keys, variables, strict=True):
      yield '/'.join([*names, variable]), group[key]
  if unnamed and not named:
    raise ValueError(
      f'{path} has no names of layers, which the first versions of Keras 3 left out; load it '
      'with a newer Keras and save it again.'
    )


def _groups(group: h5py.Group, names: tuple[str, ...], seen: set[int]) -> Iterator[Any]:
  """Yields (names, kind, group of its variables) of each layer and model in Keras 3's format.

  `names` are the layer's and those of the models around it; empty for one without a name and for
  the whole model.
  """
  address = h5py.h5o.get_info(group.id).addr
  if address in seen:
    return
  seen.add(address)
  if _VARS in group:
    own = _group(group[_VARS])
    name = own.attrs.get('name') if group.name != '/' else None
    names = names if name is None else (*names, _text(name))
    yield names if name is not None else (), group.name.rpartition('/')[2], own
  for key in group:
    if key == _VARS or key in _STATE or not isinstance(group.get(key, getlink=True), h5py.HardLink):
      continue
    if isinstance(group[key], h5py.Group) or group.name != '/' or key == 'layers':
      yield from _groups(_group(group[key]), names, seen)


def _variable_names(kind, count):
  """Returns names for the variables of a layer; `kind` is such as 'batch_normalization_3'."""
  for prefix, names in _VARIABLES.items():
    if kind.startswith(prefix) and count == len(names):
      return names
  if count <= len(_KERNEL_AND_BIAS):
    return _KERNEL_AND_BIAS[:count]
  return tuple(map(str, range(count)))


def _named(layers):
  """Yields (name, array) of the older format: each layer lists the names of its variables.

  A model inside the model is one layer there, with the variables of all its layers.
  """
  for layer in _texts(layers, 'layer_names'):
    group = _group(_group(layers)[layer])
    places = {name: name.partition(':')[0].split('/') for name in _texts(group, 'weight_names')}
    is_model = len({tuple(place[:-1]) for place in places.values()}) > 1
    for name, (*inner, variable) in places.items():
      variable = 'kernel' if variable == 'depthwise_kernel' else variable
      yield '/'.join([layer, *(inner if is_model else ()), variable]), group[name]


def _texts(group, name):
  """Returns the texts in an attribute; a long list is in several, with a number each."""
  if name in group.attrs:
    return [_text(text) for text in group.attrs[name]]
  texts, number = [], 0
  while f'{name}{number}' in group.attrs:
    texts += [_text(text) for text in group.attrs[f'{name}{number}']]
    number += 1
  return texts


def _group(item):
  if not isinstance(item, h5py.Group):
    raise ValueError(f'{item.name} is an array; expected a group of layers or variables')
  return item


def _stored(path, dataset):
  if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in 'biuf':
    raise ValueError(f'{dataset.name} holds no numbers')
  return StoredArray(dataset.shape, dataset.dtype, functools.partial(_values, path, dataset))


def _values(path, dataset):
  with reading(path, 'a Keras file', foreign=True):
    return np.asarray(dataset)


def _text(name):
  return name.decode() if isinstance(name, bytes) else str(name)
