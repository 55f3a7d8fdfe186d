"""SIGTERM and Ctrl-C within the context, and the use in other threads."""
import os
import signal
import threading

import pytest

from tests import script_jobs
from tpu_utils.command_line.interruption import Interruption


@pytest.mark.parametrize(
  'number, name', [(signal.SIGTERM, 'SIGTERM'), (signal.SIGINT, 'Ctrl-C')]
)
def test_a_signal_is_recorded_and_the_old_handler_restored(number, name):
  before = signal.getsignal(number)
  with Interruption() as stop:
    assert not stop.requested
    os.kill(os.getpid(), number)
    assert (stop.requested, stop.name) == (True, name)
  assert signal.getsignal(number) == before


_SLEEPER = """
import ctypes, os, signal
from tpu_utils.command_line.interruption import Interruption
with Interruption() as stop:
  os.kill(os.getpid(), signal.SIGINT)
  print(stop.requested, flush=True)
  ctypes.PyDLL(None).sleep(600)  # Never returns to Python, as a compilation.
"""


def test_a_second_ctrl_c_ends_the_process_at_once():
  process = script_jobs.start('-c', _SLEEPER)
  assert process.stdout.readline() == 'True\n'
  process.send_signal(signal.SIGINT)
  assert process.wait(timeout=60) == -signal.SIGINT


def test_ctrl_c_stays_ignored_in_the_background():
  before = signal.signal(signal.SIGINT, signal.SIG_IGN)
  try:
    with Interruption() as stop:
      os.kill(os.getpid(), signal.SIGINT)
      assert not stop.requested
  finally:
    signal.signal(signal.SIGINT, before)


def test_other_threads_may_use_it():
  seen = []

  def work():
    with Interruption() as stop:
      seen.append(stop.requested)

  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert seen == [False]
