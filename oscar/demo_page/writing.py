"""Writes the page: one HTML file with styles, program, data and pictures inside."""

import json
import os
from collections.abc import Mapping
from typing import Any

from tpu_utils import files

_FOLDER = os.path.dirname(os.path.abspath(__file__))
_PARTS = {'STYLE': 'page.css', 'PROGRAM': 'page.js'}


def write(content: Mapping[str, Any], path: str) -> None:
  """Writes the page of a content, whole or not at all.

  Args:
    content: JSON-able values, see `oscar/demo.py`.
    path: the HTML file.

  Raises:
    OSError: the file cannot be written.
  """
  page = _read('page.html')
  for name, file in _PARTS.items():
    page = page.replace(f'/*{name}*/', _read(file))
  # `</script>` within a text would end the data.
  data = json.dumps(content, ensure_ascii=False, separators=(',', ':')).replace('<', '\\u003c')
  files.write_text(path, page.replace('/*DATA*/', data))


def _read(name):
  text = files.read_text(os.path.join(_FOLDER, name))
  if text is None:
    raise FileNotFoundError(f'{os.path.join(_FOLDER, name)} is missing; install the package again.')
  return text
