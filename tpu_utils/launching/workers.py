"""Work on a TPU's hosts through the agent: copying, starting, following and stopping tasks."""
from __future__ import annotations

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Sequence

from tpu_utils.launching.failures import Failure
from tpu_utils.launching.gcloud import Gcloud, Result
from tpu_utils.launching.machine import READY, Machine
from tpu_utils.launching.package import Package

AGENT = str(pathlib.Path(__file__).with_name('agent.py'))
RUNNING, LOST, ABSENT = 'running', 'lost', 'absent'
# Failures of a connection that are not the connection's.
_FINAL = ('not_logged_in', 'ssh_agent', 'permission', 'usage', 'api_disabled', 'billing')
_STOP_SECONDS = 120  # For a last checkpoint.
_SPARE_SECONDS = 300  # gcloud itself tries a connection ten times.


class MachineGone(Exception):  # noqa: N818 - not an error: the job resumes on another TPU.
  """Raised when the TPU was taken away."""


class Unreachable(ValueError):  # noqa: N818 - read as a state, as `MachineGone`.
  """Raised when the workers of a TPU that is ready cannot be reached."""


@dataclasses.dataclass(frozen=True)
class Status:
  """A task on a worker.

  Attributes:
    host: name of the host.
    state: 'running', 'exit:CODE', 'lost' or 'absent'; see agent.py.
  """

  host: str
  state: str

  @property
  def code(self) -> int | None:
    """The exit code of a task that ended."""
    kind, _, code = self.state.partition(':')
    return int(code) if kind == 'exit' else None


class Workers:
  """The hosts of a TPU.

  Attributes:
    which: 'all' or '0', the hosts that run tasks.
    count: their number.
  """

  def __init__(
    self,
    cloud: Gcloud,
    machine: Machine,
    *,
    first_only: bool,
    hosts: int,
    attempts: int,
    pause: Callable[[], None],
    say: Callable[[str], None],
  ):
    self._cloud = cloud
    self._machine = machine
    self._attempts = attempts
    self._pause = pause
    self._say = say
    self.which = '0' if first_only or hosts == 1 else 'all'
    self.count = 1 if self.which == '0' else hosts

  # ---- Commands

  @property
  def title(self) -> str:
    """'one host' or 'N hosts', for messages."""
    return 'one host' if self.count == 1 else f'{self.count} hosts'

  @property
  def folder(self) -> str:
    """Folder on the hosts, relative to the home folder."""
    return f'tpu_launch/{self._machine.name}'

  def agent_command(self, worker: str, *words: str) -> list[str]:
    """Returns the gcloud command that runs the agent on workers."""
    program = ['python3', f'{self.folder}/agent.py', *words]
    return self._cloud.ssh_command(self._machine.name, worker, program)

  def copy_commands(self, package: Package) -> list[list[str]]:
    """Returns the gcloud commands that copy the agent and the project to the workers."""
    name, target = self._machine.name, f'{self._machine.name}:{self.folder}/'
    return [
      self._cloud.ssh_command(name, self.which, ['mkdir', '-p', self.folder]),
      self._cloud.scp_command([AGENT, package.path, package.requirements], target, self.which),
    ]

  def install_words(self, package: Package) -> list[str]:
    """Returns the command that installs the project on a worker."""
    kind = 'archive' if package.command else 'package'
    names = [os.path.basename(path) for path in (package.path, package.requirements)]
    return ['python3', '-u', '../agent.py', 'install', package.version or 'VERSION', kind, *names]

  def fetch_command(self, worker: int, name: str, target: str) -> list[str]:
    """Returns the gcloud command that copies a file of the agent's folder from a worker."""
    source = f'{self._machine.name}:{self.folder}/{name}'
    return self._cloud.scp_command([source], target, str(worker))

  # ---- What they do

  def copy(self, package: Package) -> None:
    """Copies the agent and the project to the workers.

    Raises:
      MachineGone: the TPU was taken away.
      Unreachable: the workers cannot be reached.
    """
    action = f'Copying to the {self._machine.title}'
    for command in self.copy_commands(package):
      self._insist(action, command, lambda result: result.code == 0)

  def start(self, task: str, run: str, command: Sequence[str]) -> list[Status]:
    """Starts a command on the workers, once per run; raises as `copy`."""
    return self.ask('Starting the job', 'start', task, run, *command)

  def status(self, task: str, run: str) -> list[Status]:
    """Returns the states of a run on the workers; raises as `copy`."""
    return self.ask('Asking for the state of the job', 'status', task, run)

  def stop(self, task: str, run: str) -> list[Status]:
    """Ends a run on the workers; raises as `copy`."""
    return self.ask('Stopping the job', 'stop', task, run, str(_STOP_SECONDS))

  def ask(self, action: str, *words: str) -> list[Status]:
    """Runs the agent on the workers until each has answered; raises as `copy`."""
    result = self._insist(
      action,
      self.agent_command(self.which, *words),
      lambda result: len(_statuses(result.output)) >= self.count,
    )
    return _statuses(result.output)

  def lines(self, action: str, worker: int, *words: str) -> list[str]:
    """Runs the agent on a worker; returns the lines that it printed. Raises as `copy`."""
    command = self.agent_command(str(worker), *words)
    result = self._insist(action, command, lambda result: bool(_statuses(result.output)))
    return [text for *_, text in map(_line, result.output.splitlines()) if text is not None]

  def fetch(self, worker: int, name: str, target: str) -> None:
    """Copies a file of the agent's folder from a worker; raises as `copy`."""
    command = self.fetch_command(worker, name, target)
    self._insist(f'Copying {name} from worker {worker}', command, lambda result: result.code == 0)

  def follow(
    self, task: str, run: str, offset: int, seconds: float, show: Callable[[str, int], None]
  ) -> Status:
    """Shows the log of worker 0 until the task ends there or the time is over.

    A dropped connection is made again. gcloud itself repeats a command whose connection dropped, so
    lines carry their position, and those that were shown are left out.

    Args:
      task: name of the task.
      run: name of its run.
      offset: byte of the log to begin at.
      seconds: time after which a status is wanted.
      show: called with each line and the byte after it.

    Raises:
      MachineGone, Unreachable: as `copy`.
    """
    position = offset

    def on_line(line):
      nonlocal position
      start, end, text = _line(line)
      if text is not None and start >= position:
        position = end
        show(text, position)

    failures = 0
    while True:
      before = position
      command = self.agent_command('0', 'follow', task, run, str(position), f'{seconds:g}')
      result = self._cloud.run(command, seconds + _SPARE_SECONDS, on_line)
      statuses = _statuses(result.output)
      if statuses:
        return statuses[-1]
      failures = 1 if position > before else failures + 1
      self._bear('Following the log', result, failures)

  def _insist(self, action: str, command: list[str], good: Callable[[Result], bool]) -> Result:
    """Runs a command until its result is good."""
    failures = 0
    while True:
      result = self._cloud.run(command, _SPARE_SECONDS * 4)
      if good(result):
        return result
      failures += 1
      self._bear(action, result, failures)

  def _bear(self, action: str, result: Result, failures: int) -> None:
    """Waits after a failed connection, or raises if another one would fail, too."""
    failure = self._cloud.failure(action, result)
    if failure.kind in _FINAL:
      raise Unreachable(failure.message)
    found = self._machine.find()
    if found.state != READY:
      raise MachineGone(f'The {self._machine.title} is {found.named}.')
    if failures >= self._attempts:
      raise Unreachable(self._unreachable(failure, failures))
    if failures == 1:
      self._say(f'The connection to the {self._machine.title} was lost; the job goes on. Trying '
                'again.')
    self._pause()

  def _unreachable(self, failure: Failure, failures: int) -> str:
    return (
      f'{failure.message.rstrip(".")}. The {self._machine.title} is READY, and {failures} attempts '
      'to reach its workers failed; run the same command again to go on, or delete the TPU.'
    )


def _statuses(output: str) -> list[Status]:
  """Returns the statuses in the agent's output, one per worker."""
  rows = [line.split() for line in output.splitlines() if line.startswith('@launch ')]
  # A repeated command answers again.
  return list({row[1]: Status(row[1], row[2]) for row in rows if len(row) == 4}.values())


def _line(line: str) -> tuple[int, int, str | None]:
  """Returns (start, end, text) of a line of the log, (0, 0, None) of others."""
  found = re.match(r'\+(\d+):(\d+) (.*)', line, re.DOTALL)
  return (int(found[1]), int(found[2]), found[3]) if found else (0, 0, None)
