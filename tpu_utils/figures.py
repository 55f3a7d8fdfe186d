"""Writes matplotlib's figures to local and remote files."""
from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

from tpu_utils import files

if TYPE_CHECKING:
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
