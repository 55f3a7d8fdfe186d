"""A program that another library needs for itself, run step by step: the peers of the benchmarks.

TensorFlow and torch crash each other in one process.
"""
import os
import subprocess
import sys
import time


class PeerProcess:
  """Runs `python -m MODULE ARGUMENTS...`, which calls `serve`, as a context manager.

  Args:
    module: dotted name of the program.
    arguments: strings for its command line.
    mend: what to do if it cannot run, for the error.
  """

  def __init__(self, module, arguments, mend):
    self._command = [sys.executable, '-m', module, *arguments]
    self._mend = mend

  def __enter__(self):
    # Threads that wait must not burn time that would count as theirs.
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

  def run(self, what):
    """Has it do `what` once, and waits; returns its processor time in seconds."""
    self._process.stdin.write(f'{what}\n')
    self._process.stdin.flush()
    return float(self._answer('done'))

  def _answer(self, expected):
    word, _, rest = self._process.stdout.readline().strip().partition(' ')
    if word != expected:
      _, complaint = self._process.communicate()
      last = complaint.strip().splitlines()[-1:] or ['no message']
      raise ValueError(f'The peer could not be timed: {last[0]}; {self._mend}.')
    return rest


def serve(commands):
  """The other side: does `commands` {name: function} as it is told, until there are no more lines."""
  print('ready', flush=True)
  for line in sys.stdin:
    start = time.process_time()
    commands[line.strip()]()
    print(f'done {time.process_time() - start}', flush=True)
