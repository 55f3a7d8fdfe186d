"""The report's diagrams: confusion matrix and calibration, as PNG files."""
from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tpu_utils.image_jobs.reporting.measures import BINS, Bin
from tpu_utils.images import class_names

if TYPE_CHECKING:
  from matplotlib.figure import Figure

MOST_NAMED = 30  # Classes of which the confusion matrix shows names and numbers.
_MOST_DOTS = 250  # Cells a side of a larger one.
_BLUE, _INK, _SOFT = '#3b6ea8', '#1d1c1a', '#8a867e'


def png(figure: Figure) -> bytes:
  """Returns a figure as a PNG file."""
  content = io.BytesIO()
  with warnings.catch_warnings():
    # Of letters that the font lacks; they become boxes, and the tables have the names.
    warnings.simplefilter('ignore', UserWarning)
    figure.savefig(content, format='png', dpi=130)
  return content.getvalue()


def confusion(table: np.ndarray, names: Sequence[str]) -> Figure:
  """Draws a confusion matrix: with names and numbers up to 30 classes, else as a map.

  Args:
    table: int [classes, classes], rows true.
    names: of the classes.
  """
  return _named_confusion(table, names) if len(table) <= MOST_NAMED else _confusion_map(table)


def _named_confusion(table, names):
  count = len(table)
  labels = [_short(name) for name in names]
  longest = max(map(len, labels))
  side = max(2.4, 0.42 * count) + 0.075 * longest
  figure, axes = _figure(side + 1.0, side + 0.4)
  shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
  axes.imshow(shares, cmap='Blues', vmin=0, vmax=1.15)
  size = 9 if count <= 20 else 7
  for y, x in zip(*np.nonzero(table), strict=True):
    color = 'white' if shares[y, x] > 0.6 else '#b3261e' if x != y else _INK
    axes.text(x, y, str(table[y, x]), ha='center', va='center', fontsize=size, color=color)
  axes.set_xticks(range(count), labels, rotation=90 if longest > 2 else 0, fontsize=size)
  axes.set_yticks(range(count), labels, fontsize=size)
  axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
  axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
  axes.grid(which='minor', color='white', linewidth=1.5)
  axes.tick_params(which='both', length=0)
  return _labelled(figure, axes)


def _confusion_map(table):
  """Draws mistakes as dots, joining neighbouring classes if there are many."""
  step = -(-len(table) // _MOST_DOTS)
  mistakes = table * (1 - np.eye(len(table), dtype=table.dtype))
  padded = np.pad(mistakes, (0, -len(table) % step))
  cells = padded.reshape(len(padded) // step, step, -1, step).sum(axis=(1, 3))
  figure, axes = _figure(6.2, 5.4)
  extent = (-0.5, len(padded) - 0.5, len(padded) - 0.5, -0.5)
  shown = axes.imshow(cells, cmap='Reds', extent=extent, interpolation='nearest',
                      vmin=0, vmax=max(1, cells.max()))  # fmt: skip
  axes.plot([0, len(table)], [0, len(table)], color=_SOFT, linewidth=0.5)
  figure.colorbar(shown, ax=axes, label='mistakes', shrink=0.8)
  return _labelled(figure, axes)


def _labelled(figure, axes):
  axes.set_xlabel('predicted')
  axes.set_ylabel('true')
  for side in axes.spines.values():
    side.set_visible(False)
  return figure


def calibration(bins: Sequence[Bin]) -> Figure:
  """Draws a reliability diagram above the number of predictions by confidence."""
  from matplotlib.figure import Figure

  figure = Figure(figsize=(4.8, 5.4), layout='constrained')
  upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
  places = [part.start + 0.5 / BINS for part in bins]
  width = 0.92 / BINS
  upper.plot([0, 1], [0, 1], '--', color=_SOFT, linewidth=1, label='perfectly calibrated')
  upper.bar(places, [part.accuracy for part in bins], width, color=_BLUE, label='accuracy')
  upper.plot(
    [part.confidence for part in bins], [part.accuracy for part in bins], 'o', color='#b4531a',
    markersize=4, label='at their mean confidence',
  )  # fmt: skip
  upper.set_ylim(0, 1.02)
  upper.set_ylabel('accuracy')
  upper.legend(fontsize='small', loc='best', framealpha=0.85)
  lower.bar(places, [part.images for part in bins], width, color=_SOFT)
  lower.set_ylabel('images')
  lower.set_xlabel('confidence: probability of the predicted class')
  lower.set_xlim(0, 1)
  for axes in (upper, lower):
    axes.spines[['top', 'right']].set_visible(False)
  return figure


def _figure(width, height):
  from matplotlib.figure import Figure

  figure = Figure(figsize=(width, height), layout='constrained')
  return figure, figure.subplots()


def _short(name, most=24):
  name = class_names.for_picture(name)
  return name if len(name) <= most else f'{name[: most - 1]}…'
