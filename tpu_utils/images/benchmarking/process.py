"""A contestant in its own process, which is stopped while others have their turn.

Inputs prefetch in the background: in a shared process that work would count for another contestant.
Also, TensorFlow and torch crash in one process. This module imports neither.
"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any


class Contestant:
  """Context manager that runs `python -m module` with settings as a JSON argument.

  Args:
    module: module that calls `serve` when it is run.
    settings: JSON-able dict.

  Raises:
    ValueError: the process ended; from `with` and from `run`.
  """

  def __init__(self, module: str, settings: Mapping[str, Any]):
    self._command = [sys.executable, '-m', module, json.dumps(settings)]

  def __enter__(self):
    self._stderr = tempfile.TemporaryFile('w+')
    self._process = subprocess.Popen(
      self._command,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._stderr,
      text=True,
      env={'TF_CPP_MIN_LOG_LEVEL': '2', **os.environ},
    )
    try:
      self._answer()
    except BaseException:
      self.__exit__()
      raise
    return self

  def __exit__(self, *_):
    self._process.kill()
    self._process.communicate()
    self._stderr.close()

  def run(self, batches: int) -> float:
    """Makes `batches` batches; returns the process's seconds of processor time since the last call.

    Raises:
      ValueError: the process ended; has the last line of its error output.
    """
    self._process.send_signal(signal.SIGCONT)
    try:
      self._process.stdin.write(f'{batches}\n')
      self._process.stdin.flush()
    except BrokenPipeError:
      pass  # The process has ended; `_answer` raises the cause.
    return self._answer()

  def _answer(self):
    answer = self._process.stdout.readline()
    if not answer:
      self._process.wait()
      self._stderr.seek(0)
      last = self._stderr.read().strip().splitlines()[-1:] or ['no message']
      raise ValueError(f'{" ".join(self._command[1:3])} ended with: {last[0]}')
    self._process.send_signal(signal.SIGSTOP)
    return float(answer)


def serve(batches: Iterator[Any]) -> None:
  """Runs in the contestant's process: answers each `Contestant.run` with its processor time.

  Args:
    batches: endless iterator. The first batch is taken before the first answer, so that no turn
      includes work that is done once (tracing functions, filling the first buffers).
  """
  next(batches)
  last_time = _print_time_since(0.0)
  for line in sys.stdin:
    for _ in range(int(line)):
      next(batches)
    last_time = _print_time_since(last_time)


def _print_time_since(last_time):
  """Prints the processor time since `last_time` in seconds; returns the current one."""
  now = time.process_time()
  print(now - last_time, flush=True)
  return now
