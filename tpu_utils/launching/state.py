"""The launcher's memory of a job: one small JSON file per name, zone and project."""
from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
from collections.abc import Iterator
from typing import Any

from tpu_utils import files
from tpu_utils.launching.settings import Order

_VERSION = 1


@dataclasses.dataclass
class State:
  """What the launcher must know after a crash of its own.

  It is saved before each step that creates, starts or deletes something.

  Attributes:
    path: of the file.
    machine: whether a TPU was asked for and not deleted, so that one may exist.
    ours: whether this launcher asked for it; otherwise it was there before.
    seen: whether it was seen ready; before, it may still wait in line.
    since: time from which it may cost, Unix seconds; 0 without a TPU.
    spent: seconds of earlier TPUs of this job, which are gone.
    installed: version of the project that is installed on all workers.
    script, flags: the job.
    run: name of its current run on the workers.
    offset: byte of worker 0's log up to which it was shown.
    restarts, preemptions: counts.
    result: 'done' or 'failed' after the end; empty before.
  """

  path: str
  machine: bool = False
  ours: bool = False
  seen: bool = False
  since: float = 0.0
  spent: float = 0.0
  installed: str = ''
  script: str = ''
  flags: list[str] = dataclasses.field(default_factory=list)
  run: str = ''
  offset: int = 0
  restarts: int = 0
  preemptions: int = 0
  result: str = ''

  def save(self) -> None:
    """Writes the file, whole or not at all.

    Raises:
      OSError: it cannot be written.
    """
    content = {'version': _VERSION, **dataclasses.asdict(self)}
    del content['path']
    files.write_json(self.path, content)

  def begin(self, order: Order) -> None:
    """Forgets the job that ended, not the TPU, for the job of an order."""
    self.script, self.flags = order.script, list(order.flags)
    self.run, self.offset, self.result = '', 0, ''
    self.restarts = self.preemptions = 0
    self.spent = 0.0

  def machine_gone(self, now: float) -> None:
    """Notes that the TPU is gone."""
    self.spent = self.seconds(now)
    self.machine = self.ours = self.seen = False
    self.since, self.installed, self.run, self.offset = 0.0, '', '', 0

  def seconds(self, now: float) -> float:
    """Returns the seconds of all TPUs of this job."""
    return self.spent + (now - self.since if self.seen else 0.0)


def path_of(order: Order) -> str:
  """Returns the path of an order's state file."""
  tpu = order.tpu
  folder = order.how.state_dir or os.path.join(os.path.expanduser('~'), '.tpu_launch')
  place = f'{tpu.project or "default"}.{tpu.zone}.{tpu.name}'.replace(':', '_')
  return os.path.join(folder, f'{place}.json')


def load(path: str) -> State:
  """Reads a state file; a missing one is that of a job that never began.

  Raises:
    ValueError: the file is damaged, or of another version.
    OSError: it cannot be read.
  """
  if not files.exists(path):
    return State(path)
  content = files.read_json(path)
  known = {field.name: field for field in dataclasses.fields(State) if field.name != 'path'}
  version = content.pop('version', None)
  if version != _VERSION or not all(_fits(content.get(name), known[name]) for name in known):
    raise ValueError(
      f'{path}: expected the memory of tpu_utils.launch, version {_VERSION}, found version '
      f'{version} or damaged values; see what runs with `gcloud compute tpus tpu-vm list`, then '
      'remove the file.'
    )
  return State(path, **{name: content[name] for name in known})


def _fits(value: Any, field: dataclasses.Field) -> bool:
  if field.type == 'list[str]':
    return isinstance(value, list) and all(isinstance(text, str) for text in value)
  kinds = {'bool': (bool,), 'float': (int, float), 'int': (int,), 'str': (str,)}
  return isinstance(value, kinds[str(field.type)])


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
  """Holds the lock of a state file: one launcher per job.

  Raises:
    ValueError: another launcher holds it.
    OSError: the folder cannot be written.
  """
  os.makedirs(os.path.dirname(path), exist_ok=True)
  with open(f'{path}.lock', 'a', encoding='utf-8') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise ValueError(
        f'{path}: another launcher on this machine follows this job; wait for it, or stop it with '
        'Ctrl-C (the job goes on).'
      ) from None
    yield
