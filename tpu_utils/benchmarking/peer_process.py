"""Runs the libraries that benchmarks compare in separate processes, one command at a time.

TensorFlow and torch crash when loaded into one process, and idle threads of one library would
disturb another: on a CPU a process is stopped while others have their turn. Programs on a GPU or
TPU can compile at the same time (`prepare`) and are timed alone afterwards. Each program times
itself: where a device works asynchronously, it alone knows when its work is done.

A program answers on a pipe of its own, so that output of libraries does not disturb; that goes to
its log. This module imports no library.
"""
import contextlib
import ctypes
import json
import os
import pathlib
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, NamedTuple, TextIO

_PR_SET_PDEATHSIG = 1  # Of <linux/prctl.h>.
_ANSWERS = 'BENCHMARK_ANSWERS'  # Environment variable: descriptor of the pipe for answers.
_SHARED_CORES = {
  # Passive: waiting threads must not use processor time, which would be counted.
  'OMP_WAIT_POLICY': 'passive',
  'TF_CPP_MIN_LOG_LEVEL': '3',
  # Helper processes that compile in advance would go on during the turns of others.
  'TORCHINDUCTOR_COMPILE_THREADS': '1',
}
_LONGEST_PROBLEM = 300  # Characters.


class Cost(NamedTuple):
  """The cost of running a command once.

  Attributes:
    wall: elapsed seconds.
    processor: seconds of processor time of all threads.
    memory: bytes, the most that the process has used so far.
    numbers: numbers that the command reported for its last run, {name: number}.
  """

  wall: float
  processor: float
  memory: int
  numbers: Mapping[str, Any] = types.MappingProxyType({})


class PeerProcess:
  """Runs `python -m MODULE ARGUMENTS...`, a program that calls `serve` or `serve_steps`.

  As a context manager it starts the program, waits until it is ready, and ends it.

  Attributes:
    name: its name in messages.
    facts: facts that the program reported when it was ready; None before that.
    problem: why the program cannot be used, in one line; '' if it can.
  """

  def __init__(
    self,
    module: str,
    arguments: Sequence[str],
    remedy: str,
    python: str | None = None,
    *,
    name: str = 'The peer',
    log: str = '',
    shares_cores: bool = True,
    answer_seconds: float | None = None,
  ):
    """Keeps the arguments for `start`.

    Args:
      module: dotted name of the program.
      arguments: its command-line arguments.
      remedy: advice for the error message if it cannot run.
      python: the Python interpreter to run it; None for the current one.
      name: see the class.
      log: local file for everything that the program prints; '' for a temporary one.
      shares_cores: whether it computes on the cores of other contestants: then it is stopped
        between commands, and its idle threads do not spin.
      answer_seconds: most time to wait for a command; None for any time.
    """
    self.name = name
    self.facts: dict[str, Any] | None = None
    self.problem = ''
    self._command = [python or sys.executable, '-m', module, *arguments]
    self._remedy, self._log_path = remedy, log
    self._shares_cores, self._answer_seconds = shares_cores, answer_seconds
    self._process: Any = None  # Of `subprocess.Popen`.
    self._buffer = b''

  def start(self) -> None:
    """Starts the program without waiting for it; `wait` and entering wait.

    Raises:
      OSError: there is no such interpreter.
    """
    options: dict[str, Any] = {'mode': 'w+', 'encoding': 'utf-8', 'errors': 'replace'}
    self._log: IO[str] = (  # `close` closes it.
      open(self._log_path, **options)  # noqa: SIM115
      if self._log_path
      else tempfile.TemporaryFile(**options)  # noqa: SIM115
    )
    read, write = os.pipe()
    self._answers = open(read, 'rb', buffering=0)  # noqa: SIM115 - `close` closes both.
    environment = _SHARED_CORES if self._shares_cores else {}
    try:
      self._process = subprocess.Popen(
        self._command,
        stdin=subprocess.PIPE,
        stdout=self._log,
        stderr=self._log,
        text=True,
        env={**environment, **os.environ, _ANSWERS: str(write)},
        pass_fds=[write],
      )
    finally:
      os.close(write)  # The program has its own copy: when that is closed, it has ended.

  @property
  def is_started(self) -> bool:
    """Whether `start` was called."""
    return self._process is not None

  def wait(self, seconds: float | None = None) -> bool:
    """Waits until the program is ready or has failed; returns whether either is the case.

    Args:
      seconds: most time to wait; None for any time.
    """
    if self.facts is None and not self.problem:
      self.facts = self._answer(seconds)
    return self.facts is not None or bool(self.problem)

  def __enter__(self):
    """Starts the program, unless `start` did, and waits until it is ready.

    Raises:
      ValueError: it cannot run.
    """
    if self._process is None:
      self.start()
    try:
      self.wait()
      if self.problem:
        raise self._error()
    except BaseException:
      self.close()
      raise
    return self

  def __exit__(self, *_):
    self.close()

  def close(self, problem: str = '') -> None:
    """Ends the program; `problem` is the reason if it cannot be used, and is kept."""
    self.problem = self.problem or problem
    if self._process is None or self._log.closed:
      return
    self._process.send_signal(signal.SIGCONT)
    if self.problem:
      self._process.kill()
    with contextlib.suppress(BrokenPipeError):  # It has ended.
      self._process.stdin.close()
    self._process.wait()
    self._answers.close()
    self._log.close()

  def measure(self, command: str, repeat: int = 1) -> Cost:
    """Runs a command and waits; returns the mean cost.

    Args:
      command: its name.
      repeat: how often to run it.

    Raises:
      ValueError: the program failed, or took too long; it is ended.
    """
    answer = None if self.problem else self._ask(command, repeat)
    if answer is None:
      self.close(f'{command} was not done after {self._answer_seconds or 0:.0f} seconds')
      raise self._error()
    wall, processor, memory, numbers = answer
    return Cost(wall / repeat, processor / repeat, memory, numbers)

  def _ask(self, command, repeat):
    self._process.send_signal(signal.SIGCONT)
    with contextlib.suppress(BrokenPipeError):  # It has ended; `_answer` finds the cause.
      self._process.stdin.write(json.dumps([command, repeat]) + '\n')
      self._process.stdin.flush()
    return self._answer(self._answer_seconds)

  def _answer(self, seconds):
    """Returns the next answer; None after `seconds`, or with `problem` if the program ended."""
    end = None if seconds is None else time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
      selector.register(self._answers, selectors.EVENT_READ)
      while b'\n' not in self._buffer:
        if not selector.select(None if end is None else max(0.0, end - time.monotonic())):
          return None
        chunk = self._answers.read(65536)
        if not chunk:
          self.problem = self._last_line()
          return None
        self._buffer += chunk
    line, _, self._buffer = self._buffer.partition(b'\n')
    if self._shares_cores:
      self._process.send_signal(signal.SIGSTOP)
    return json.loads(line)

  def _last_line(self):
    """Returns why the program ended: a signal, or the last line that it printed."""
    ended_by = -self._process.wait()
    if ended_by == signal.SIGKILL:
      return 'it was killed, probably for want of memory'
    self._log.seek(0)
    lines = [line.strip() for line in self._log if line.strip()]
    return lines[-1][:_LONGEST_PROBLEM] if lines else 'it ended without a message'

  def _error(self):
    return ValueError(f'{self.name} could not be timed: {self.problem}; {self._remedy}.')


def prepare(
  processes: Sequence[PeerProcess],
  at_once: int,
  seconds: float,
  report: Callable[[str], None] = print,
) -> None:
  """Starts programs and waits until each is ready or has a `problem`.

  Args:
    processes: the programs, the most important first.
    at_once: how many prepare at the same time.
    seconds: most time for all; a program that is not ready then gets a `problem` and is ended.
    report: gets a line about each.
  """
  begin = time.monotonic()
  waiting = list(processes)
  running: list[PeerProcess] = []
  while (waiting or running) and time.monotonic() < begin + seconds:
    while waiting and len(running) < at_once:
      running.append(waiting.pop(0))
      running[-1].start()
    for process in list(running):
      if process.wait(0.2):
        running.remove(process)
        state = process.problem or 'ready'
        report(f'{process.name}: {state} after {time.monotonic() - begin:.0f} s')
  for process in (*running, *waiting):
    process.close(f'not ready after {seconds:.0f} s')
    report(f'{process.name}: {process.problem}')


def serve(commands: Mapping[str, Callable[[], object]]) -> None:
  """Runs commands by the names that `PeerProcess` sends, until standard input ends.

  Args:
    commands: {name: function without arguments that returns when its work is done}.
  """

  def repeated(command):
    def work(steps):
      for _ in range(steps):
        command()

    return work

  serve_steps({name: repeated(command) for name, command in commands.items()})


def serve_steps(
  works: Mapping[str, Callable[[int], Mapping[str, Any] | None]],
  facts: Mapping[str, Any] | None = None,
) -> None:
  """Runs works by the names that `PeerProcess` sends, until standard input ends.

  Args:
    works: {name: function(steps) that returns when all steps are done, with numbers to report}.
    facts: JSON-able dict for `PeerProcess.facts`.
  """
  _die_with_parent()
  stream = _answers()
  print(json.dumps(dict(facts or {})), file=stream, flush=True)
  for line in sys.stdin:
    name, steps = json.loads(line)
    wall, processor = time.perf_counter(), time.process_time()
    numbers = works[name](steps)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    answer = [wall, processor, _peak_memory(), dict(numbers or {})]
    print(json.dumps(answer), file=stream, flush=True)


def _answers() -> TextIO:
  """Returns the stream to the parent; standard output for a program that a person started."""
  if _ANSWERS not in os.environ:
    return sys.stdout
  number = int(os.environ[_ANSWERS])
  os.set_inheritable(number, False)  # Left to processes that outlive this one, it would not end.
  return os.fdopen(number, 'w')


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
