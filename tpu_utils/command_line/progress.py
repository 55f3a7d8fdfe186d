"""Progress reports: a bar on a terminal, lines at intervals elsewhere; both with the time left."""
import dataclasses
import sys
import time

import tqdm

_LEAST_LEFT = 10  # Seconds; less time is not worth a word.


class Progress:
  """A progress bar on a terminal, else a line every `line_seconds`.

  Args:
    total: the final count, or None if unknown.
    activity: label of the bar and the lines: 'train', 'eval', ...
    initial: the first count (above 0 for a resumed job).
    unit: singular noun for the count.
    line_seconds: without a terminal, the least time between two lines.
    line_every: without a terminal, the least count between two lines, in place of `line_seconds`.
    always_ends: without a terminal, whether the final count gets a line however soon it comes.
  """

  def __init__(
    self,
    total: int | None,
    activity: str,
    *,
    initial: int = 0,
    unit: str = 'step',
    line_seconds: float = 10.0,
    line_every: int | None = None,
    always_ends: bool = True,
  ):
    self._activity, self._total, self._unit = activity, total, unit
    self._line_seconds, self._line_every = line_seconds, line_every
    self._last_line = total if always_ends else None
    self._last_time, self._last_count = time.monotonic(), initial
    self._first: tuple[float, int] | None = None  # Time and count of the first update.
    self._terminal = sys.stderr.isatty()
    self._bar = tqdm.tqdm(
      total=total,
      desc=activity,
      initial=initial,
      unit=unit,
      dynamic_ncols=True,
      disable=not self._terminal,
    )
    self._count = initial

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._bar.close()

  def update(self, count: int, **numbers: float) -> None:
    """Sets the count and shows it with `numbers`."""
    text = ', '.join(f'{name} {_short(value)}' for name, value in numbers.items())
    self._bar.set_postfix_str(text, refresh=False)
    self._bar.update(count - self._count)
    self._count = count
    self._first = self._first or (time.monotonic(), count)
    if not self._terminal and (self._line_due() or count == self._last_line):
      self._last_time, self._last_count = time.monotonic(), count
      total = '' if self._total is None else f'/{self._total}'
      text = ', '.join(filter(None, (text, self._time_left())))
      self.say(f'{self._activity} {self._unit} {count}{total}{": " if text else ""}{text}')

  def _time_left(self):
    """Returns the time left as text; '' if it is unknown or short.

    The rate is that since the first update: before it, programs are compiled.
    """
    if self._first is None or self._total is None or self._count <= self._first[1]:
      return ''
    start, first = self._first
    rate = (time.monotonic() - start) / (self._count - first)
    seconds = rate * (self._total - self._count)
    return f'{duration(seconds)} left' if seconds >= _LEAST_LEFT else ''

  def _line_due(self):
    if self._line_every is not None:
      return self._count - self._last_count >= self._line_every
    return time.monotonic() - self._last_time >= self._line_seconds

  @staticmethod
  def say(line: str) -> None:
    """Prints a line above the bar."""
    tqdm.tqdm.write(line, file=sys.stderr)


@dataclasses.dataclass(frozen=True)
class StepTimes:
  """The time of a training step, averaged over a loop.

  Attributes:
    total: seconds per step.
    input_wait: seconds of it spent waiting for input; an accelerator may still compute meanwhile.
  """

  total: float
  input_wait: float

  def logs(self) -> dict[str, float]:
    """Returns the summaries: the rest of the time, and the share of the waiting."""
    share = self.input_wait / self.total if self.total else 0.0
    return {'compute_time': self.total - self.input_wait, 'input_wait_share': share}

  def shown(self) -> dict[str, str]:
    """Returns {name: text} for the progress line."""
    logs = self.logs()
    return {
      'input': f'{_milliseconds(self.input_wait)} ms ({logs["input_wait_share"]:.0%})',
      'compute': f'{_milliseconds(logs["compute_time"])} ms/step',
    }


def duration(seconds: float) -> str:
  """Returns a time in its largest fitting unit: '40 s', '12 min', '3.5 h'."""
  if seconds < 100:
    return f'{seconds:.0f} s'
  return f'{seconds / 60:.0f} min' if seconds < 6000 else f'{seconds / 3600:.1f} h'


def _milliseconds(seconds):
  value = 1000 * seconds
  return f'{value:.3g}' if value < 1000 else f'{value:.0f}'


def _short(value):
  return f'{value:.4g}' if isinstance(value, float) else str(value)
