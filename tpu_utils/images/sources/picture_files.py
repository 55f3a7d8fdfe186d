r"""Listing and reading of the image files in a folder, local or remote.

Names of local files are bytes and need not be text: `caf\xe9.jpg` is read like any other. Python
holds such bytes as surrogates, which TensorFlow does not take; hence these functions. The names of
classes and of folders that flags give are stored as text, so those are refused.
"""
import os
from collections.abc import Iterable, Sequence

import tensorflow as tf

from tpu_utils import files
from tpu_utils.errors import printable

_CLUTTER = ('thumbs.db', 'desktop.ini')


def is_clutter(name: str) -> bool:
  """Returns whether a file is hidden or made by an operating system, so that it can be ignored."""
  return name.startswith('.') or name.lower() in _CLUTTER


def names_in(folder: str) -> list[str]:
  """Lists the names of the files in a folder, sorted, without clutter.

  Raises:
    ValueError: it holds something else, such as folders and broken links, whatever their names.
  """
  kinds = {name: kind for name, kind in _entries(folder) if not is_clutter(name)}
  others = [f'{name} ({kind})' for name, kind in sorted(kinds.items()) if kind]
  if others:
    raise ValueError(
      f'{printable(folder)} holds {some(others)}; expected only image files. Move these elsewhere.'
    )
  return sorted(kinds)


def check(paths: Iterable[str]) -> None:
  """Checks that local paths are files.

  Raises:
    ValueError: some are folders, broken links or the like; names them.
  """
  kinds = {path: _kind(path) for path in paths if not files.is_remote(path)}
  others = [f'{path} ({kind})' for path, kind in kinds.items() if kind]
  if others:
    raise ValueError(f'{some(others)}: expected only image files.')


def read(path: str) -> bytes:
  """Reads a whole file.

  Raises:
    OSError: it cannot be read; names the file.
  """
  return files.read_bytes(path)


def as_bytes(paths: Sequence[str]) -> list[bytes]:
  """Encodes paths for TensorFlow."""
  return [path.encode('utf-8', 'surrogateescape') for path in paths]


def check_text(path: str, role: str) -> None:
  """Checks that a path can be stored as text.

  Args:
    path: the path or name.
    role: its use, for the message, such as '--data_dir'.

  Raises:
    ValueError: its bytes are not UTF-8.
  """
  if printable(path) != path:
    raise ValueError(f'{role}: {printable(path)} has bytes that are not UTF-8; rename it.')


def some(names: Iterable[str]) -> str:
  """Returns the first five names and the number of the others, for messages of one line."""
  names = list(names)
  text = ', '.join(map(printable, names[:5]))
  return text + (f' and {len(names) - 5} more' if len(names) > 5 else '')


def _entries(folder):
  """Yields (name, what it is if not a file, else '')."""
  if files.is_remote(folder):  # Folders end with a slash, and there are no links.
    for name in tf.io.gfile.listdir(folder):
      yield name.rstrip('/'), 'a folder' if name.endswith('/') else ''
    return
  with os.scandir(folder) as entries:
    for entry in entries:
      # Most file systems say so without a call for each file.
      yield entry.name, '' if entry.is_file() else _kind(entry.path)


def _kind(path):
  """Returns '' for a file, otherwise what a local path is."""
  if os.path.isfile(path):
    return ''
  if os.path.isdir(path):
    return 'a folder'
  if os.path.islink(path):
    return 'a link to nothing'
  return 'no regular file' if os.path.exists(path) else 'missing'
