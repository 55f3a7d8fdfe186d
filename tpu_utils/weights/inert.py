"""Values of other libraries in pickles, read as plain values without the libraries' code.

Training programs save their options and results with the weights: numbers and arrays of numpy,
paths, devices, dtypes. Each name that a pickle may use for them stands for a function or class
here. A pickle can call these and cannot change them (BUILD), as later files would be misread.
"""
import argparse
import collections
import math
import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np

# Numbers, text and bytes; not objects, which hold anything.
_DTYPE = re.compile(r'[<>=|]?([biufcSU][0-9]+|\?)')
_TORCH_DTYPES = (
  'float64', 'float32', 'float16', 'bfloat16', 'complex64', 'complex128', 'int64', 'int32', 'int16',
  'int8', 'uint8', 'bool', 'complex32', 'uint16', 'uint32', 'uint64', 'qint8', 'quint8', 'qint32',
  'float8_e4m3fn', 'float8_e5m2',
)  # fmt: skip
_NUMPY_MODULES = ('numpy.core', 'numpy._core')  # Of numpy 1 and 2.
_NUMPY_TYPES = (
  'float64', 'float32', 'float16', 'int64', 'int32', 'int16', 'int8', 'uint64', 'uint32', 'uint16',
  'uint8', 'bool', 'bool_', 'complex64', 'complex128',
)  # fmt: skip


def shown(value: Any) -> str:
  """Returns a value of a pickle for a message: short, as nested lists can be of any length."""
  if value is None or isinstance(value, str | bytes | int | float):
    return f'{value!r:.40}'
  return f'a {type(value).__name__}'


class Frozen(type):
  """Metaclass of classes that a pickle cannot change."""

  def __setattr__(cls, name: str, value: Any) -> None:
    raise TypeError(f'a change of {cls.__name__}.{name}')


class Namespace(argparse.Namespace, metaclass=Frozen):
  """Options of a program: a namespace is as harmless as a dictionary."""

  def __setstate__(self, state: Any) -> None:
    if not isinstance(state, dict):
      raise TypeError(f'options in a {type(state).__name__}')
    object.__setattr__(self, '__dict__', state)  # Not a copy: many could have one dictionary.


class Function:
  """A function that a pickle can call, and not change.

  Args:
    function: the function; its positional arguments come from the pickle.
  """

  __slots__ = ('_function',)
  _function: Callable[..., Any]

  def __init__(self, function: Callable[..., Any]):
    object.__setattr__(self, '_function', function)

  def __setattr__(self, name: str, value: Any) -> None:
    raise TypeError(f'a change of {self._function.__name__}')

  def __call__(self, *args: Any) -> Any:
    return self._function(*args)


class Array:
  """A numpy array, which a pickle describes in two steps, a call and a BUILD.

  Attributes:
    value: the array once it is complete, else None.
  """

  __slots__ = ('value',)

  def __init__(self):
    self.value = None

  def __setstate__(self, state: Any) -> None:
    _, shape, dtype, fortran_order, data = state
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
      raise ValueError(f'an array of {type(dtype).__name__} in a {type(data).__name__}')
    flat = np.frombuffer(data, dtype.value) if data else np.zeros(0, dtype.value)
    if not all(isinstance(length, int) for length in shape):
      raise ValueError('an array of a shape that is no whole numbers')
    if math.prod(shape) != flat.size:
      raise ValueError(f'an array of shape {shape} in {len(data)} bytes')
    self.value = flat.reshape(shape, order='F' if fortran_order else 'C')


class _Dtype:
  __slots__ = ('value',)

  def __init__(self, code):
    if not isinstance(code, str) or not _DTYPE.fullmatch(code):
      raise ValueError(f'an array or number of dtype {shown(code)}; expected numbers or text')
    self.value = np.dtype(code)

  def __setstate__(self, state):
    order = state[1]
    if order not in ('<', '>', '=', '|'):
      raise ValueError(f'a dtype of byte order {shown(order)}')
    if order in '<>':
      self.value = self.value.newbyteorder(order)


def _array(data, dtype, shape, order):
  """Returns an array as protocol 5 stores it."""
  array = Array()
  array.__setstate__((1, shape, dtype, order == 'F', bytes(data)))
  return array


def _scalar(dtype, data):
  return np.frombuffer(data, dtype.value, count=1)[0]


def _encoded(text, encoding):
  """Returns bytes, which protocol 2 stores as text."""
  if encoding != 'latin1':
    raise ValueError(f'bytes encoded as {shown(encoding)}; expected latin1')
  return text.encode('latin1')


def _device(*parts):
  if not all(isinstance(part, str | int) for part in parts):
    raise ValueError('a device that is neither a name nor a number')
  return ':'.join(map(str, parts))


ADMITTED = {
  ('argparse', 'Namespace'): Namespace,
  ('collections', 'Counter'): Function(lambda counts=(): collections.Counter(counts)),
  ('_codecs', 'encode'): Function(_encoded),
  ('__builtin__', 'bytes'): Function(lambda: b''),  # Without arguments in protocol 2.
  ('numpy', 'dtype'): Function(lambda code, *_: _Dtype(code)),
  ('numpy', 'ndarray'): 'numpy.ndarray',  # An argument that `_reconstruct` ignores.
  **{
    (f'{module}.multiarray', name): function
    for module in _NUMPY_MODULES
    for name, function in (
      ('scalar', Function(_scalar)),
      ('_reconstruct', Function(lambda *_: Array())),
    )
  },
  **{(f'{module}.numeric', '_frombuffer'): Function(_array) for module in _NUMPY_MODULES},
  **{('numpy', name): f'numpy.{name}' for name in _NUMPY_TYPES},
  **{
    (module, f'{kind}{system}Path'): Function(getattr(pathlib, f'Pure{system}Path'))
    for module in ('pathlib', 'pathlib._local')
    for system in ('Posix', 'Windows')
    for kind in ('', 'Pure')
  },
  ('torch', 'device'): Function(_device),
  **{('torch', name): f'torch.{name}' for name in _TORCH_DTYPES},
}
