"""Progress for people: a bar on a terminal, a line now and then elsewhere."""
import sys
import time

import tqdm


class Progress:
  """Counts towards `total` with a bar on a terminal, else with a line every `line_seconds`.

  Args:
    total: where the count ends, or None if unknown.
    what: 'train', 'eval', ...
    initial: where it starts (a resumed job).
    unit: what is counted.
    line_seconds: without a terminal, the least time between two lines.
    line_every: the least count between two lines; given, `line_seconds` does not matter.
  """

  def __init__(
    self, total, what, *, initial=0, unit='step', line_seconds=10.0, line_every=None
  ):
    self._what, self._total, self._unit = what, total, unit
    self._line_seconds, self._line_every = line_seconds, line_every
    self._last_time, self._last_count = time.monotonic(), initial
    self._terminal = sys.stderr.isatty()
    self._bar = tqdm.tqdm(
      total=total,
      desc=what,
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

  def update(self, count, **numbers):
    """Moves to `count`; `numbers` are shown beside it."""
    text = ', '.join(f'{name} {_short(value)}' for name, value in numbers.items())
    self._bar.set_postfix_str(text, refresh=False)
    self._bar.update(count - self._count)
    self._count = count
    if not self._terminal and (self._line_due() or count == self._total):
      self._last_time, self._last_count = time.monotonic(), count
      of = '' if self._total is None else f'/{self._total}'
      self.say(f'{self._what} {self._unit} {count}{of}{": " if text else ""}{text}')

  def _line_due(self):
    if self._line_every is not None:
      return self._count - self._last_count >= self._line_every
    return time.monotonic() - self._last_time >= self._line_seconds

  @staticmethod
  def say(line):
    """Prints a line without tearing the bar."""
    tqdm.tqdm.write(line, file=sys.stderr)


def _short(value):
  return f'{value:.4g}' if isinstance(value, float) else str(value)
