"""Errors for damaged files from outside: one line that names the file, whatever the damage."""
import contextlib
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

from tpu_utils import files
from tpu_utils.errors import first_line

_MAX_REASON = 200
# Contents may take this many bytes, or this many times their stored size if that is more. Weights
# hardly compress; only a file that is made to exhaust memory exceeds both.
_ALWAYS_BYTES = 64 * 2**20
_MAX_RATIO = 20
_MAX_JSON = 2**22  # Bytes of a JSON file beside weights; its values take up to 30 times as many.

# Errors that damaged contents cause in code that parses them: senseless numbers, undecodable text,
# truncated data. RuntimeError covers endless nesting, encryption and unknown compression methods.
# KeyError, TypeError and the like are absent: in our own code they are bugs.
_DAMAGE: tuple[type[Exception], ...] = (
  ValueError, OSError, EOFError, RuntimeError, ArithmeticError, MemoryError,
  struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile, zipfile.LargeZipFile,
)  # fmt: skip


@contextlib.contextmanager
def reading(path: str | os.PathLike[str], kind: str, foreign: bool = False) -> Iterator[None]:
  """Turns errors that damaged contents cause into a ValueError that names the file.

  Errors that already name the file, and those of the file system, pass unchanged.

  Args:
    path: the file.
    kind: its format for the message, such as 'a zip file'.
    foreign: whether to convert every kind of error, as is right around a call of a library. Leave
      it out around our own parsing: a KeyError or TypeError there is a bug and stays visible.

  Raises:
    ValueError: the contents are damaged or of another format.
  """
  path = os.fspath(path)
  kinds = (Exception,) if foreign else _DAMAGE
  try:
    yield
  except kinds as error:
    if _is_named(error, path):
      raise
    raise ValueError(
      f'{path} cannot be read as {kind} ({_reason(error)}); it is damaged, cut off or of another '
      'kind. Copy it again.'
    ) from error


def check_unpacked(what: str, size: int, stored: int) -> None:
  """Refuses contents that would take far more memory than their file takes on disk.

  Args:
    what: the contents, for the message.
    size: bytes that they take in memory.
    stored: bytes that they take in the file.

  Raises:
    ValueError: `size` exceeds 64 MiB and 20 times `stored`.
  """
  if size > max(_ALWAYS_BYTES, _MAX_RATIO * stored):
    raise ValueError(
      f'{what} would take {size:,} bytes of memory from {stored:,} in the file; expected at most '
      f'{_MAX_RATIO} times as many, as files of weights need'
    )


def read_json(path: str | os.PathLike[str], kind: str) -> Any:
  """Reads a small JSON file.

  Args:
    path: the file.
    kind: its format for messages, such as 'JSON'.

  Raises:
    ValueError: it is not JSON, or has over 4 MiB.
    OSError: it cannot be read.
  """
  with reading(path, kind), files.open_text(path) as file:
    text = file.read(_MAX_JSON + 1)
    if len(text) > _MAX_JSON:
      raise ValueError(f'over {_MAX_JSON:,} characters')
    return files.parse_json(text)


def _is_named(error, path):
  if isinstance(error, OSError) and error.filename is not None:
    return True
  return isinstance(error, ValueError) and path in str(error)


def _reason(error):
  """Returns an error's first line, printable and short, after its class if the text is vague."""
  line = first_line(error)
  line = ''.join(c if c.isprintable() else '?' for c in line)[:_MAX_REASON]
  plain = isinstance(error, (ValueError, OSError, RuntimeError, zipfile.BadZipFile))
  return line if plain or not str(error).strip() else f'{type(error).__name__}: {line}'
