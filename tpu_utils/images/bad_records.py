"""The count of records that a run leaves out because they cannot be used (`--max_bad_records`)."""
import threading

from tpu_utils.command_line.progress import Progress


class BadRecords:
  """Names each bad record once, and says when there are too many.

  Args:
    limit: how many may be left out.
    cause_of: function(split, number) -> the ValueError that says what is wrong with a record.
  """

  def __init__(self, limit, cause_of):
    self.limit = limit
    self._cause_of = cause_of
    self._seen = set()
    self._lock = threading.Lock()  # Training and evaluation may find some at the same time.

  def __len__(self):
    return len(self._seen)

  def report(self, split, number):
    """Takes note of a bad record; returns whether it is one too many."""
    with self._lock:
      if (split, number) in self._seen:
        return False
      if len(self._seen) >= self.limit:
        return True
      self._seen.add((split, number))
      count = len(self._seen)
    Progress.say(f'Left out: {self._cause_of(split, number)} (Bad record {count} of at most {self.limit}.)')
    return False
