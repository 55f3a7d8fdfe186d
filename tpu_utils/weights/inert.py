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
  'int8', 'uint8', 'bool',
)  # fmt: skip


class Frozen(type):
  """Metaclass of classes that a pickle cannot change."""

  def __setattr__(cls, name: str, value: Any) -> None:
    raise TypeError(f'a change of {cls.__name__}.{name}')


class Namespace(argparse.Namespace, metaclass=Frozen):
  """Options of a program: a namespace is as harmless as a dictionary."""


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
    if math.prod(shape) != flat.size:
      raise ValueError(f'an array of shape {shape} in {len(data)} bytes')
    self.value = flat.reshape(shape, order='F' if fortran_order else 'C')


class _Dtype:
  __slots__ = ('value',)

  def __init__(self, code):
    if not isinstance(code, str) or not _DTYPE.fullmatch(code):
      raise ValueError(f'an array or number of dtype {code!r:.40}; expected numbers or text')
    self.value = np.dtype(code)

  def __setstate__(self, state):
    order = state[1]
    if order not in ('<', '>', '=', '|'):
      raise ValueError(f'a dtype of byte order {order!r:.40}')
    if order in '<>':
      self.value = self.value.newbyteorder(order)


def _scalar(dtype, data):
  return np.frombuffer(data, dtype.value, count=1)[0]


def _encoded(text, encoding):
  """Returns bytes, which protocol 2 stores as text."""
  if encoding != 'latin1':
    raise ValueError(f'bytes encoded as {encoding!r:.40}; expected latin1')
  return text.encode('latin1')


ADMITTED = {
  ('argparse', 'Namespace'): Namespace,
  ('collections', 'Counter'): Function(lambda counts=(): collections.Counter(counts)),
  ('_codecs', 'encode'): Function(_encoded),
  ('__builtin__', 'bytes'): Function(lambda: b''),  # Without arguments in protocol 2.
  ('numpy', 'dtype'): Function(lambda code, *_: _Dtype(code)),
  ('numpy', 'ndarray'): 'numpy.ndarray',  # An argument that `_reconstruct` ignores.
  **{
    (f'{module}.multiarray', name): function
    for module in ('numpy.core', 'numpy._core')
    for name, function in (
      ('scalar', Function(_scalar)),
      ('_reconstruct', Function(lambda *_: Array())),
    )
  },
  **{
    (module, f'{kind}{system}Path'): Function(getattr(pathlib, f'Pure{system}Path'))
    for module in ('pathlib', 'pathlib._local')
    for system in ('Posix', 'Windows')
    for kind in ('', 'Pure')
  },
  ('torch', 'device'): Function(lambda *parts: ':'.join(map(str, parts))),
  **{('torch', name): f'torch.{name}' for name in _TORCH_DTYPES},
}
