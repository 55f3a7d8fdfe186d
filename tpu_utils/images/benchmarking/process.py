"""A contestant in a process of its own, which stands still while others have their turn.

An input works ahead: in one process, what one contestant prepares behind the scenes would be charged to the
next. And TensorFlow and torch crash each other in one process. This module imports neither.
"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time


class Contestant:
  """Runs `python -m module` with settings as JSON; to be used in a `with` statement.

  Args:
    module: one that ends in `serve`.
    settings: JSON-able dict.
  """

  def __init__(self, module, settings):
    self._command = [sys.executable, '-m', module, json.dumps(settings)]

  def __enter__(self):
    self._complaints = tempfile.TemporaryFile('w+')
    self._process = subprocess.Popen(
      self._command,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._complaints,
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
    self._complaints.close()

  def run(self, batches):
    """Has it make so many batches; returns the seconds of processor time since the last answer."""
    self._process.send_signal(signal.SIGCONT)
    try:
      self._process.stdin.write(f'{batches}\n')
      self._process.stdin.flush()
    except BrokenPipeError:
      pass  # It has died; `_answer` says of what.
    return self._answer()

  def _answer(self):
    answer = self._process.stdout.readline()
    if not answer:
      self._process.wait()
      self._complaints.seek(0)
      last = self._complaints.read().strip().splitlines()[-1:] or ['no message']
      raise ValueError(f'{" ".join(self._command[1:3])} ended with: {last[0]}')
    self._process.send_signal(signal.SIGSTOP)
    return float(answer)


def serve(batches):
  """The other end: takes as many batches from an endless iterator as each line of the input says.

  Args:
    batches: iterator; the first batch is taken before the first answer, so that what is made once
      (functions, the first buffers) is not part of any turn.
  """
  next(batches)
  counted = _answer_with_time_since(0.0)
  for line in sys.stdin:
    for _ in range(int(line)):
      next(batches)
    counted = _answer_with_time_since(counted)


def _answer_with_time_since(counted):
  now = time.process_time()
  print(now - counted, flush=True)
  return now
