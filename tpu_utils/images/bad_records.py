"""The count of unusable records that a run skips (`--max_bad_records`)."""
import threading
from collections.abc import Callable

from tpu_utils.command_line.progress import Progress


class BadRecords:
  """Reports each bad record once and detects when there are too many.

  Args:
    limit: how many records may be skipped.
    cause_of: called with the split and the number of a bad record; returns the ValueError that
      explains it.
  """

  def __init__(self, limit: int, cause_of: Callable[[str, int], ValueError]):
    self.limit = limit
    self._cause_of = cause_of
    self._seen: set[tuple[str, int]] = set()
    self._lock = threading.Lock()  # Training and evaluation may report at the same time.

  def __len__(self) -> int:
    return len(self._seen)

  def report(self, split: str, number: int) -> bool:
    """Counts and logs a bad record; returns whether it exceeds the limit."""
    with self._lock:
      if (split, number) in self._seen:
        return False
      if len(self._seen) >= self.limit:
        return True
      self._seen.add((split, number))
      count = len(self._seen)
    Progress.say(
      f'Skipped: {self._cause_of(split, number)} (Bad record {count} of at most {self.limit}.)'
    )
    return False
