"""Reads torch files (`torch.save`) of containers and tensors, without torch and safely.

There are two formats: the zip of torch >= 1.6, and the older one of the official files. Tensors
stay in the file until `StoredTensor.read`, so a file of any size can be opened.

A zip holds `NAME/data.pkl` and `NAME/data/KEY`, uncompressed. The older format is a sequence of
pickles (magic number, protocol 1001, properties of the machine, the object, the keys of the
storages) and then, in the order of the keys, the number of elements (int64) and the raw values of
each storage. In the object's pickle a storage is a persistent id, ('storage', type, key, ...).
"""
import collections
import dataclasses
import io
import math
import os
import struct
import zipfile
from typing import Any

import numpy as np

from tpu_utils.reading import reading
from tpu_utils.weights import inert, safe_pickle

_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
  'DoubleStorage': '<f8', 'FloatStorage': '<f4', 'HalfStorage': '<f2', 'LongStorage': '<i8',
  'IntStorage': '<i4', 'ShortStorage': '<i2', 'CharStorage': 'i1', 'ByteStorage': 'u1',
  'BoolStorage': '?', 'BFloat16Storage': 'bfloat16',
}  # fmt: skip
_BFLOAT16 = 'bfloat16'  # Unknown to numpy: the upper half of a float32.
_MAX_DIMENSIONS = 32
# Greatest number of elements of a view that repeats elements (`expand`).
_MAX_REPEATED = 2**24
_LOCAL_HEADER = b'PK\x03\x04'
_ENCRYPTED = 1  # Flag of a zip entry.


@dataclasses.dataclass(frozen=True)
class StoredTensor:
  """A tensor that has not been read from its file yet.

  Attributes:
    path: the file.
    offset: first byte of its storage.
    elements: number of elements of the storage.
    dtype: numpy dtype, as text; or 'bfloat16', which is converted to float32.
    skip: elements of the storage before the tensor's first.
    shape: of the tensor.
    strides: of the tensor, in elements.
  """

  path: str
  offset: int
  elements: int
  dtype: str
  skip: int
  shape: tuple
  strides: tuple

  @property
  def numpy_dtype(self) -> np.dtype:
    """Dtype of the values that `read` returns."""
    return np.dtype('<f4' if self.dtype == _BFLOAT16 else self.dtype)

  @property
  def nbytes(self) -> int:
    """Bytes that the values take in memory."""
    return math.prod(self.shape) * self.numpy_dtype.itemsize

  def read(self) -> np.ndarray:
    """Reads the values, an array of `shape`.

    Raises:
      ValueError: the file is damaged.
      OSError: the file cannot be read.
    """
    if self.dtype == _BFLOAT16:
      bits = dataclasses.replace(self, dtype='<u2').read()
      return (bits.astype(np.uint32) << 16).view(np.float32)
    dtype = np.dtype(self.dtype)
    if 0 in self.shape:
      with reading(self.path, 'a file of torch.save'):
        return np.zeros(self.shape, dtype)
    span = sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True)) + 1
    count = math.prod(self.shape)
    if self.skip + span > self.elements or count > max(self.elements, _MAX_REPEATED):
      raise ValueError(
        f'{self.path}: a tensor of shape {self.shape} and strides {self.strides} from element '
        f'{self.skip} on leaves its storage of {self.elements} elements; the file is damaged.'
      )
    start = self.offset + self.skip * dtype.itemsize
    if start + span * dtype.itemsize > os.path.getsize(self.path):
      raise ValueError(f'{self.path} ends inside a tensor of shape {self.shape}; it is cut off.')
    flat: np.ndarray
    with reading(self.path, 'a file of torch.save'):
      if span > count:  # A few elements of a large storage: their pages alone are read.
        flat = np.memmap(self.path, dtype, 'r', start, (span,))
      else:
        flat = np.fromfile(self.path, dtype, span, offset=start)
    strides = [stride * dtype.itemsize for stride in self.strides]
    view = np.lib.stride_tricks.as_strided(flat, self.shape, strides)
    return np.array(view, order='C', subok=False)


@dataclasses.dataclass(frozen=True)
class _Storage:
  key: str
  dtype: str
  elements: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
  """A tensor in the unpickled object, before the offset of its storage is known."""

  storage: _Storage
  skip: int
  shape: tuple
  strides: tuple


@dataclasses.dataclass(frozen=True)
class _StorageType:
  name: str

  def __setstate__(self, state):
    raise TypeError(f'a pickle changes {self.name}')


def _rebuild_tensor(storage, skip, shape, strides, *unused):
  if not isinstance(storage, _Storage):
    raise TypeError(f'a tensor on a {type(storage).__name__}')
  shape, strides = tuple(shape), tuple(strides)
  numbers = (skip, *shape, *strides)
  if not all(isinstance(number, int) and number >= 0 for number in numbers):
    raise ValueError('a tensor of a shape or strides that are no whole numbers from 0 on')
  if len(shape) != len(strides) or len(shape) > _MAX_DIMENSIONS:
    raise ValueError(f'a tensor of {len(shape)} dimensions with {len(strides)} strides')
  return _Tensor(storage, skip, shape, strides)


def _rebuild_parameter(tensor, *unused):
  return tensor


_ADMITTED = {
  **inert.ADMITTED,
  ('torch._utils', '_rebuild_tensor_v2'): inert.Function(_rebuild_tensor),
  ('torch._utils', '_rebuild_tensor'): inert.Function(_rebuild_tensor),
  ('torch._utils', '_rebuild_parameter'): inert.Function(_rebuild_parameter),
  ('torch', 'Size'): tuple,
  **{('torch', name): _StorageType(name) for name in _DTYPES},
}


class _TorchUnpickler(safe_pickle.PlainUnpickler):
  def __init__(self, file, path):
    super().__init__(file, path, _ADMITTED)
    self.storages = {}

  def persistent_load(self, pid):
    kind, storage_type, key, _, elements, *view = pid
    if kind != 'storage' or not isinstance(storage_type, _StorageType) or any(view):
      raise TypeError(f'a stored object of kind {inert.shown(kind)}')
    if not isinstance(elements, int) or elements < 0:
      raise ValueError(f'a storage of {inert.shown(elements)} elements')
    if not isinstance(key, str | int):
      raise TypeError(f'a storage called {inert.shown(key)}')
    storage = _Storage(str(key), _DTYPES[storage_type.name], elements)
    return self.storages.setdefault(storage.key, storage)


def load(path: str | os.PathLike[str]) -> Any:
  """Reads a torch file as plain containers and numbers, with `StoredTensor`s for tensors.

  Raises:
    FileNotFoundError: there is no such file.
    tpu_utils.weights.safe_pickle.UnsafePickleError: the file names anything that could run code.
    ValueError: the file is not a torch file, or is damaged.
  """
  path = os.fspath(path)
  if not os.path.isfile(path):
    raise FileNotFoundError(f'{path} does not exist.')
  with open(path, 'rb') as file:
    is_zip = file.read(4) == _LOCAL_HEADER
  with reading(path, 'a file of torch.save'):
    value, offsets = _load_zip(path) if is_zip else _load_old(path)
    return _place(value, path, offsets)


def _load_zip(path):
  """Returns (object with `_Tensor`s, {storage key: offset in the file})."""
  with zipfile.ZipFile(path) as archive:
    entries = {entry.filename: entry for entry in archive.infolist()}
    if len(entries) != len(archive.infolist()):
      raise ValueError('two entries of its zip have the same name')
    pickles = [name for name in entries if name.rpartition('/')[2] == 'data.pkl']
    if len(pickles) != 1:
      raise ValueError(f'{path} is a zip without data.pkl; expected a file of torch.save.')
    folder = pickles[0].rpartition('/')[0]
    order = f'{folder}/byteorder'
    if order in entries and _content(archive, entries[order]).strip() != b'little':
      raise ValueError(f'{path} is from a big-endian machine; expected little-endian values.')
    unpickler = _TorchUnpickler(io.BytesIO(_content(archive, entries[pickles[0]])), path)
  value, offsets = safe_pickle.load_from(unpickler, path), {}
  with open(path, 'rb') as file:
    for key, storage in unpickler.storages.items():
      entry = entries.get(f'{folder}/data/{key}')
      size = storage.elements * _item_size(storage.dtype)
      if entry is None or not _is_plain(entry) or entry.file_size < size:
        raise ValueError(f'{path}: storage {key} of {size} bytes is missing or cut off.')
      offsets[key] = _content_offset(file, entry)
  return value, offsets


def _is_plain(entry):
  """Returns whether a zip entry is neither compressed nor encrypted, as torch writes it."""
  return entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & _ENCRYPTED


def _content(archive, entry):
  if not _is_plain(entry):  # A small compressed entry could unpack to any size.
    raise ValueError(f'{entry.filename} is compressed or encrypted, which torch.save never does')
  return archive.read(entry)


def _item_size(dtype):
  return 2 if dtype == _BFLOAT16 else np.dtype(dtype).itemsize


def _content_offset(file, entry):
  """Returns the first byte of a stored zip entry, after its local header, name and extra field."""
  file.seek(entry.header_offset)
  header = file.read(30)
  if not header.startswith(_LOCAL_HEADER):
    raise ValueError(f'no entry of the zip begins at byte {entry.header_offset}')
  name, extra = struct.unpack('<HH', header[26:])
  return entry.header_offset + 30 + name + extra


def _load_old(path):
  """Reads a file of torch < 1.6; returns the same as `_load_zip`."""
  with open(path, 'rb') as file:
    if safe_pickle.load_from(safe_pickle.PlainUnpickler(file, path), path) != _MAGIC:
      raise ValueError(f'{path} is a pickle, but no file of torch.save.')
    protocol = safe_pickle.load_from(safe_pickle.PlainUnpickler(file, path), path)
    machine = safe_pickle.load_from(safe_pickle.PlainUnpickler(file, path), path)
    little = isinstance(machine, dict) and machine.get('little_endian') is True
    if protocol != 1001 or not little:
      raise ValueError(
        f'{path}: protocol {inert.shown(protocol)}, little-endian {little}; expected 1001, True.'
      )
    unpickler = _TorchUnpickler(file, path)
    value = safe_pickle.load_from(unpickler, path)
    keys = safe_pickle.load_from(safe_pickle.PlainUnpickler(file, path), path)
    offsets, size = {}, os.path.getsize(path)
    if not isinstance(keys, list) or not all(isinstance(key, str | int) for key in keys):
      raise ValueError(f'{path}: expected the list of its storages, found {inert.shown(keys)}.')
    for key in map(str, keys):
      storage, header = unpickler.storages.get(key), file.read(8)
      if storage is None or header != struct.pack('<q', storage.elements):
        raise ValueError(
          f'{path}: storage {key} does not begin where it should; cut off or damaged.'
        )
      offsets[key] = file.tell()
      file.seek(storage.elements * _item_size(storage.dtype), os.SEEK_CUR)
    if file.tell() > size:
      raise ValueError(f'{path}: {size} bytes long, expected {file.tell()}; the file is cut off.')
  return value, offsets


def _place(value, path, offsets, placed=None):
  """Replaces each `_Tensor` in `value` by a `StoredTensor` of the file.

  `placed` has {id: result} of the containers, as thousands of places can hold the same one.
  """
  placed = {} if placed is None else placed
  if isinstance(value, _Tensor):
    storage = value.storage
    if storage.key not in offsets:
      raise ValueError(f'{path}: storage {storage.key} is missing; the file is damaged.')
    return StoredTensor(
      path,
      offsets[storage.key],
      storage.elements,
      storage.dtype,
      value.skip,
      value.shape,
      value.strides,
    )
  if isinstance(value, inert.Array):
    return value.value
  if not isinstance(value, dict | list | tuple):
    return value
  if id(value) not in placed:
    if isinstance(value, dict):
      result = collections.OrderedDict() if isinstance(value, collections.OrderedDict) else {}
      result.update((key, _place(item, path, offsets, placed)) for key, item in value.items())
    else:
      result = type(value)(_place(item, path, offsets, placed) for item in value)
    placed[id(value)] = result
  return placed[id(value)]
