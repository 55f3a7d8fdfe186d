"""Runs of a paper's scripts in a process of their own, as users run them, or in this one."""
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np

from tpu_utils import checkpoints

ROOT = pathlib.Path(__file__).resolve().parents[1]
_SECONDS = 900  # For jobs of half a minute: the machine may be busy.


def start(*arguments):
  """Starts a Python process with text output; `arguments` begin with '-m', module, or a path."""
  return subprocess.Popen(
    [sys.executable, *arguments],
    cwd=ROOT,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(process):
  """Waits for a process: (exit code, standard output, standard error)."""
  out, err = process.communicate(timeout=_SECONDS)
  return process.returncode, out, err


def in_process(script, *arguments):
  """Runs a `Script` in this process with flags of its own; returns its result."""
  return script.call(arguments)


def wait_for(condition, process, seconds=_SECONDS):
  """Waits until `condition()` is true; fails if the process ends or the time is over."""
  deadline = time.monotonic() + seconds
  while not condition():
    assert process.poll() is None, process.communicate()
    assert time.monotonic() < deadline, 'nothing happened in time'
    time.sleep(0.01)  # Short: the caller may have to act before the job ends.


def values_at(model_dir, step):
  """Returns {name: array} of a step's checkpoint."""
  return checkpoints.read(str(model_dir / f'model.ckpt-{step}'))[0]


def stop_and_resume(start_job, model_dir, stops, last_step):
  """Stops a job at several checkpoints and lets it end; checks what it says.

  Args:
    start_job: function() -> a process of the job.
    model_dir: its folder, a path.
    stops: (step, signal) each: the job is sent the signal when the checkpoint of the step appears.
    last_step: the job's last step, before which every signal must arrive.
  """
  for step, number in stops:
    process = start_job()
    wait_for((model_dir / f'model.ckpt-{step}.index').exists, process)
    process.send_signal(number)
    code, _, err = finish(process)
    assert code == (143 if number == signal.SIGTERM else -number), err
    if number == signal.SIGTERM:
      assert 'Stopped by SIGTERM at step' in err.splitlines()[-1]
    assert not (model_dir / f'model.ckpt-{last_step}.index').exists()
  code, out, err = finish(start_job())
  assert code == 0, err
  assert 'Resuming from step' in out


def assert_same_bits(expected_dir, found_dir, step):
  """Checks that two jobs have the same checkpoint of a step and the same results."""
  expected, found = (values_at(folder, step) for folder in (expected_dir, found_dir))
  assert expected.keys() == found.keys()
  for name in expected:
    np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
  for name in ('eval/results.jsonl', 'best_objective.txt', 'archive/checkpoint'):
    assert (found_dir / name).read_text() == (expected_dir / name).read_text(), name


def user_seconds(*arguments):
  """Runs a process: (exit code, standard output, CPU seconds of user code)."""
  process = start(*arguments)
  out = process.stdout.read()
  # Not os.times(), which counts every child that is reaped meanwhile.
  _, status, usage = os.wait4(process.pid, 0)
  process.returncode = os.waitstatus_to_exitcode(status)
  return process.returncode, out, usage.ru_utime
