"""Runs the libraries that benchmarks compare with in a separate process, one command at a time.

TensorFlow and torch crash when loaded into one process.
"""
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence


class PeerProcess:
  """A context manager that runs `python -m MODULE ARGUMENTS...`, a program that calls `serve`.

  Args:
    module: dotted name of the program.
    arguments: its command-line arguments.
    remedy: advice for the error message if it cannot run.

  Raises:
    ValueError: on entering, the program cannot run.
  """

  def __init__(self, module: str, arguments: Sequence[str], remedy: str):
    self._command = [sys.executable, '-m', module, *arguments]
    self._remedy = remedy

  def __enter__(self):
    # Passive: waiting threads must not use processor time, which would be counted.
    env = {'OMP_WAIT_POLICY': 'passive', **os.environ}
    self._process = subprocess.Popen(
      self._command,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      env=env,
    )
    self._answer('ready')
    return self

  def __exit__(self, *_):
    self._process.communicate()

  def run(self, command: str) -> float:
    """Runs a command of `serve` once and waits; returns its processor time in seconds.

    Raises:
      ValueError: the program failed.
    """
    self._process.stdin.write(f'{command}\n')
    self._process.stdin.flush()
    return float(self._answer('done'))

  def _answer(self, expected):
    word, _, rest = self._process.stdout.readline().strip().partition(' ')
    if word != expected:
      _, complaint = self._process.communicate()
      last = complaint.strip().splitlines()[-1:] or ['no message']
      raise ValueError(f'The peer could not be timed: {last[0]}; {self._remedy}.')
    return rest


def serve(commands: Mapping[str, Callable[[], object]]) -> None:
  """Runs commands by the names that `PeerProcess.run` sends, until standard input ends.

  Args:
    commands: {name: function without arguments}.
  """
  print('ready', flush=True)
  for line in sys.stdin:
    start = time.process_time()
    commands[line.strip()]()
    print(f'done {time.process_time() - start}', flush=True)
