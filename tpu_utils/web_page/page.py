"""Joins the parts of a web page into one HTML file, with styles, data and pictures inside."""
import base64
import json
import os
from collections.abc import Mapping
from typing import Any

from tpu_utils import files

_FOLDER = os.path.dirname(os.path.abspath(__file__))


def fill(template: str, parts: Mapping[str, str]) -> str:
  """Replaces each `/*NAME*/` in a template, in the order of `parts`.

  Texts of strangers come last: placeholders inside them stay.

  Args:
    template: text of the page.
    parts: {name: text to insert}; the name BASE is the style that all pages share.
  """
  for name, text in {'BASE': part(_FOLDER, 'base.css'), **parts}.items():
    template = template.replace(f'/*{name}*/', text)
  return template


def part(folder: str, name: str) -> str:
  """Reads a file of an installed package.

  Raises:
    FileNotFoundError: it is missing.
  """
  text = files.read_text(os.path.join(folder, name))
  if text is None:
    raise FileNotFoundError(f'{os.path.join(folder, name)} is missing; install the package again.')
  return text


def json_data(content: Any) -> str:
  """Returns JSON for a `script` element; `</script>` within a text would end the element."""
  return json.dumps(content, ensure_ascii=False, separators=(',', ':')).replace('<', '\\u003c')


def picture_uri(content: bytes) -> str:
  """Returns the data URI of a PNG or JPEG file, for the `src` of a picture.

  Args:
    content: of the file.
  """
  kind = 'png' if content.startswith(b'\x89PNG') else 'jpeg'
  return f'data:image/{kind};base64,{base64.b64encode(content).decode()}'
