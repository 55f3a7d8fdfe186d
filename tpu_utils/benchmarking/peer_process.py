"""Runs the libraries that benchmarks compare in separate processes, one command at a time.

TensorFlow and torch crash when loaded into one process, and idle threads of one library would
disturb another: a process is stopped while others have their turn. This module imports none.
"""
import contextlib
import ctypes
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

_PR_SET_PDEATHSIG = 1  # Of <linux/prctl.h>.
_ENVIRONMENT = {
  # Passive: waiting threads must not use processor time, which would be counted.
  'OMP_WAIT_POLICY': 'passive',
  'TF_CPP_MIN_LOG_LEVEL': '3',
  # Helper processes that compile in advance would go on during the turns of others.
  'TORCHINDUCTOR_COMPILE_THREADS': '1',
}


class Cost(NamedTuple):
  """The cost of running a command once.

  Attributes:
    wall: elapsed seconds.
    processor: seconds of processor time of all threads.
    memory: bytes, the most that the process has used so far.
  """

  wall: float
  processor: float
  memory: int


class PeerProcess:
  """A context manager that runs `python -m MODULE ARGUMENTS...`, a program that calls `serve`.

  Args:
    module: dotted name of the program.
    arguments: its command-line arguments.
    remedy: advice for the error message if it cannot run.
    python: the Python interpreter to run it; None for the current one.

  Raises:
    ValueError: on entering, the program cannot run.
  """

  def __init__(
    self, module: str, arguments: Sequence[str], remedy: str, python: str | None = None
  ):
    self._command = [python or sys.executable, '-m', module, *arguments]
    self._remedy = remedy
    self._process: Any = None  # Of `subprocess.Popen`.

  def start(self) -> None:
    """Starts the program without waiting for it; entering waits."""
    self._stderr = tempfile.TemporaryFile('w+')  # noqa: SIM115 - `__exit__` closes it.
    self._process = subprocess.Popen(
      self._command,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._stderr,
      text=True,
      env={**_ENVIRONMENT, **os.environ},
    )

  def __enter__(self):
    if self._process is None:
      self.start()
    try:
      self._answer('ready')
    except BaseException:
      self.__exit__()
      raise
    return self

  def __exit__(self, *_):
    self._process.send_signal(signal.SIGCONT)
    with contextlib.suppress(BrokenPipeError):  # It has ended.
      self._process.stdin.close()
    self._process.wait()
    self._process.stdout.close()
    self._stderr.close()

  def run(self, command: str) -> float:
    """Runs a command of `serve` once and waits; returns its processor time in seconds.

    Raises:
      ValueError: the program failed.
    """
    return self.measure(command).processor

  def measure(self, command: str, repeat: int = 1) -> Cost:
    """Runs a command of `serve` and waits; returns the mean cost.

    Args:
      command: its name.
      repeat: how often to run it.

    Raises:
      ValueError: the program failed.
    """
    self._process.send_signal(signal.SIGCONT)
    with contextlib.suppress(BrokenPipeError):  # It has ended; `_answer` raises the cause.
      self._process.stdin.write(f'{repeat} {command}\n')
      self._process.stdin.flush()
    wall, processor, memory = self._answer('done').split()
    return Cost(float(wall) / repeat, float(processor) / repeat, int(memory))

  def _answer(self, expected):
    """Waits for the next answer, stops the process and returns the rest of the answer."""
    while line := self._process.stdout.readline():
      word, _, rest = line.strip().partition(' ')
      if word == expected:  # Libraries print other lines.
        self._process.send_signal(signal.SIGSTOP)
        return rest
    self._process.wait()
    self._stderr.seek(0)
    last = self._stderr.read().strip().splitlines()[-1:] or ['no message']
    raise ValueError(f'The peer could not be timed: {last[0]}; {self._remedy}.')


def serve(commands: Mapping[str, Callable[[], object]]) -> None:
  """Runs commands by the names that `PeerProcess` sends, until standard input ends.

  Args:
    commands: {name: function without arguments that returns when its work is done}.
  """
  _die_with_parent()
  print('ready', flush=True)
  for line in sys.stdin:
    repeat, _, name = line.strip().partition(' ')
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(int(repeat)):
      commands[name]()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(f'done {wall} {processor} {_peak_memory()}', flush=True)


def _die_with_parent():
  """Has Linux end this process when its parent ends: stopped, it would not notice."""
  with contextlib.suppress(AttributeError, OSError):
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _peak_memory():
  """Returns the largest resident size of this process so far, in bytes."""
  status = pathlib.Path('/proc/self/status')
  if status.exists():  # `getrusage` counts the parent's, too, from before this program began.
    (line,) = (line for line in status.read_text().splitlines() if line.startswith('VmHWM:'))
    return int(line.split()[1]) * 1024
  unit = 1 if sys.platform == 'darwin' else 1024
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def missing_packages(packages: Sequence[str], python: str | None = None) -> list[str]:
  """Returns those of some packages that a Python interpreter cannot import.

  Args:
    packages: names of modules.
    python: the interpreter; None for the current one.

  Raises:
    ValueError: there is no such interpreter.
  """
  program = (
    'import importlib.util, sys; '
    'print(*(name for name in sys.argv[1:] if not importlib.util.find_spec(name)))'
  )
  command = [python or sys.executable, '-c', program, *packages]
  try:
    found = subprocess.run(command, capture_output=True, text=True, check=True)
  except (OSError, subprocess.CalledProcessError) as error:
    raise ValueError(
      f'--torch_python={python}: expected a Python interpreter, found nothing that runs ({error}).'
    ) from None
  return found.stdout.split()
