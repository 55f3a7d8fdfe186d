"""Commands of the gcloud program: building, running and explaining them."""
from __future__ import annotations

import dataclasses
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

from tpu_utils.launching import failures
from tpu_utils.launching.failures import GcloudError

TPU_VM = ('compute', 'tpus', 'tpu-vm')
QUEUED = ('compute', 'tpus', 'queued-resources')
_NETWORK_TRIES = 10
_KILLED = 124  # As of `timeout`.
# A connection whose other end is gone ends within two minutes.
_KEEP_ALIVE = ('-o ServerAliveInterval=30', '-o ServerAliveCountMax=4')


def find() -> None:
  """Checks that gcloud is installed.

  Raises:
    ValueError: it is not on PATH.
  """
  if not shutil.which('gcloud'):
    raise ValueError(
      'The gcloud program is not on PATH; install the Google Cloud CLI '
      '(https://cloud.google.com/sdk/docs/install) and run: gcloud auth login. --dry_run works '
      'without it.'
    )


@dataclasses.dataclass(frozen=True)
class Result:
  """The end of a gcloud command.

  Attributes:
    code: exit code.
    output: standard output.
    error: standard error.
  """

  code: int
  output: str
  error: str


class Gcloud:
  """Builds and runs gcloud commands for one zone and project."""

  def __init__(
    self,
    zone: str,
    project: str | None = None,
    *,
    internal_ip: bool = False,
    wait_seconds: float = 30.0,
    sleep: Callable[[float], None] = time.sleep,
  ):
    self.zone = zone
    self.project = project
    self._internal_ip = internal_ip
    self._wait_seconds = wait_seconds
    self._sleep = sleep

  def command(self, group: Sequence[str], verb: str, *arguments: str) -> list[str]:
    """Returns a command that asks nothing, with --zone and --project."""
    place = [f'--zone={self.zone}', *([f'--project={self.project}'] if self.project else [])]
    return ['gcloud', *group, verb, *arguments, *place, '--quiet']

  def ssh_command(self, name: str, worker: str, words: Sequence[str]) -> list[str]:
    """Returns a command that runs a program on workers.

    Args:
      name: of the TPU VM.
      worker: index, or 'all'.
      words: the program and its arguments, quoted here for the remote shell.
    """
    flags = [f'--ssh-flag={flag}' for flag in _KEEP_ALIVE]
    return self.command(
      TPU_VM, 'ssh', name, f'--worker={worker}', f'--command={shlex.join(words)}', *flags,
      *self._inside(),
    )  # fmt: skip

  def scp_command(self, sources: Sequence[str], target: str, worker: str) -> list[str]:
    """Returns a command that copies files to or from workers."""
    return self.command(TPU_VM, 'scp', *sources, target, f'--worker={worker}', *self._inside())

  def _inside(self):
    return ['--internal-ip'] if self._internal_ip else []

  def run(
    self,
    command: Sequence[str],
    timeout: float | None = None,
    on_line: Callable[[str], None] | None = None,
  ) -> Result:
    """Runs a command.

    Args:
      command: from one of the methods above.
      timeout: seconds after which it is killed (exit code 124); None for none.
      on_line: called with each line of standard output as it comes, without its end.
    """
    process = subprocess.Popen(
      command,
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      encoding='utf-8',
      errors='replace',
    )
    assert process.stdout and process.stderr
    errors: list[str] = []
    # Both pipes must be read, or a long message would stop the process.
    reader = threading.Thread(target=errors.extend, args=(process.stderr,), daemon=True)
    reader.start()
    timer = threading.Timer(timeout, process.kill) if timeout else None
    if timer:
      timer.daemon = True
      timer.start()
    lines = []
    try:
      for line in process.stdout:
        lines.append(line)
        if on_line:
          on_line(line.rstrip('\n'))
      code = process.wait()
    except BaseException:
      process.kill()
      process.wait()
      raise
    finally:
      if timer:
        timer.cancel()
    reader.join(timeout=5)
    return Result(_KILLED if code < 0 else code, ''.join(lines), ''.join(errors))

  def failure(self, action: str, result: Result) -> failures.Failure:
    """Explains a failed command; `action` says what it was to do."""
    return failures.classify(action, result.code, result.error, self.zone, self.project)

  def call(
    self, action: str, command: Sequence[str], timeout: float | None = None
  ) -> str:
    """Runs a command, again if the network fails; returns its standard output.

    Raises:
      GcloudError: it failed otherwise, or ten times.
    """
    for attempt in range(_NETWORK_TRIES):
      result = self.run(command, timeout)
      if not result.code:
        return result.output
      failure = self.failure(action, result)
      network = failure.kind == 'network' or result.code == _KILLED
      if not network or attempt == _NETWORK_TRIES - 1:
        raise GcloudError(failure)
      self._sleep(self._wait_seconds)
    raise AssertionError
