"""Local copies of remote files, for libraries that read and write only local ones."""
import atexit
import contextlib
import functools
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator

from tpu_utils import file_systems

_ANNOUNCED_BYTES = 64 * 2**20  # Copies of larger files are announced.
_lock = threading.Lock()
_folders: dict[str, str] = {}  # Remote folder -> folder of its files' copies.
_copied: dict[str, tuple] = {}  # Remote file -> size and time of the version copied.


@contextlib.contextmanager
def local_copy(path: str | os.PathLike[str], beside: Iterable[str] = ()) -> Iterator[str]:
  """Yields a local path for a file, for libraries that read only local files.

  A local file is used itself. A remote one is copied to a temporary folder, once in a process
  unless it changes there; the copies are removed when the process ends. Errors in the body that
  name the copy name the remote file instead.

  Args:
    path: a file, local or remote.
    beside: names of further files in its folder, which are copied with it.

  Raises:
    OSError: the file does not exist, or there is no room for the copy.
  """
  path = os.fspath(path)
  if not file_systems.is_remote(path):
    yield path
    return
  remote = os.path.dirname(path)
  for name in beside:
    _copy_of(os.path.join(remote, name))
  copy = _copy_of(path)
  try:
    yield copy
  except (ValueError, OSError) as error:
    raise _renamed(error, os.path.dirname(copy), remote) from error


@functools.cache
def _root():
  """Returns a temporary folder that is removed when this process ends."""
  root, owner = tempfile.mkdtemp(prefix='tpu_utils_'), os.getpid()

  def remove():
    if os.getpid() == owner:  # Not a fork of it.
      shutil.rmtree(root, ignore_errors=True)

  atexit.register(remove)
  return root


def _copy_of(path):
  """Copies a remote file unless this version was copied already; returns the path of the copy."""
  with _lock, file_systems.as_os_errors(path):
    folder, name = os.path.split(path)
    if folder not in _folders:
      _folders[folder] = tempfile.mkdtemp(dir=_root())
    copy = os.path.join(_folders[folder], name)
    system = file_systems.of(path)
    status = system.stat(path)
    version = (status.length, status.mtime_nsec)
    if _copied.get(path) != version:
      _check_room(path, status.length)
      system.copy(path, f'{copy}.writing', overwrite=True)
      if os.path.getsize(f'{copy}.writing') != status.length:
        raise OSError(f'{path} changed while it was copied; start again.')
      os.replace(f'{copy}.writing', copy)
      _copied[path] = version
    return copy


def _check_room(path, size):
  free = shutil.disk_usage(_root()).free
  if size > free:
    raise OSError(
      f'{path} has {size:,} bytes, and {tempfile.gettempdir()}, where it must be copied to, has '
      f'room for {free:,}; set TMPDIR to a folder with more.'
    )
  if size > _ANNOUNCED_BYTES:
    print(
      f'Copying {path} ({size / 2**20:,.0f} MiB) to {tempfile.gettempdir()} until this process '
      'ends ...',
      file=sys.stderr,
      flush=True,
    )


def _renamed(error, folder, remote):
  """Returns an error with a remote folder in place of the folder of copies."""
  if isinstance(error, OSError) and error.filename is not None:
    return type(error)(error.errno, error.strerror, str(error.filename).replace(folder, remote))
  texts = (a.replace(folder, remote) if isinstance(a, str) else a for a in error.args)
  try:
    return type(error)(*texts)
  except TypeError:  # A class with arguments of its own, such as UnicodeDecodeError.
    return ValueError(str(error).replace(folder, remote))
