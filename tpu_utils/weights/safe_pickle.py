"""Pickle files from strangers, read without running their code.

A pickle can name any function and have it called. The official label files need none: they hold
dictionaries, lists, text and numbers. This reader admits those and refuses the rest by name.
"""

import collections
import os
import pickle
import pickletools

from tpu_utils.reading import reading

# By what Python 2 and Python 3 call them. Nothing here does anything but hold values.
_ADMITTED = {
  ('collections', 'OrderedDict'): collections.OrderedDict,
  ('collections', 'defaultdict'): collections.defaultdict,
  **{
    (module, kind.__name__): kind
    for module in ('builtins', '__builtin__')
    for kind in (dict, list, set, frozenset, int, float, complex, bool)
  },
}
# Opcodes that number a value in the unpickler's memo, as far as a damaged number is large.
_NUMBERS_A_VALUE = ('PUT', 'LONG_BINPUT')



class PlainUnpickler(pickle.Unpickler):
  """Unpickles plain containers, text and numbers.

  Args:
    file: binary file at the beginning of a pickle.
    path: what to call it in an error.
    admitted: {(module, name): value} beyond the plain ones.
  """

  def __init__(self, file, path, admitted=None):
    super().__init__(file, encoding='utf-8')
    self._file = file
    self._path = path
    self._admitted = {**_ADMITTED, **(admitted or {})}

  def find_class(self, module, name):
    if (module, name) not in self._admitted:
      raise UnsafePickleError(
        f'{self._path} asks for {module}.{name}, which may run code; only dictionaries, lists, '
        'text and numbers are read. Convert it to JSON on a machine that you may lose.'
      )
    return self._admitted[module, name]

  def check_memo(self):
    """Refuses pickles that would have gigabytes allocated for the numbers of their values.

    Python's unpickler makes room for any number up to 2**32. Picklers count from 0 or 1, so no number is
    above that of the opcodes.
    """
    start = self._file.tell()
    for count, (opcode, number, _) in enumerate(pickletools.genops(_Forward(self._file))):
      if opcode.name in _NUMBERS_A_VALUE and not 0 <= number <= count + 1:
        raise ValueError(f'value {number} after {count} opcodes')
    self._file.seek(start)


class _Forward:
  """A file without its position, which `genops` would ask for at every opcode."""

  def __init__(self, file):
    self.read, self.readline = file.read, file.readline


class UnsafePickleError(ValueError):
  """A pickle names something else than plain containers and numbers."""


def load(path):
  """The contents of a pickle file of plain containers and numbers.

  Raises:
    FileNotFoundError: there is no such file.
    UnsafePickleError: the file names anything that could run code.
    ValueError: the file is damaged.
  """
  if not os.path.isfile(path):
    raise FileNotFoundError(f'{path} does not exist.')
  with open(path, 'rb') as file:
    return load_from(PlainUnpickler(file, path), path)


def load_from(unpickler, path):
  """Calls `unpickler.load()`; all kinds of damage raise a ValueError that names `path`."""
  with reading(path, 'a pickle', foreign=True):
    unpickler.check_memo()
    return unpickler.load()
