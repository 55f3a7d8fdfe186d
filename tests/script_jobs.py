"""Runs a paper's `main.py` as its users do, in a process of its own, or in this one."""
import os
import pathlib
import subprocess
import sys
import time

from tpu_utils import checkpoints

ROOT = pathlib.Path(__file__).resolve().parents[1]
_SECONDS = 900  # For what takes half a minute: the machine may have other work.


def start(*arguments):
  """A process of this interpreter, with text output; `arguments` begin with ['-m', module] or a path."""
  return subprocess.Popen(
    [sys.executable, *arguments],
    cwd=ROOT,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(process):
  """(exit code, standard output, standard error) of a started process."""
  out, err = process.communicate(timeout=_SECONDS)
  return process.returncode, out, err


def in_process(script, *arguments):
  """Runs a `Script` in this process, with flags of its own; returns what it returns."""
  return script.call(arguments)


def wait_for(condition, process, seconds=_SECONDS):
  """Waits until `condition()`, while the process lives."""
  deadline = time.monotonic() + seconds
  while not condition():
    assert process.poll() is None, process.communicate()
    assert time.monotonic() < deadline, 'nothing happened in time'
    time.sleep(0.01)  # Short: what comes next may have to happen before the job ends.


def values_at(model_dir, step):
  """{name: array} of a checkpoint."""
  return checkpoints.read(str(model_dir / f'model.ckpt-{step}'))[0]


def user_seconds(*arguments):
  """(exit code, standard output, processor seconds of user code) of a process run to its end."""
  process = start(*arguments)
  out = process.stdout.read()
  # Not os.times(): that counts every child that happens to be reaped meanwhile.
  _, status, usage = os.wait4(process.pid, 0)
  process.returncode = os.waitstatus_to_exitcode(status)
  return process.returncode, out, usage.ru_utime
