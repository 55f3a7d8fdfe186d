"""Files and folders written whole or not at all, JSON lines, and versions of the software.

Paths are local or remote (gs://...); local ones need no TensorFlow, which takes seconds to import.
Unfinished files and folders have names ending in `.writing`.
"""
import contextlib
import errno
import importlib.metadata
import json
import os
import platform
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

from tpu_utils.errors import one_line

_PACKAGE = 'tpu-vision-reference'


class _Local:
  """Those functions of `tf.io.gfile` that this module uses, for local paths."""

  copy = staticmethod(lambda source, target, overwrite: shutil.copyfile(source, target))
  exists = staticmethod(os.path.exists)
  isdir = staticmethod(os.path.isdir)
  listdir = staticmethod(os.listdir)
  makedirs = staticmethod(lambda path: os.makedirs(path, exist_ok=True))
  remove = staticmethod(os.remove)
  rename = staticmethod(lambda source, target, overwrite=False: os.replace(source, target))
  rmtree = staticmethod(shutil.rmtree)


def is_remote(path: str) -> bool:
  """Returns whether a path is on a remote file system, such as gs://bucket/file."""
  return '://' in path


def _system(path):
  if is_remote(path):
    import tensorflow as tf

    return tf.io.gfile
  return _Local


def _system_errors():
  tf = sys.modules.get('tensorflow')
  return (OSError, tf.errors.OpError) if tf else (OSError,)


def _open(path, mode):
  if is_remote(path):
    return _system(path).GFile(path, mode)
  return open(path, mode, encoding=None if 'b' in mode else 'utf-8')


def is_folder(path: str) -> bool:
  """Returns whether a path, local or remote, is a folder."""
  return _system(path).isdir(path)


def paths_in(folder: str, prefix: str = '') -> list[str]:
  """Lists the files and folders in a folder that have names with a prefix, sorted.

  Unlike a glob, it takes the folder's own name literally: `runs/lr[0.1]` is a folder.

  Returns:
    Their paths; an empty list if there is no such folder.
  """
  system = _system(folder)
  if not system.exists(folder):
    return []
  # Remote listings mark folders by a slash at the end.
  names = sorted(name.rstrip('/') for name in system.listdir(folder))
  return [os.path.join(folder, name) for name in names if name.startswith(prefix)]


def check_folder(flag: str, path: str) -> None:
  """Checks that a flag's local folder exists; remote ones are checked when they are read.

  Raises:
    ValueError: the folder does not exist.
  """
  if path and not is_remote(path) and not os.path.isdir(path):
    problem = 'is not a folder' if os.path.exists(path) else 'does not exist'
    raise ValueError(f'--{flag}={path} {problem}; give an existing folder.')


def read_text(path: str) -> str | None:
  """Reads a UTF-8 text file without its byte order mark; returns None if it does not exist."""
  if not _system(path).exists(path):
    return None
  if is_remote(path):
    with _open(path, 'rb') as file:
      return file.read().decode('utf-8-sig', errors='replace')
  with open(path, encoding='utf-8-sig', errors='replace') as file:
    return file.read()


# ---- Whole files


@contextlib.contextmanager
def replacing(
  path: str, *, folder: str | None = None, shared: bool = False, parents: bool = False
) -> Iterator[str]:
  """Yields a scratch path; if the body succeeds, the file written there replaces `path`.

  Args:
    path: the file.
    folder: folder for the scratch file, by default that of `path`. A local scratch file for a
      remote `path` is copied there.
    shared: whether other processes may write the same file at the same time.
    parents: whether to create the file's folder; otherwise it must exist.

  Raises:
    OSError: the file cannot be written.
  """
  path = os.fspath(path)
  scratch = _scratch(os.path.join(folder, os.path.basename(path)) if folder else path, shared)
  try:
    if parents and os.path.dirname(path):
      _system(path).makedirs(os.path.dirname(path))
    yield scratch
    if not is_remote(scratch):
      sync(scratch)
    if is_remote(path) and not is_remote(scratch):
      # In object storage a file appears only when it is complete.
      _system(path).copy(scratch, path, overwrite=True)
    else:
      _system(path).rename(scratch, path, overwrite=True)
      sync(os.path.dirname(path) or '.')
  except _system_errors() as error:
    if isinstance(error, OSError) and not error.strerror:
      raise  # From the body, with a message of its own.
    raise OSError(f'{path} cannot be written: {_reason(error, scratch)}') from error
  finally:
    _remove_file(scratch)


def remove(path: str) -> None:
  """Removes a file if it exists.

  Raises:
    OSError: it cannot be removed.
  """
  try:
    if _system(path).exists(path):
      _system(path).remove(path)
  except _system_errors() as error:
    raise OSError(f'{path} cannot be removed: {_reason(error, path)}') from error


def sync(path: str) -> None:
  """Waits until a local file or folder is on the disk, so that it survives a power cut.

  Does nothing for remote paths: a remote file is stored when it is closed.

  Raises:
    OSError: the file cannot be written.
  """
  if is_remote(path):
    return
  try:
    handle = os.open(path, os.O_RDONLY)
  except PermissionError:  # A folder to which one may write but not list.
    return
  try:
    os.fsync(handle)
  except OSError as error:
    if error.errno != errno.EINVAL:  # File systems without fsync, for folders above all.
      raise
  finally:
    os.close(handle)


def write_bytes(
  path: str, content: bytes, *, shared: bool = False, parents: bool = False
) -> None:
  """Writes a file whole or not at all; see `replacing` for `shared` and `parents`.

  Raises:
    OSError: the file cannot be written.
  """
  with replacing(path, shared=shared, parents=parents) as scratch, _open(scratch, 'wb') as file:
    file.write(content)


def write_text(path: str, text: str) -> None:
  """Writes a text file as UTF-8, whole or not at all.

  Raises:
    OSError: the file cannot be written.
  """
  write_bytes(path, text.encode('utf-8'))


def write_json(path: str, content: object, indent: int | None = 2) -> None:
  """Writes a JSON file, whole or not at all.

  Raises:
    OSError: the file cannot be written.
  """
  write_text(path, json.dumps(content, indent=indent) + '\n')


def parse_json(text: str | bytes) -> Any:
  """Parses JSON, with or without a byte order mark.

  Raises:
    ValueError: it is not JSON, or nested too deeply to be read.
  """
  try:
    return json.loads(text.removeprefix('\ufeff') if isinstance(text, str) else text)
  except RecursionError:
    raise ValueError('its lists and objects are nested too deeply') from None


def read_json(path: str) -> dict[str, Any]:
  """Reads a JSON file that holds an object.

  Raises:
    OSError: the file cannot be read.
    ValueError: the contents are not JSON, or no object.
  """
  with _open(path, 'rb') as file:
    text = file.read()
  with contextlib.suppress(ValueError):
    content = parse_json(text)
    if isinstance(content, dict):
      return content
  raise ValueError(
    f'{path}: expected a JSON object, found {text[:40].decode("utf-8", "replace")!r}; remove the '
    'file.'
  )


def _reason(error, path):
  if getattr(error, 'strerror', None) and error.filename in (None, path):
    return error.strerror
  return one_line(error) or type(error).__name__  # Remote file systems leave some messages empty.


# ---- JSON lines


def read_json_lines(path: str) -> list[dict]:
  """Reads a file with a JSON object on each line.

  A last line that is cut off is left out. So are damaged lines, which standard error reports.

  Returns:
    The objects; an empty list if the file does not exist.
  """
  return [row for _, row in _whole_lines(path)]


def append_json_line(path: str, row: object) -> None:
  """Appends an object as a line of JSON; lines that `read_json_lines` leaves out are removed.

  Raises:
    OSError: the file cannot be written; it is unchanged.
  """
  write_text(path, '\n'.join([*(line for line, _ in _whole_lines(path)), json.dumps(row)]) + '\n')


def _whole_lines(path):
  """Returns [(line, object)] of the lines that are whole."""
  lines = (read_text(path) or '').splitlines()
  whole = []
  for number, line in enumerate(lines, 1):
    try:
      row = parse_json(line)
    except ValueError:
      row = None
    if isinstance(row, dict):
      whole.append((line, row))
    elif number < len(lines) or not line.startswith('{'):  # Otherwise a kill cut it off.
      print(
        f'{path}: line {number} is damaged and left out; expected a JSON object, found '
        f'{line[:40]!r}.',
        file=sys.stderr,
      )
  return whole


# ---- Whole folders


def replace_folder(
  folder: str, write: Callable[[str], object], *, marker: str | None = None, shared: bool = False
) -> None:
  """Calls `write(scratch)` with an empty folder, which then replaces `folder`.

  After an error `folder` is either the old one or the new one. If the process is killed between
  the two renames, it is absent; the next call first restores the old one (not if `shared`).

  Args:
    folder: local or remote folder; its parents are created.
    write: function that fills the scratch folder.
    marker: replace an existing folder only if it is empty or has a file with this name.
    shared: whether other processes may write the same folder at the same time.

  Raises:
    ValueError: `folder` is a file, or holds files but not `marker`.
    OSError: the files cannot be written.
  """
  folder = os.fspath(folder).rstrip('/')
  system, scratch = _system(folder), _scratch(folder, shared)
  previous = f'{scratch.removesuffix(".writing")}.previous'
  try:
    _put_back(previous, folder)
    if marker:
      _check_replaceable(folder, marker)
    with scratch_folder(scratch):
      write(scratch)
      _remove_folder(previous)
      if system.exists(folder):
        system.rename(folder, previous)
      system.rename(scratch, folder)
    _remove_folder(previous)
  except _system_errors() as error:
    raise OSError(
      f'{folder} cannot be written ({_reason(error, scratch)}); free space, or choose a folder '
      'that you may write to.'
    ) from error
  finally:
    _put_back(previous, folder)


@contextlib.contextmanager
def scratch_folder(folder: str) -> Iterator[str]:
  """Creates an empty folder, replacing an existing one, and deletes it after the body."""
  _remove_folder(folder)
  _system(folder).makedirs(folder)
  try:
    yield folder
  finally:
    _remove_folder(folder)


def _check_replaceable(folder, marker):
  system = _system(folder)
  if not system.exists(folder):
    return
  if not system.isdir(folder):
    raise ValueError(
      f'{folder}: expected a folder or nothing there, found a file; choose another folder.'
    )
  names = system.listdir(folder)
  if names and marker not in names:
    raise ValueError(
      f'{folder}: expected nothing there, an empty folder or one with {marker}, to replace it; '
      f'the folder holds {names[0]!r} and no {marker}; choose another folder.'
    )


def _scratch(path, shared):
  """Returns a path for scratch; with `shared`, removes that of killed processes of this machine."""
  if not shared:
    return f'{path}.writing'
  start = f'{path}.{socket.gethostname()}-'
  if not is_remote(path):
    _remove_abandoned(path, start)
  return f'{start}{os.getpid()}.writing'


def _remove_abandoned(path, start):
  """Removes local scratch files and folders, START + PID.writing, of processes that are gone."""
  folder, start = os.path.split(start)
  with contextlib.suppress(OSError):  # They may belong to another user.
    for found in paths_in(folder or '.', start):
      pid, _, kind = os.path.basename(found).removeprefix(start).partition('.')
      # `previous` may hold the only content there is.
      removable = kind == 'writing' or (kind == 'previous' and os.path.exists(path))
      if removable and pid.isdigit() and not process_exists(int(pid)):
        (_remove_folder if os.path.isdir(found) else os.remove)(found)


def _put_back(previous, folder):
  system = _system(folder)
  if system.exists(previous) and not system.exists(folder):
    system.rename(previous, folder)


def _remove_folder(folder):
  if _system(folder).exists(folder):
    _system(folder).rmtree(folder)


def _remove_file(path):
  # An unreachable folder was reported already.
  with contextlib.suppress(*_system_errors()):
    if _system(path).exists(path):
      _system(path).remove(path)


# ---- Processes and versions


def process_exists(pid: int) -> bool:
  """Returns whether this machine has a process with this number."""
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  except OSError:  # It belongs to another user.
    pass
  return True


def versions() -> dict:
  """Returns {package: version} of the software, to store in checkpoints, exports and run records.

  The version of this package is None if it is not installed.
  """
  import keras
  import tensorflow as tf

  try:
    own = importlib.metadata.version(_PACKAGE)
  except importlib.metadata.PackageNotFoundError:
    own = None
  return {
    _PACKAGE: own,
    'python': platform.python_version(),
    'tensorflow': tf.__version__,
    'keras': keras.__version__,
  }
