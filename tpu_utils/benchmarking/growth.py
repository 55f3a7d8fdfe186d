"""Curves of how time and memory grow with the work, as tables and plots."""
import dataclasses
import os
from collections.abc import Mapping, Sequence

from tpu_utils import figures, files
from tpu_utils.benchmarking.contest import markdown

_FIGURE, _REPORT = 'growth.png', 'growth.md'


@dataclasses.dataclass(frozen=True)
class Curves:
  """One or more quantities of the same unit against a size.

  Attributes:
    title: of the plot and the table.
    x: name of the size.
    y: name and unit of the quantities.
    series: {name: {size: quantity}}.
    note: a sentence on what was measured.
  """

  title: str
  x: str
  y: str
  series: Mapping[str, Mapping[int, float]]
  note: str = ''

  def table(self) -> str:
    """Returns the curves as a Markdown table, a row for each size."""
    sizes = sorted({size for points in self.series.values() for size in points})
    rows = [
      [str(size), *(_number(points.get(size)) for points in self.series.values())] for size in sizes
    ]
    table = markdown([self.x, *(f'{name}, {self.y}' for name in self.series)], rows)
    return '\n\n'.join(filter(None, (f'### {self.title}', self.note, table)))


def _number(value):
  if value is None:
    return '-'
  return f'{value:.0f}' if value >= 100 else f'{value:.3g}'


def draw(curves: Sequence[Curves], path: str) -> None:
  """Plots curves side by side to a file, whole or not at all.

  Raises:
    OSError: the file cannot be written.
  """
  from matplotlib.figure import Figure  # Takes a second to import.

  figure = Figure(figsize=(5 * len(curves), 4), layout='constrained')
  for axes, curve in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves, strict=True):
    for name, points in curve.series.items():
      axes.plot(*zip(*sorted(points.items()), strict=True), 'o-', label=name)
    sizes = {size for points in curve.series.values() for size in points}
    if max(sizes) >= 16 * min(sizes):
      axes.set_xscale('log', base=2)
    axes.set_xticks(sorted(sizes), [str(size) for size in sorted(sizes)])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set(title=curve.title, xlabel=curve.x, ylabel=curve.y)
    axes.legend(fontsize='small')
    axes.grid(alpha=0.3)
  figures.save(figure, path, dpi=120)


def report(head: str, curves: Sequence[Curves], folder: str) -> str:
  """Writes `growth.md` and `growth.png` to a folder, if one is given.

  Args:
    head: lines before the tables, on the machine and the model.
    curves: what was measured.
    folder: local or remote; '' to write nothing.

  Returns:
    The content of `growth.md`.

  Raises:
    OSError: a file cannot be written.
  """
  text = '\n\n'.join([head, *(curve.table() for curve in curves)])
  if folder:
    files.write_bytes(os.path.join(folder, _REPORT), f'{text}\n'.encode(), parents=True)
    draw(curves, os.path.join(folder, _FIGURE))
  return text
