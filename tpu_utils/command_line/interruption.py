"""Turns SIGTERM and Ctrl-C into a request, so that a job can save its state before it stops."""
import signal
import sys
import threading
from typing import Any


class Interruption:
  """Context manager in which SIGTERM and Ctrl-C set `requested`; restores the handlers at the end.

  A second Ctrl-C ends the process at once, even while TensorFlow is compiling; in an interactive
  Python, where that would lose the user's session, it raises KeyboardInterrupt.

  Attributes:
    requested: whether one has arrived.
    name: the first one's name, for messages.
  """

  def __init__(self) -> None:
    self.requested = False
    self.name = 'SIGTERM'
    self._old: dict[int, Any] = {}

  def __enter__(self):
    # Only the main thread may set handlers; other threads (of notebooks) need none.
    if threading.current_thread() is threading.main_thread():
      for number in (signal.SIGTERM, signal.SIGINT):
        # Shells ignore SIGINT for jobs in the background.
        if signal.getsignal(number) not in (None, signal.SIG_IGN):
          self._old[number] = signal.signal(number, self._request)
    return self

  def __exit__(self, *_):
    for number, handler in self._old.items():
      signal.signal(number, handler)

  def _request(self, number, _):
    if not self.requested and number == signal.SIGINT:
      self.name = 'Ctrl-C'
    self.requested = True
    if number == signal.SIGINT:
      interactive = hasattr(sys, 'ps1')
      signal.signal(number, self._old[number] if interactive else signal.SIG_DFL)
