"""SIGTERM within the context, and the use in other threads."""
import os
import signal
import threading

from tpu_utils.command_line.interruption import Interruption


def test_sigterm_is_recorded_and_the_old_handler_restored():
  before = signal.getsignal(signal.SIGTERM)
  with Interruption() as stop:
    assert not stop.requested
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.requested
  assert signal.getsignal(signal.SIGTERM) == before


def test_other_threads_may_use_it():
  seen = []

  def work():
    with Interruption() as stop:
      seen.append(stop.requested)

  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert seen == [False]
