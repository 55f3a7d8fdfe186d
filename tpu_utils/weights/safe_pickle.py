"""Reads pickle files from strangers without running their code.

A pickle can name any function and have it called. The official label files need none: they hold
dictionaries, lists, text and numbers. This reader admits those and refuses any other name.
"""
from __future__ import annotations

import collections
import os
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from tpu_utils.reading import check_unpacked, reading
from tpu_utils.weights import inert

# By their names in Python 2 and Python 3. All of them only hold values.
_ADMITTED = {
  ('collections', 'OrderedDict'): collections.OrderedDict,
  ('collections', 'defaultdict'): collections.defaultdict,
  **{
    (module, kind.__name__): kind
    for module in ('builtins', '__builtin__')
    for kind in (dict, list, set, frozenset, int, float, complex, bool)
  },
}
_ALWAYS_ELEMENTS = 1000  # May be copied in any pickle.
# Opcodes of one byte that make a container, and the bytes that it takes.
_CONTAINERS = ('EMPTY_LIST', 'EMPTY_DICT', 'EMPTY_SET', 'LIST', 'DICT', 'TUPLE', 'FROZENSET')
_CONTAINER_BYTES = 64
_NUMBERS = (int, float, complex, bool)
_MAX_SHOWN = 80  # Characters of a name in a message.
# Opcodes with the index of a value in the unpickler's memo, of those that can hold a large index.
_MEMO_OPCODES = ('PUT', 'LONG_BINPUT')


class _Counted:
  """A function or class that a pickle can call, with as many elements as the pickle has bytes.

  A pickle stores each element that it passes; only one that is made to exhaust memory has the same
  list copied again and again.
  """

  __slots__ = ('_function', '_spend')
  _function: Callable[..., Any]
  _spend: Callable[[int], None]

  def __init__(self, function, spend):
    object.__setattr__(self, '_function', function)
    object.__setattr__(self, '_spend', spend)

  def __setattr__(self, name, value):
    raise TypeError(f'a change of {name!r:.40}')

  def __call__(self, *args):
    self._spend(sum(len(arg) for arg in args if hasattr(arg, '__len__')))
    return self._function(*args)


class PlainUnpickler(pickle.Unpickler):
  """An unpickler that admits only plain containers, text and numbers.

  Args:
    file: binary file at the beginning of a pickle.
    path: its path, for messages.
    admitted: {(module, name): value} to admit besides the plain ones.
  """

  def __init__(
    self, file: BinaryIO, path: str, admitted: Mapping[tuple[str, str], Any] | None = None
  ):
    super().__init__(file, encoding='utf-8')
    self._file = file
    self._path = path
    self._admitted = {**_ADMITTED, **(admitted or {})}
    self._elements_left = 0

  def find_class(self, module: str, name: str) -> Any:
    """Returns the class or function that a pickle names, if it is admitted.

    Raises:
      UnsafePickleError: it is not.
    """
    if (module, name) not in self._admitted:
      raise UnsafePickleError(
        f'{self._path} asks for {f"{module}.{name}":.{_MAX_SHOWN}}, which may run code; only '
        'dictionaries, lists, text and numbers are read. Convert it to JSON on a machine without '
        'valuable data.'
      )
    value = self._admitted[module, name]
    if not callable(value) or value in _NUMBERS or value is inert.Namespace:
      return value  # A pickle makes a Namespace without calling it.
    return _Counted(value, self._spend)

  def _spend(self, elements):
    self._elements_left -= elements
    if self._elements_left < 0:
      raise ValueError('it copies more elements than it holds')

  def prepare(self) -> None:
    """Refuses pickles that would make the unpickler allocate gigabytes.

    Python's unpickler makes room in its memo for any index up to 2**32. Picklers count from 0 or 1,
    so no index exceeds the number of opcodes before it. Empty containers take one byte each.

    Raises:
      ValueError: an index is too large, or there are too many containers for the pickle's size.
    """
    start, containers = self._file.tell(), 0
    size = self._file.seek(0, os.SEEK_END) - start
    self._elements_left = size + _ALWAYS_ELEMENTS
    self._file.seek(start)
    file: Any = _Forward(self._file)
    for count, (opcode, index, _) in enumerate(pickletools.genops(file)):
      if opcode.name in _MEMO_OPCODES and index not in range(count + 2):
        raise ValueError(f'value {index} after {count} opcodes')
      containers += opcode.name in _CONTAINERS
    check_unpacked('its containers', containers * _CONTAINER_BYTES, size)
    self._file.seek(start)


class _Forward:
  """A file without `tell`, which `genops` would call at every opcode."""

  def __init__(self, file):
    self.read, self.readline = file.read, file.readline


class UnsafePickleError(ValueError):
  """A pickle names something other than plain containers and numbers."""


def load(path: str | os.PathLike[str]) -> Any:
  """Reads a pickle file of plain containers and numbers.

  Raises:
    FileNotFoundError: there is no such file.
    UnsafePickleError: the file names anything that could run code.
    ValueError: the file is damaged.
  """
  path = os.fspath(path)
  if not os.path.isfile(path):
    raise FileNotFoundError(f'{path} does not exist.')
  with open(path, 'rb') as file:
    return load_from(PlainUnpickler(file, path), path)


def load_from(unpickler: PlainUnpickler, path: str) -> Any:
  """Calls `unpickler.load()` with checks.

  Raises:
    UnsafePickleError: the file names anything that could run code.
    ValueError: the file is damaged; the message names `path`.
  """
  with reading(path, 'a pickle', foreign=True):
    unpickler.prepare()
    return unpickler.load()
