"""Turns SIGTERM into a request, so that a job can save its state before it stops."""
import signal
import threading
from typing import Any


class Interruption:
  """Context manager in which SIGTERM only sets `requested`; restores the old handler at the end.

  Attributes:
    requested: whether SIGTERM has arrived.
  """

  def __init__(self) -> None:
    self.requested = False
    self._old: Any = None

  def __enter__(self):
    # Only the main thread may set handlers; other threads (of notebooks) need none.
    if threading.current_thread() is threading.main_thread():
      self._old = signal.signal(signal.SIGTERM, self._request)
    return self

  def __exit__(self, *_):
    if self._old is not None:
      signal.signal(signal.SIGTERM, self._old)

  def _request(self, *_):
    self.requested = True
