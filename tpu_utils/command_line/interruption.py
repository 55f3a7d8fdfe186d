"""SIGTERM as a wish that the job grants at its next boundary: save, then leave."""
import signal
import threading


class Interruption:
  """Context in which SIGTERM only sets `requested`; the old handler comes back afterwards."""

  def __init__(self):
    self.requested = False
    self._old = None

  def __enter__(self):
    # Python lets only the main thread set handlers; elsewhere (notebooks' threads) none is needed.
    if threading.current_thread() is threading.main_thread():
      self._old = signal.signal(signal.SIGTERM, self._request)
    return self

  def __exit__(self, *_):
    if self._old is not None:
      signal.signal(signal.SIGTERM, self._old)

  def _request(self, *_):
    self.requested = True
