"""Writes matplotlib's figures to local and remote files."""
from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tpu_utils import files

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure


def save(figure: Figure, path: str | os.PathLike[str], **options: Any) -> None:
  """Writes a figure to a file, local or remote, whole or not at all.

  Args:
    figure: the figure.
    path: the file; its ending determines the format (.png, .pdf, .svg, ...), PNG without one.
    **options: of `Figure.savefig`, such as `dpi`.

  Raises:
    ValueError: the ending is no known format.
    OSError: the file cannot be written.
  """
  content = io.BytesIO()
  ending = os.path.splitext(os.fspath(path))[1].removeprefix('.')
  figure.savefig(content, format=ending.lower() or 'png', **options)
  files.write_bytes(path, content.getvalue())


def save_panels(
  path: str | os.PathLike[str], panels: Sequence[Any], draw: Callable[[Axes, Any], object]
) -> None:
  """Writes a row of plots with grids, whole or not at all.

  Args:
    path: see `save`.
    panels: what each plot shows.
    draw: function(axes, panel) that plots a panel.

  Raises:
    ValueError: the ending is no known format.
    OSError: the file cannot be written.
  """
  from matplotlib.figure import Figure  # Takes a second to import, and few callers need it.

  figure = Figure(figsize=(5 * len(panels), 4), layout='constrained')
  for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
    draw(axes, panel)
    axes.grid(alpha=0.3)
  save(figure, path, dpi=120)
