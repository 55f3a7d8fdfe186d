"""Writes the page: one HTML file with styles, program, data and pictures inside."""

import os
from collections.abc import Mapping
from typing import Any

from tpu_utils import files
from tpu_utils.web_page import page

_FOLDER = os.path.dirname(os.path.abspath(__file__))


def write(content: Mapping[str, Any], path: str) -> None:
  """Writes the page of a content, whole or not at all.

  Args:
    content: JSON-able values, see `oscar/demo.py`.
    path: the HTML file.

  Raises:
    OSError: the file cannot be written.
  """
  parts = {
    'STYLE': page.part(_FOLDER, 'page.css'),
    'PROGRAM': page.part(_FOLDER, 'page.js'),
    'DATA': page.json_data(content),
  }
  files.write_text(path, page.fill(page.part(_FOLDER, 'page.html'), parts))
