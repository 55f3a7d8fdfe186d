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
  """

  def __init__(self, total, what, *, initial=0, unit='step', line_seconds=10.0):
    self._what, self._total, self._unit = what, total, unit
    self._line_seconds = line_seconds
    self._last_line = time.monotonic()
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
    now = time.monotonic()
    due = now - self._last_line >= self._line_seconds or count == self._total
    if not self._terminal and due:
      self._last_line = now
      of = '' if self._total is None else f'/{self._total}'
      self.say(f'{self._what} {self._unit} {count}{of}{": " if text else ""}{text}')

  @staticmethod
  def say(line):
    """Prints a line without tearing the bar."""
    tqdm.tqdm.write(line, file=sys.stderr)


def _short(value):
  return f'{value:.4g}' if isinstance(value, float) else str(value)
