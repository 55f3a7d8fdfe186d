"""Files and folders written whole or not at all, JSON lines, and versions of the software.

Paths are local or remote (gs://...); local ones need no TensorFlow, which takes seconds to import.
Unfinished files and folders have names ending in `.writing`.
"""
import contextlib
import errno
import io
import json
import os
import platform
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from tpu_utils import file_systems
from tpu_utils.errors import one_line
from tpu_utils.file_systems import is_remote
from tpu_utils.version import __version__

# A remote folder holds this file while it is being replaced, and after that was interrupted.
UNFINISHED = 'unfinished.writing'


def _open(path, mode):
  if is_remote(path):
    return file_systems.of(path).GFile(path, mode)
  return open(path, mode, encoding=None if 'b' in mode else 'utf-8')


def exists(path: str | os.PathLike[str]) -> bool:
  """Returns whether there is a file or folder, local or remote.

  Raises:
    OSError: the remote file system does not answer.
  """
  with file_systems.as_os_errors(path):
    return file_systems.of(path).exists(os.fspath(path))


def is_file(path: str | os.PathLike[str]) -> bool:
  """Returns whether a path, local or remote, is a file; raises as `exists`."""
  return exists(path) and not is_folder(path)


def is_folder(path: str | os.PathLike[str]) -> bool:
  """Returns whether a path, local or remote, is a folder; raises as `exists`."""
  with file_systems.as_os_errors(path):
    return file_systems.of(path).isdir(os.fspath(path))


def paths_in(folder: str, prefix: str = '') -> list[str]:
  """Lists the files and folders in a folder that have names with a prefix, sorted.

  Unlike a glob, it takes the folder's own name literally: `runs/lr[0.1]` is a folder.

  Returns:
    Their paths; an empty list if there is no such folder.
  """
  if not exists(folder):
    return []
  # Remote listings mark folders by a slash at the end.
  names = sorted(name.rstrip('/') for name in file_systems.of(folder).listdir(folder))
  return [os.path.join(folder, name) for name in names if name.startswith(prefix)]


def check_folder(flag: str, path: str) -> None:
  """Checks that a flag's folder, local or remote, exists.

  Raises:
    ValueError: the folder does not exist.
    OSError: the remote file system does not answer.
  """
  _check_kind(flag, path, 'folder', is_folder)


def check_file(flag: str, path: str) -> None:
  """Checks that a flag's file, local or remote, exists.

  Raises:
    ValueError: the file does not exist.
    OSError: the remote file system does not answer.
  """
  _check_kind(flag, path, 'file', is_file)


def _check_kind(flag, path, kind, is_kind):
  if path and not is_kind(path):
    problem = f'is not a {kind}' if exists(path) else 'does not exist'
    raise ValueError(f'--{flag}={path} {problem}; give an existing {kind}.')


def check_local(flag: str, path: str | os.PathLike[str] | None, remedy: str) -> None:
  """Checks that a path is not remote, where programs without remote files read or write it.

  Args:
    flag: name of the path's flag.
    path: the path, or None.
    remedy: advice for the message.

  Raises:
    ValueError: the path is remote.
  """
  if path and is_remote(path):
    raise ValueError(f'--{flag}={path} is remote, and must be local; {remedy}.')


def check_finished(folder: str | os.PathLike[str]) -> None:
  """Checks that the writing of a folder by `replace_folder` was not interrupted.

  Raises:
    ValueError: it was, or is still going on.
  """
  if exists(os.path.join(folder, UNFINISHED)):
    raise ValueError(
      f'{os.fspath(folder)} is incomplete: it holds {UNFINISHED}, the mark of a folder that is '
      'being written or whose writing was interrupted. Write it again.'
    )


def read_bytes(path: str | os.PathLike[str]) -> bytes:
  """Reads a file, local or remote.

  Raises:
    OSError: the file does not exist or cannot be read.
  """
  path = os.fspath(path)
  with file_systems.as_os_errors(path), _open(path, 'rb') as file:
    return file.read()


def open_text(path: str | os.PathLike[str]) -> TextIO:
  """Opens a text file, local or remote, for reading: UTF-8, with or without a byte order mark.

  Raises:
    OSError: the file does not exist or cannot be read.
  """
  if is_remote(path):
    return io.TextIOWrapper(io.BytesIO(read_bytes(path)), encoding='utf-8-sig')
  return open(path, encoding='utf-8-sig')


def read_text(path: str | os.PathLike[str]) -> str | None:
  """Reads a UTF-8 text file without its byte order mark; returns None if it does not exist.

  Raises:
    OSError: the file cannot be read.
  """
  if not exists(path):
    return None
  content = io.BytesIO(read_bytes(path))
  return io.TextIOWrapper(content, encoding='utf-8-sig', errors='replace').read()


# ---- Whole files


@contextlib.contextmanager
def replacing(
  path: str | os.PathLike[str],
  *,
  folder: str | None = None,
  shared: bool = False,
  parents: bool = False,
) -> Iterator[str]:
  """Yields a local scratch path; if the body succeeds, the file written there replaces `path`.

  Args:
    path: the file, local or remote.
    folder: folder for the scratch file, by default that of a local `path`, and a temporary one for
      a remote `path`.
    shared: whether other processes may write the same file at the same time.
    parents: whether to create the file's folder; otherwise it must exist.

  Raises:
    OSError: the file cannot be written.
  """
  path = os.fspath(path)
  with contextlib.ExitStack() as stack:
    if folder is None and is_remote(path):
      folder = stack.enter_context(tempfile.TemporaryDirectory())
    place = os.path.join(folder, os.path.basename(path)) if folder else path
    yield stack.enter_context(_replacing(path, _scratch(place, shared), shared, parents))


@contextlib.contextmanager
def _replacing(path, scratch, shared, parents):
  """Yields `scratch`; the file there, local or beside a remote `path`, replaces `path`."""
  system, uploaded = file_systems.of(path), _scratch(path, shared)
  try:
    if parents and os.path.dirname(path):
      system.makedirs(os.path.dirname(path))
    yield scratch
    if is_remote(path):
      if scratch != uploaded:
        system.copy(scratch, uploaded, overwrite=True)
    else:
      uploaded = scratch
      sync(scratch)
    system.rename(uploaded, path, overwrite=True)
    sync(os.path.dirname(path) or '.')
  except file_systems.errors() as error:
    if isinstance(error, OSError) and not error.strerror:
      raise  # From the body, with a message of its own.
    raise OSError(f'{path} cannot be written: {_reason(error, scratch)}') from error
  finally:
    for leftover in {scratch, uploaded}:
      _remove_file(leftover)


def remove(path: str) -> None:
  """Removes a file if it exists.

  Raises:
    OSError: it cannot be removed.
  """
  try:
    if file_systems.of(path).exists(path):
      file_systems.of(path).remove(path)
  except file_systems.errors() as error:
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
  path: str | os.PathLike[str], content: bytes, *, shared: bool = False, parents: bool = False
) -> None:
  """Writes a file whole or not at all; see `replacing` for `shared` and `parents`.

  Raises:
    OSError: the file cannot be written.
  """
  path = os.fspath(path)
  scratch = _scratch(path, shared)  # Needs no local folder even for a remote file.
  with _replacing(path, scratch, shared, parents), _open(scratch, 'wb') as file:
    file.write(content)


def write_text(path: str | os.PathLike[str], text: str) -> None:
  """Writes a text file as UTF-8, whole or not at all.

  Raises:
    OSError: the file cannot be written.
  """
  write_bytes(path, text.encode('utf-8'))


def write_json(path: str | os.PathLike[str], content: object, indent: int | None = 2) -> None:
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
  text = read_bytes(path)
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
  folder: str | os.PathLike[str],
  write: Callable[[str], object],
  *,
  marker: str | None = None,
  shared: bool = False,
) -> None:
  """Calls `write(scratch)` with an empty local folder, whose files then replace those in `folder`.

  After an error a local `folder` is either the old one or the new one. If the process is killed
  between the two renames, it is absent; the next call first restores the old one (not if `shared`).

  Remote folders cannot be replaced at once. The files are uploaded to a folder in it, and then
  take the place of the old ones; meanwhile `folder` holds `UNFINISHED`, and `check_finished`
  refuses it. After a kill the next call writes it again.

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
  remote = is_remote(folder)
  if not remote and os.path.islink(folder):
    folder = os.path.realpath(folder)  # The link stays, and so does the disk that it chose.
  scratch = _scratch(f'{folder}/' if remote else folder, shared)
  try:
    (_replace_remote_folder if remote else _replace_local_folder)(folder, scratch, write, marker)
  except file_systems.errors() as error:
    raise OSError(
      f'{folder} cannot be written ({_reason(error, scratch)}); free space, or choose a folder '
      'that you may write to.'
    ) from error


def _replace_local_folder(folder, scratch, write, marker):
  previous = f'{scratch.removesuffix(".writing")}.previous'
  try:
    _put_back(previous, folder)
    if marker:
      check_replaceable(folder, marker)
    with scratch_folder(scratch):
      write(scratch)
      _remove_folder(previous)
      if os.path.exists(folder):
        os.replace(folder, previous)
      os.replace(scratch, folder)
    _remove_folder(previous)
  finally:
    _put_back(previous, folder)


def _replace_remote_folder(folder, uploads, write, marker):
  if marker:
    check_replaceable(folder, marker)
  system = file_systems.of(folder)
  with tempfile.TemporaryDirectory() as scratch:
    write(scratch)
    names = sorted(_files_in(scratch), key=lambda name: name == marker)  # The marker last.
    with scratch_folder(uploads):
      for name in names:
        system.makedirs(os.path.dirname(os.path.join(uploads, name)))
        system.copy(os.path.join(scratch, name), os.path.join(uploads, name), overwrite=True)
      system.makedirs(folder)
      write_text(os.path.join(folder, UNFINISHED), 'This folder is being replaced.\n')
      _empty(folder, marker, keep=(UNFINISHED, os.path.basename(uploads)))
      for name in names:
        system.makedirs(os.path.dirname(os.path.join(folder, name)))
        system.rename(os.path.join(uploads, name), os.path.join(folder, name), overwrite=True)
      system.remove(os.path.join(folder, UNFINISHED))


def _files_in(folder):
  """Returns the paths of all files below a local folder, relative to it."""
  places = [(place, names) for place, _, names in os.walk(folder)]
  return [os.path.relpath(os.path.join(place, n), folder) for place, names in places for n in names]


def _empty(folder, marker, keep):
  """Removes everything in a remote folder but some names, its marker first."""
  system = file_systems.of(folder)
  paths = [path for path in paths_in(folder) if os.path.basename(path) not in keep]
  for path in sorted(paths, key=lambda path: os.path.basename(path) != marker):
    (system.rmtree if system.isdir(path) else system.remove)(path)


@contextlib.contextmanager
def scratch_folder(folder: str) -> Iterator[str]:
  """Creates an empty folder, replacing an existing one, and deletes it after the body."""
  _remove_folder(folder)
  file_systems.of(folder).makedirs(folder)
  try:
    yield folder
  finally:
    _remove_folder(folder)


def check_replaceable(folder: str | os.PathLike[str], marker: str) -> None:
  """Checks that `replace_folder` may replace a folder, local or remote.

  Raises:
    ValueError: `folder` is a file, or holds files but not `marker`.
    OSError: the remote file system does not answer.
  """
  folder = os.fspath(folder)
  if not exists(folder):
    return
  if not is_folder(folder):
    raise ValueError(
      f'{folder}: expected a folder or nothing there, found a file; choose another folder.'
    )
  listed = [os.path.basename(path) for path in paths_in(folder)]
  names = [name for name in listed if not name.endswith('.writing')]
  if names and marker not in names and UNFINISHED not in listed:
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
  if os.path.exists(previous) and not os.path.exists(folder):
    os.replace(previous, folder)


def _remove_folder(folder):
  if file_systems.of(folder).exists(folder):
    file_systems.of(folder).rmtree(folder)


def _remove_file(path):
  # An unreachable folder was reported already.
  with contextlib.suppress(*file_systems.errors()):
    if file_systems.of(path).exists(path):
      file_systems.of(path).remove(path)


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
  """Returns {package: version} of the software, to store in checkpoints, exports and runs."""
  import keras
  import tensorflow as tf

  return {
    'tpu-vision-reference': __version__,
    'python': platform.python_version(),
    'tensorflow': tf.__version__,
    'keras': keras.__version__,
  }
