"""Reads networks that Lua Torch saved (`.t7`, binary): the parameters of their modules.

The format holds a graph of numbers, strings, tables and objects of named classes. Everything is
read as data; Lua functions in a file are skipped. Source: torch7, File.lua and generic/Tensor.c,
Storage.c.
"""
import functools
import math
import os
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from tpu_utils.reading import check_unpacked, reading

# Element types of torch's tensor and storage classes, on the CPU and (`Cuda...`) on the GPU.
_ELEMENTS = {
  'Float': '<f4', 'Double': '<f8', 'Half': '<f2', 'Byte': 'u1', 'Char': 'i1', 'Short': '<i2',
  'Int': '<i4', 'Long': '<i8', 'Cuda': '<f4', 'CudaDouble': '<f8', 'CudaHalf': '<f2',
  'CudaByte': 'u1', 'CudaChar': 'i1', 'CudaShort': '<i2', 'CudaInt': '<i4', 'CudaLong': '<i8',
}  # fmt: skip
_TENSORS = {f'torch.{name}Tensor' for name in _ELEMENTS}
_STORAGES = {f'torch.{name}Storage': dtype for name, dtype in _ELEMENTS.items()}
_NIL, _NUMBER, _STRING, _TABLE, _TORCH, _BOOLEAN, _FUNCTION, _OLD_RECURSIVE, _RECURSIVE = range(9)
_PARAMETERS = ('weight', 'bias', 'running_mean', 'running_var')
_MAX_DIMENSIONS = 16
_MAX_REPEATED = 2**24  # Greatest number of elements of a view that repeats some.
# In a network: a container can stand in many places, itself included.
_MAX_MODULES, _MAX_DEPTH = 100_000, 100
_FORMAT = 'a binary Torch7 file'


def matches(path: str) -> bool:
  """Returns whether `path` is a file with the suffix `.t7`."""
  return path.endswith('.t7') and os.path.isfile(path)


def read(path: str | os.PathLike[str], use_ema: bool = True) -> Mapping[str, np.ndarray]:
  """Reads the parameters of a saved network.

  Args:
    path: the file.
    use_ema: unused, as the format has no moving averages.

  Returns:
    {name: array}. A name is the 1-based positions in the `modules` of nested containers, then the
    field: '5.1.1.1.4.weight'. Fields are weight, bias, running_mean and running_var; gradients and
    buffers are left out. The oldest batch norms have 1 / sqrt(variance + eps) as `running_std`;
    it is converted to running_var. Arrays are memory-mapped.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: the file is not a binary Torch7 file of a network, or is cut off.
  """
  del use_ema
  path = os.fspath(path)
  if not os.path.isfile(path):
    raise FileNotFoundError(f'{path}: no such file.')
  root = load(path)
  parameters, size = {}, 0
  with reading(path, _FORMAT):
    for name, array, transform in _parameters(root):
      size += array.nbytes
      check_unpacked('its network', size, os.path.getsize(path))
      parameters[name] = transform(array)
  if not parameters:
    raise ValueError(f'{path} holds no network with parameters, but {_describe(root)}.')
  return parameters


def load(path: str | os.PathLike[str]) -> Any:
  """Reads a Torch7 file: a float, str or bytes, bool, None, dict, array, or `TorchObject`.

  A Lua table is a dict; so is a list, with keys 1.0, 2.0, ... Functions are None.

  Raises:
    ValueError: the file is empty or not a binary Torch7 file.
    OSError: the file cannot be read.
  """
  size = os.path.getsize(path)
  if not size:
    raise ValueError(f'{path} is empty; expected a Torch7 file.')
  with reading(path, _FORMAT):
    return _Reader(np.memmap(path, np.uint8, 'r'), path).object()


class TorchObject:
  """An object of a Lua class: the name of the class, and its fields."""

  def __init__(self, class_name: str):
    self.class_name = class_name
    self.fields: dict = {}


def _describe(value):
  return f'a {value.class_name}' if isinstance(value, TorchObject) else f'a {type(value).__name__}'


def _parameters(root):
  """Yields (name, array, function to apply to it) of a module and the modules in it."""
  modules, count = [((), root)], 0
  while modules:
    position, module = modules.pop()
    if not isinstance(module, TorchObject):
      continue
    count += 1
    if count > _MAX_MODULES or len(position) > _MAX_DEPTH:
      raise ValueError(f'over {_MAX_MODULES:,} modules, or nested over {_MAX_DEPTH} deep')
    fields, prefix = module.fields, '.'.join(map(str, position))
    for field in _PARAMETERS:
      value = fields.get(field)
      if isinstance(value, np.ndarray) and value.size:
        change = _in_four_dimensions if field == 'weight' else _unchanged
        yield f'{prefix}.{field}', value, functools.partial(change, fields=fields)
    running_std = fields.get('running_std')
    if isinstance(running_std, np.ndarray) and fields.get('running_var') is None:
      yield f'{prefix}.running_var', running_std, functools.partial(_variance, fields=fields)
    children = fields.get('modules')
    if isinstance(children, dict):
      keys = sorted((key for key in children if isinstance(key, float)), reverse=True)
      modules += [((*position, int(key)), children[key]) for key in keys]


def _unchanged(value, fields):
  del fields
  return value


def _variance(running_std, fields):
  return running_std ** -2.0 - _number(fields, 'eps', 1e-5)


def _in_four_dimensions(weight, fields):
  """Returns a convolution's weight as [out, in / groups, height, width]; some are matrices."""
  if weight.ndim == 2 and 'kW' in fields and 'kH' in fields:
    height, width = (int(_number(fields, name)) for name in ('kH', 'kW'))
    return weight.reshape(weight.shape[0], -1, height, width)
  return weight


def _number(fields, name, default=None):
  value = fields.get(name, default)
  if not isinstance(value, float):
    raise ValueError(f'{name} is a {type(value).__name__}, expected a number')
  return value


class _Reader:
  """Sequential reader of the objects in a file."""

  def __init__(self, data, path):
    self._data = data
    self._path = path
    self._offset = 0
    self._seen = {}  # {index in the file: object}; a second reference is the index alone.

  def object(self):
    kind = self._int()
    if kind == _NIL:
      return None
    if kind == _NUMBER:
      return self._unpack('<d')
    if kind == _STRING:
      return self._text()
    if kind == _BOOLEAN:
      return bool(self._int())
    if kind == _FUNCTION:
      return self._skip_function()
    if kind in (_TABLE, _TORCH, _OLD_RECURSIVE, _RECURSIVE):
      return self._indexed(kind)
    raise self._damaged(f'{kind} is not a type of value')

  def _indexed(self, kind):
    index = self._int()
    if index in self._seen:
      return self._seen[index]
    if kind == _TABLE:
      return self._table(index)
    if kind == _TORCH:
      return self._torch_object(index)
    self._seen[index] = None
    return self._skip_function()

  def _skip_function(self):
    self._bytes(self._int())  # Lua bytecode.
    self.object()  # The variables of its closure.

  def _table(self, index):
    table = self._seen[index] = {}
    for _ in range(self._count(self._int(), 8)):
      key = self.object()
      value = self.object()
      if isinstance(key, (str, bytes, float, bool)):
        table[key] = value
    return table

  def _torch_object(self, index):
    version = self._text()
    # The oldest files have no version before the class.
    class_name = self._text() if str(version).startswith('V ') else version
    if class_name in _STORAGES:
      self._seen[index] = value = self._storage(np.dtype(_STORAGES[class_name]))
    elif class_name in _TENSORS:
      self._seen[index] = value = self._tensor()
    else:
      # Entered before its fields are read, as they may refer to it.
      self._seen[index] = value = TorchObject(class_name)
      fields = self.object()
      value.fields = fields if isinstance(fields, dict) else {}
    return value

  def _storage(self, dtype):
    count = self._count(self._unpack('<q'), dtype.itemsize)
    return self._bytes(count * dtype.itemsize).view(dtype)

  def _tensor(self):
    """Returns a view of a storage; None for a tensor without one."""
    dimensions = self._int()
    if not 0 <= dimensions <= _MAX_DIMENSIONS:
      raise self._damaged(f'a tensor of {dimensions} dimensions')
    sizes = [self._unpack('<q') for _ in range(dimensions)]
    strides = [self._unpack('<q') for _ in range(dimensions)]
    offset = self._unpack('<q') - 1
    storage = self.object()
    if storage is None or not dimensions:
      return None
    if not isinstance(storage, np.ndarray) or min(*sizes, *strides, offset) < 0:
      raise self._damaged('a tensor without a valid storage')
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    # Without a limit, a copy of repeated elements (a stride of 0) could exhaust memory.
    if 0 in sizes or last >= storage.size or math.prod(sizes) > max(storage.size, _MAX_REPEATED):
      raise self._damaged(f'a tensor of {sizes} that reaches beyond its storage of {storage.size}')
    byte_strides = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], sizes, byte_strides, writeable=False)

  def _text(self):
    data = self._bytes(self._int()).tobytes()
    try:
      return data.decode()
    except UnicodeDecodeError:
      return data

  def _int(self):
    return self._unpack('<i')

  def _unpack(self, layout):
    return struct.unpack(layout, self._bytes(struct.calcsize(layout)).tobytes())[0]

  def _bytes(self, count):
    start = self._offset
    if count < 0 or start + count > self._data.size:
      raise self._damaged(f'{count} bytes were expected, {self._data.size - start} follow')
    self._offset += count
    return self._data[start : self._offset]

  def _count(self, count, least_bytes):
    """Returns `count` if the rest of the file can hold so many elements of `least_bytes`."""
    left = self._data.size - self._offset
    if not 0 <= count * least_bytes <= left:
      raise self._damaged(f'{count} elements were expected, {left} bytes follow')
    return count

  def _damaged(self, reason):
    return ValueError(
      f'{self._path}: at byte {self._offset}, {reason}; expected a complete binary Torch7 file '
      '(little-endian, 64-bit). Copy it again, or save it in Torch with torch.save(path, model).'
    )
