"""Figures 1, 3 and 8: accuracy against size, of the printed tables and as measured.

Each function takes {table id: compared lines} and the folder of checkpoints, and returns a figure,
or None without the table that it draws.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tpu_utils.paper_table import Line

if TYPE_CHECKING:
  from matplotlib.figure import Figure


def figure_1(
  lines: Mapping[str, Sequence[Line]], checkpoint_dir: str
) -> Figure | None:
  """Draws accuracy against parameters."""
  del checkpoint_dir
  return _scatter(
    lines.get('Figure 1 (later version)'), 'params_M', 'parameters, millions', 'Figure 1'
  )


def figure_8(
  lines: Mapping[str, Sequence[Line]], checkpoint_dir: str
) -> Figure | None:
  """Draws accuracy against multiply-adds of B0 scaled in one dimension, or compound."""
  del checkpoint_dir
  return _scatter(lines.get('Table 7'), 'flops_B', 'multiply-adds, billions', 'Figure 8: B0 scaled')


def _points(lines, size, accuracy='top1'):
  """Returns {row: (size in print, accuracy in print, our size, our accuracy)}, None if missing."""
  found = {}
  for line in lines or ():
    own = line.measured.value if line.measured else None
    found.setdefault(line.label, {})[line.column] = line.paper.value, own
  return {
    label: (*(cells[name][0] for name in (size, accuracy)),
            *(cells[name][1] for name in (size, accuracy)))
    for label, cells in found.items()
    if size in cells and accuracy in cells
  }  # fmt: skip


def _scatter(lines, size, axis, title):
  """Plots accuracy against size: printed points, and ours where both are measured.

  Where only our size is known, a hollow mark shows it at the printed accuracy.
  """
  points = _points(lines, size)
  if not points:
    return None
  from matplotlib.figure import Figure

  figure = Figure(figsize=(8, 5), layout='constrained')
  axes = figure.subplots()
  _draw_points(axes, points)
  axes.set(xlabel=axis, ylabel='ImageNet top-1 accuracy, %', xscale='log', title=title)
  return figure


def _draw_points(axes, points):
  axes.plot([], [], 'o', color='C0', label='paper')
  axes.plot([], [], 'x', color='C1', label='measured')
  axes.plot([], [], 'o', mfc='none', color='C1', label="our size, the paper's accuracy")
  for label, (size, accuracy, own_size, own_accuracy) in points.items():
    axes.plot(size, accuracy, 'o', color='C0')
    axes.annotate(label.split(', ')[0], (size, accuracy), fontsize='x-small', xytext=(4, 3),
                  textcoords='offset points')  # fmt: skip
    if own_size is not None and own_accuracy is not None:
      axes.plot(own_size, own_accuracy, 'x', color='C1')
    elif own_size is not None:
      axes.plot(own_size, accuracy, 'o', mfc='none', color='C1')
  axes.grid(alpha=0.3)
  axes.margins(x=0.14, y=0.1)  # Room for the labels at the right.
  axes.legend(fontsize='small', loc='lower right')


def figure_3(
  lines: Mapping[str, Sequence[Line]], checkpoint_dir: str
) -> Figure | None:
  """Draws B0 scaled in a single dimension, a panel each; the print has only Table 7's points."""
  del checkpoint_dir
  points = _points(lines.get('Table 7'), 'flops_B')
  if not points:
    return None
  from matplotlib.figure import Figure

  figure = Figure(figsize=(13, 4), layout='constrained')
  panels = zip(figure.subplots(1, 3, sharey=True), ('width', 'depth', 'resolution'), strict=True)
  for axes, how in panels:
    kept = {label: p for label, p in points.items() if label.split(',')[0] in ('baseline B0', how)}
    _draw_points(axes, kept)
    axes.set(xlabel='multiply-adds, billions', ylabel='top-1 accuracy, %', title=f'Figure 3: {how}')
  return figure


FIGURES = {'figure_1.png': figure_1, 'figure_3.png': figure_3, 'figure_8.png': figure_8}
