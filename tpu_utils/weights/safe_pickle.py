"""Pickle files from strangers, read without running their code.

A pickle can name any function and have it called. The official label files need none: they hold
dictionaries, lists, text and numbers. This reader admits those and refuses the rest by name.
"""

import collections
import os
import pickle

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
# What damaged or hostile pickles make the C unpickler raise.
_DAMAGED = (
  pickle.UnpicklingError,
  EOFError,
  KeyError,
  IndexError,
  AttributeError,
  ImportError,
  TypeError,
  UnicodeDecodeError,
  ValueError,
  OverflowError,
  MemoryError,
)


class PlainUnpickler(pickle.Unpickler):
  """Unpickles plain containers, text and numbers.

  Args:
    file: binary file at the beginning of a pickle.
    path: what to call it in an error.
    admitted: {(module, name): value} beyond the plain ones.
  """

  def __init__(self, file, path, admitted=None):
    super().__init__(file, encoding='utf-8')
    self._path = path
    self._admitted = {**_ADMITTED, **(admitted or {})}

  def find_class(self, module, name):
    if (module, name) not in self._admitted:
      raise UnsafePickleError(
        f'{self._path} asks for {module}.{name}, which may run code; only dictionaries, lists, '
        'text and numbers are read. Convert it to JSON on a machine that you may lose.'
      )
    return self._admitted[module, name]


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
  """`unpickler.load()`, with one kind of error, that names `path`, for all kinds of damage."""
  try:
    return unpickler.load()
  except UnsafePickleError:
    raise
  except _DAMAGED as error:
    raise ValueError(
      f'{path} is no readable pickle ({type(error).__name__}: {error}); it is damaged or cut off.'
    ) from None
