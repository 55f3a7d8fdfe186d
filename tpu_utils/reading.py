"""One kind of error for files that others wrote: a line that names the file, whatever is wrong in it."""
import contextlib
import lzma
import os
import struct
import zipfile
import zlib

from tpu_utils.errors import first_line

_MAX_REASON = 200

# Errors that damaged contents cause in code that parses them: numbers that make no sense, text that is no
# text, ends that come too early. RuntimeError covers nesting without end, encryption and unknown methods of
# compression. KeyError, TypeError and the like are not here: in our own code they are our faults.
_DAMAGE = (
  ValueError, OSError, EOFError, RuntimeError, ArithmeticError, MemoryError, struct.error, zlib.error,
  lzma.LZMAError, zipfile.BadZipFile, zipfile.LargeZipFile,
)  # fmt: skip


@contextlib.contextmanager
def reading(path, kind, foreign=False):
  """Turns the errors that damaged contents cause into one ValueError that names the file.

  Errors that name the file already pass as they are, and so do those of the file system.

  Args:
    path: the file.
    kind: its format as the message shall say it, such as 'a zip file'.
    foreign: whether any error inside comes from the contents, as around a call of a library. Around our
      own parsing leave it out: a KeyError or TypeError there is our fault and stays visible.

  Raises:
    ValueError: the contents are damaged or of another format.
  """
  path, kinds = os.fspath(path), Exception if foreign else _DAMAGE
  try:
    yield
  except kinds as error:
    if _is_named(error, path):
      raise
    raise ValueError(
      f'{path} cannot be read as {kind} ({_reason(error)}); it is damaged, cut off or of another kind. Copy it again.'
    ) from error


def _is_named(error, path):
  if isinstance(error, OSError) and error.filename is not None:
    return True
  return isinstance(error, ValueError) and path in str(error)


def _reason(error):
  """Returns the first line of an error, printable and short, with its kind if the text is vague."""
  line = first_line(error)
  line = ''.join(c if c.isprintable() else '?' for c in line)[:_MAX_REASON]
  plain = isinstance(error, (ValueError, OSError, RuntimeError, zipfile.BadZipFile))
  return line if plain or not str(error).strip() else f'{type(error).__name__}: {line}'
