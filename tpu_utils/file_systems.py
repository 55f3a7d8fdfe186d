"""File systems by the scheme of a path: TensorFlow's for remote paths (gs://...), else Python's.

Local paths need no TensorFlow, which takes seconds to import.
"""
import contextlib
import errno
import importlib
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from tpu_utils.errors import first_line
from tpu_utils.names import unknown_name

_BUILT_IN = ('file', 'gs', 'ram')  # Of TensorFlow itself.
_WITH_TENSORFLOW_IO = ('az', 'hdfs', 'http', 'https', 'oss', 's3', 'viewfs')
_ADDRESSES = ('grpc', 'grpcs')  # Of servers: no paths.
# Errors of access, which a user can correct; others are defects.
_OF_ACCESS = ('NotFound', 'PermissionDenied', 'Unauthenticated', 'Unavailable', 'Unimplemented')
_SCHEME = re.compile(r'([A-Za-z][A-Za-z0-9+.-]*):(/+)')


class _Local:
  """Those functions of `tf.io.gfile` that `files` uses, for local paths."""

  copy = staticmethod(lambda source, target, overwrite: shutil.copyfile(source, target))
  exists = staticmethod(os.path.exists)
  isdir = staticmethod(os.path.isdir)
  listdir = staticmethod(os.listdir)
  makedirs = staticmethod(lambda path: os.makedirs(path, exist_ok=True))
  remove = staticmethod(os.remove)
  rename = staticmethod(lambda source, target, overwrite=False: os.replace(source, target))
  rmtree = staticmethod(shutil.rmtree)


def is_remote(path: str | os.PathLike[str]) -> bool:
  """Returns whether a path is on a remote file system, such as gs://bucket/file."""
  return '://' in os.fspath(path)


def of(path: str | os.PathLike[str]) -> Any:
  """Returns the file system of a path: an object with functions of `tf.io.gfile`."""
  if is_remote(path):
    import tensorflow as tf

    return tf.io.gfile
  return _Local


def errors() -> tuple[type[Exception], ...]:
  """Returns the classes of errors that functions of file systems raise."""
  tf = sys.modules.get('tensorflow')
  return (OSError, tf.errors.OpError) if tf else (OSError,)


def check_known(path: str, flag: str = '') -> str | None:
  """Checks, without TensorFlow, that a path has no misspelt scheme.

  Args:
    path: a local or remote path. Addresses of servers (grpc://...) pass.
    flag: name of its flag for the message, if it has one.

  Returns:
    The scheme of a remote path, else None.

  Raises:
    ValueError: no file system has this scheme.
  """
  found = _SCHEME.match(path)
  if not found or found[1] in _ADDRESSES:
    return None
  scheme, slashes = found.groups()
  known = scheme in _BUILT_IN + _WITH_TENSORFLOW_IO
  if len(slashes) == 1:  # May be a local folder with a strange name.
    if known:
      named = _named(path, flag)
      raise ValueError(f'{named}: expected {scheme}://, found {scheme}:/; add a slash.')
    return None
  if not known:
    kind = f'file system in {_named(path, flag)}:'
    raise unknown_name(kind, scheme, _BUILT_IN + _WITH_TENSORFLOW_IO)
  return scheme


def check_scheme(path: str, flag: str = '') -> None:
  """Checks that there is a file system for a path; loads tensorflow-io if the path needs it.

  Args:
    path: as for `check_known`.
    flag: as for `check_known`.

  Raises:
    ValueError: there is none.
  """
  scheme = check_known(path, flag)
  if scheme in _WITH_TENSORFLOW_IO and not _can_use(scheme):
    raise ValueError(
      f'{_named(path, flag)}: {scheme}:// needs the package tensorflow-io, in the release for this '
      'TensorFlow, and it is not installed; install it, or use gs:// or a local folder.'
    )


def check_tfds_folder(path: str | os.PathLike[str], flag: str) -> None:
  """Checks that TensorFlow Datasets, which has file systems of its own, can read and write a path.

  Args:
    path: folder of data sets.
    flag: name of its flag for the message.

  Raises:
    ValueError: it cannot.
  """
  from etils import epath

  try:
    epath.Path(path)
  except KeyError:
    raise ValueError(
      f'--{flag}={path}: TensorFlow Datasets has no such file system; put the data sets into a '
      'local folder or on gs://.'
    ) from None


def _named(path, flag):
  return f'--{flag}={path}' if flag else path


def _can_use(scheme):
  import tensorflow as tf

  if scheme not in tf.io.gfile.get_registered_schemes():
    with contextlib.suppress(ImportError):
      importlib.import_module('tensorflow_io')  # Registers its file systems.
  return scheme in tf.io.gfile.get_registered_schemes()


@contextlib.contextmanager
def as_os_errors(path: str | os.PathLike[str]) -> Iterator[None]:
  """Turns TensorFlow's errors in the body into an `OSError` that names the path.

  Raises:
    FileNotFoundError: there is no such file.
    OSError: another error.
  """
  try:
    yield
  except errors() as error:
    if isinstance(error, OSError):
      raise
    if type(error).__name__ == 'NotFoundError':
      path = os.fspath(path)
      raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from error
    raise OSError(f'{os.fspath(path)} cannot be read: {first_line(error)}') from error


def access_error(error: Exception, paths: Iterable[str]) -> OSError | None:
  """Returns a one-line error for TensorFlow's error that a remote path cannot be accessed.

  Args:
    error: any error.
    paths: remote paths that the user gave.

  Returns:
    None if the error is another one, or about none of the paths.
  """
  if type(error).__name__.removesuffix('Error') not in _OF_ACCESS:
    return None
  for path in paths:
    place = '/'.join(path.split('/')[:3])  # Scheme and bucket.
    if place in str(error):
      return OSError(f'{path} cannot be accessed: {first_line(error, marked=place)}')
  return None
