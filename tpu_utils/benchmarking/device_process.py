"""Programs that hold the contestants of a benchmark on a GPU or TPU, one library in each.

A program prepares its work, which can take minutes of compilation, and says when it is ready; so
several can prepare at the same time and be timed alone afterwards. It times itself: with a device
that works asynchronously, only the program knows when its work is done.
"""
import json
import os
import re
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO


class DeviceProcess:
  """Runs `python -m MODULE JSON`, a program that calls `serve`.

  Attributes:
    name: a name for messages.
    facts: what the program said about itself when it was ready; None before that.
    problem: why the program cannot be used, in one line; '' if it can.
  """

  def __init__(
    self, name: str, module: str, task: Mapping[str, Any], python: str = '', folder: str = '.'
  ):
    """Keeps what `start` needs.

    Args:
      name: see the class; also the name of the log.
      module: dotted name of the program.
      task: JSON-able argument of the program.
      python: the Python to run it with; '' for the running one.
      folder: folder for its log, named after `name`, which has everything that the program prints.
    """
    self.name = name
    self.facts: dict[str, Any] | None = None
    self.problem = ''
    self._command = [python or sys.executable, '-m', module, json.dumps(dict(task))]
    self._log = os.path.join(folder, re.sub(r'[^\w.]+', '-', name) + '.log')
    self._process: subprocess.Popen | None = None
    self._buffer = b''

  def start(self) -> None:
    """Starts the program; `wait` waits until it is ready."""
    with open(self._log, 'w', encoding='utf-8') as log:
      self._process = subprocess.Popen(
        self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
      )

  @property
  def is_started(self) -> bool:
    """Whether `start` was called."""
    return self._process is not None

  def wait(self, seconds: float) -> bool:
    """Waits until the program is ready or has failed; returns whether either is the case."""
    if self.facts is None and not self.problem:
      answer = self._answer(seconds)
      if answer is not None:
        self.facts = answer
    return self.facts is not None or bool(self.problem)

  def run(self, command: str, steps: int, seconds: float = 300.0) -> dict[str, float]:
    """Runs `steps` steps of a work of `serve` and waits for the end of the last.

    Args:
      command: name of the work.
      steps: number of steps.
      seconds: most time to wait.

    Returns:
      {'seconds': time of all steps, and what the work returned}.

    Raises:
      ValueError: the program failed, or took longer; it is stopped.
    """
    assert self._process is not None and self._process.stdin is not None
    if not self.problem:
      try:
        self._process.stdin.write(json.dumps([command, steps]).encode() + b'\n')
        self._process.stdin.flush()
      except BrokenPipeError:
        self._fail()
    answer = None if self.problem else self._answer(seconds)
    if answer is None:
      self.close(self.problem or f'{command} was not done after {seconds:.0f} seconds')
      raise ValueError(f'{self.name} could not be timed: {self.problem}; {self._log} says more.')
    return answer

  def close(self, problem: str = '') -> None:
    """Ends the program; `problem` is the reason if it could not be used."""
    self.problem = self.problem or problem
    if self._process is None:
      return
    if self.problem:
      self._process.kill()
    self._process.communicate()

  def _answer(self, seconds):
    """Returns the next answer; None after `seconds`, or with `problem` after a failure."""
    assert self._process is not None and self._process.stdout is not None
    end = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
      selector.register(self._process.stdout, selectors.EVENT_READ)
      while b'\n' not in self._buffer:
        if not selector.select(max(0.0, end - time.monotonic())):
          return None
        chunk = os.read(self._process.stdout.fileno(), 65536)
        if not chunk:
          self._fail()
          return None
        self._buffer += chunk
    line, _, self._buffer = self._buffer.partition(b'\n')
    return json.loads(line)

  def _fail(self):
    """Takes the last line of the log as the problem."""
    with open(self._log, encoding='utf-8', errors='replace') as log:
      lines = [line.strip() for line in log if line.strip()]
    self.problem = lines[-1][:300] if lines else 'it ended without a message'


def prepare(
  processes: Sequence[DeviceProcess],
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
  end = time.monotonic() + seconds
  begin = time.monotonic()
  waiting = list(processes)
  running: list[DeviceProcess] = []
  while (waiting or running) and time.monotonic() < end:
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


def protocol() -> TextIO:
  """Returns the stream of a program's answers; what others print goes to standard error instead.

  Call it before importing libraries, which print at will.
  """
  stream = os.fdopen(os.dup(sys.stdout.fileno()), 'w')
  os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
  return stream


def serve(
  stream: TextIO,
  works: Mapping[str, Callable[[int], Mapping[str, float] | None]],
  facts: Mapping[str, Any],
) -> None:
  """Runs works by the names that `DeviceProcess.run` sends, until standard input ends.

  Args:
    stream: of `protocol`.
    works: {name: function(steps) that returns when all steps are done, with numbers to report}.
    facts: JSON-able dict for `DeviceProcess.facts`.
  """
  print(json.dumps(dict(facts)), file=stream, flush=True)
  for line in sys.stdin:
    name, steps = json.loads(line)
    begin = time.perf_counter()
    numbers = works[name](steps)
    seconds = time.perf_counter() - begin
    print(json.dumps({'seconds': seconds, **(numbers or {})}), file=stream, flush=True)
