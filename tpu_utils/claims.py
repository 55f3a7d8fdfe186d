"""Claims on output folders, so that a second process that would write the same one is refused.

A claim is a small file in the folder or beside it, local or remote, that its owner renews and
removes at the end. An owner that was killed leaves it behind: on the same machine its process is
gone, on another machine the file is not renewed any more.
"""
import contextlib
import datetime
import os
import pathlib
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from tpu_utils import files

NAME = '.in_use.json'
_RENEW_SECONDS = 15.0
_PATIENCE_SECONDS = 60.0  # An owner on another machine that renews nothing for so long is gone.
_BOOT = pathlib.Path('/proc/sys/kernel/random/boot_id')


class Claim:
  """A claim on a folder, renewed by a thread; see `claimed`."""

  def __init__(self, flag: str, folder: str, beside: bool = False):
    self._flag, self._folder = flag, folder
    self._path = f'{folder.rstrip("/")}{NAME}' if beside else os.path.join(folder, NAME)
    self._token = uuid.uuid4().hex
    self._beats = 0
    self._lost: str | None = None
    self._done = threading.Event()
    self._thread = threading.Thread(target=self._keep, daemon=True)

  def take(self) -> None:
    """Takes the folder.

    Raises:
      ValueError: another process owns it.
      OSError: the folder cannot be written.
    """
    text = files.read_text(self._path)
    if text is not None and _is_alive(self._path, text):
      self._refuse(text)
    self._write()
    self.check()
    self._thread.start()

  def check(self) -> None:
    """Checks that no other process has taken the folder meanwhile.

    Raises:
      ValueError: one has.
    """
    if self._lost is not None:
      self._refuse(self._lost)

  def release(self) -> None:
    """Gives the folder back."""
    self._done.set()
    if self._thread.is_alive():
      self._thread.join()
    with contextlib.suppress(OSError):
      if self._lost is None and self._is_own(files.read_text(self._path)):
        files.remove(self._path)

  def _keep(self):
    seconds = 1.0  # Early, in case two jobs were started at the same moment.
    while not self._done.wait(seconds):
      seconds = _RENEW_SECONDS
      with contextlib.suppress(Exception):  # Such as a full disk: the owner reports it.
        text = files.read_text(self._path)
        if text is not None and not self._is_own(text):
          self._lost = text
          return
        self._write()

  def _write(self):
    self._beats += 1
    files.write_json(self._path, {**_process(), 'token': self._token, 'beats': self._beats})

  def _is_own(self, text):
    return text is not None and _parsed(text).get('token') == self._token

  def _refuse(self, text):
    owner = _parsed(text)
    raise ValueError(
      f'--{self._flag}={self._folder} is in use by process {owner.get("pid")} on '
      f'{owner.get("host")}, started {_age(owner.get("started"))} ago: wait for it or stop it, or '
      'give another folder.'
    )


@contextlib.contextmanager
def claimed(flag: str, folder: str, beside: bool = False) -> Iterator[Claim]:
  """Claims a folder while the body runs; creates no folder.

  Args:
    flag: name of the flag that names the folder, for the message.
    folder: local or remote folder.
    beside: whether the claim is a file beside the folder, which then may be absent or replaced.

  Raises:
    ValueError: another process owns the folder.
    OSError: the folder cannot be written.
  """
  claim = Claim(flag, folder, beside)
  claim.take()
  try:
    yield claim
  finally:
    claim.release()


def _process():
  """Describes this process."""
  return {
    'host': socket.gethostname(), 'pid': os.getpid(), 'started': _STARTED, 'boot': _boot(),
    'ticks': _ticks(os.getpid()),
  }  # fmt: skip


_STARTED = datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')


def _boot():
  """Returns an identifier of the machine since it started, '' if unknown."""
  try:
    return _BOOT.read_text().strip()
  except OSError:
    return ''


def _ticks(pid):
  """Returns the time at which a process started, to tell it from a later one of the same number.

  None if there is no such process, '' if the system does not say.
  """
  if not files.process_exists(pid):
    return None
  try:
    state, *rest = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
  except (OSError, ValueError):
    return ''
  return None if state in 'ZX' else rest[18]


def _is_alive(path: str, text: str) -> bool:
  """Returns whether the owner that a claim names still runs."""
  owner, own = _parsed(text), _process()
  if owner.get('boot') and all(owner.get(name) == own[name] for name in ('boot', 'host')):
    ticks = _ticks(owner['pid']) if isinstance(owner.get('pid'), int) else None
    return ticks is not None and ticks == owner.get('ticks')
  print(
    f'{path}: the folder may be in use by process {owner.get("pid")} on {owner.get("host")}; '
    f'waiting up to {_PATIENCE_SECONDS:.0f} s for a sign of life.',
    file=sys.stderr,
    flush=True,
  )
  deadline = time.monotonic() + _PATIENCE_SECONDS
  while time.monotonic() < deadline:
    now = files.read_text(path)
    if now != text:
      return now is not None
    time.sleep(min(1.0, _PATIENCE_SECONDS / 10))
  return False


def _parsed(text: str) -> dict[str, Any]:
  try:
    content = files.parse_json(text)
  except ValueError:
    return {}
  return content if isinstance(content, dict) else {}


def _age(started):
  try:
    then = datetime.datetime.fromisoformat(started)
    seconds = (datetime.datetime.now(datetime.UTC) - then).total_seconds()
  except (TypeError, ValueError):
    return 'some time'
  if seconds < 120:
    return f'{seconds:.0f} s'
  return f'{seconds / 60:.0f} min' if seconds < 7200 else f'{seconds / 3600:.1f} h'
