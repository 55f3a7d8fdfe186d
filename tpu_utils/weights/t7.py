"""Reads networks that Lua Torch saved (`.t7`, binary): the parameters of their modules.

The format holds a graph of numbers, strings, tables and objects of named classes. Everything is read as
data; Lua functions in a file are skipped. Source: torch7, File.lua and generic/Tensor.c, Storage.c.
"""
import math
import os
import struct

import numpy as np

from tpu_utils.reading import reading

# Torch's tensor and storage classes by element, on the CPU and (`Cuda...`) from the GPU.
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
_MAX_REPEATED = 2**24
_FORMAT = 'a binary Torch7 file'


def matches(path):
  """Whether `path` is called `.t7`."""
  return path.endswith('.t7') and os.path.isfile(path)


def read(path, use_ema=True):
  """The parameters of a saved network.

  Args:
    path: the file.
    use_ema: for the interface of readers; the format knows no moving averages.

  Returns:
    {name: array}. A name is the chain of 1-based positions in the `modules` of the containers, then the
    field: '5.1.1.1.4.weight'. Fields are weight, bias, running_mean and running_var; gradients and
    buffers are left out. Of the first batch norms, which kept 1 / sqrt(variance + eps) as
    `running_std`, comes running_var too. Arrays are read from the file when they are used.

  Raises:
    FileNotFoundError: no such file.
    ValueError: it is no binary Torch7 file of a network, or cut off.
  """
  del use_ema
  path = os.fspath(path)
  if not os.path.isfile(path):
    raise FileNotFoundError(f'{path}: no such file.')
  root = load(path)
  with reading(path, _FORMAT):
    parameters = dict(_parameters(root, ()))
  if not parameters:
    raise ValueError(f'{path} holds no network with parameters, but {_describe(root)}.')
  return parameters


def load(path):
  """The object in a Torch7 file: numbers, str or bytes, bool, None, dict, array, or `TorchObject`.

  A Lua table is a dict; so is a list, with keys 1.0, 2.0, ... Functions are None.
  """
  size = os.path.getsize(path)
  if not size:
    raise ValueError(f'{path} is empty; expected a Torch7 file.')
  with reading(path, _FORMAT):
    return _Reader(np.memmap(path, np.uint8, 'r'), path).object()


class TorchObject:
  """An object of a Lua class: the class' name and its fields."""

  def __init__(self, class_name):
    self.class_name = class_name
    self.fields = {}


def _describe(value):
  return f'a {value.class_name}' if isinstance(value, TorchObject) else f'a {type(value).__name__}'


def _parameters(module, position):
  """(name, array) of a module and those in it."""
  if not isinstance(module, TorchObject):
    return
  fields = module.fields
  prefix = '.'.join(map(str, position))
  for field in _PARAMETERS:
    value = fields.get(field)
    if isinstance(value, np.ndarray) and value.size:
      yield f'{prefix}.{field}', _in_four_dimensions(value, fields) if field == 'weight' else value
  running_std = fields.get('running_std')
  if isinstance(running_std, np.ndarray) and fields.get('running_var') is None:
    yield f'{prefix}.running_var', running_std ** -2.0 - _number(fields, 'eps', 1e-5)
  children = fields.get('modules')
  if isinstance(children, dict):
    for key in sorted(k for k in children if isinstance(k, float)):
      yield from _parameters(children[key], (*position, int(key)))


def _in_four_dimensions(weight, fields):
  """A convolution's weight as [out, in / groups, height, width]; some classes store it as a matrix."""
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
  """Reads one object after the other from the bytes of a file."""

  def __init__(self, data, path):
    self._data = data
    self._path = path
    self._offset = 0
    self._seen = {}  # Objects by their index in the file; a second mention is the index alone.

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
    raise self._damaged(f'{kind} is no type of value')

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
    self._bytes(self._int())  # The function as Lua bytecode; nobody runs it.
    self.object()  # The variables it closed over.

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
      # Known before its fields are: they may point back to it.
      self._seen[index] = value = TorchObject(class_name)
      fields = self.object()
      value.fields = fields if isinstance(fields, dict) else {}
    return value

  def _storage(self, dtype):
    count = self._count(self._unpack('<q'), dtype.itemsize)
    return self._bytes(count * dtype.itemsize).view(dtype)

  def _tensor(self):
    """A view of a storage; None for a tensor that has none."""
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
    # Repeated elements (a stride of 0) would grow without bound when somebody copies them.
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
    """`count`, checked against the rest of the file before anything is made of it."""
    if not 0 <= count * least_bytes <= self._data.size - self._offset:
      raise self._damaged(f'{count} elements were expected, {self._data.size - self._offset} bytes follow')
    return count

  def _damaged(self, what):
    return ValueError(
      f'{self._path}: at byte {self._offset}, {what}; expected a whole binary Torch7 file '
      '(little-endian, 64-bit). Copy it anew, or save it in Torch with torch.save(path, model).'
    )
