"""The official TSV files: tab-separated rows in `X.tsv`, their byte offsets in `X.lineidx`.

Rows are read on access, so a file of any size takes 8 bytes of memory per row. The first row that
an offset of another file's `.lineidx` misses raises.

    python -m oscar.datasets.tsv FILE.tsv ...     # (re)writes FILE.lineidx
"""

import codecs
import contextlib
import json
import os
import sys
import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np

from tpu_utils import files
from tpu_utils.command_line import helper_program
from tpu_utils.local_copies import local_copy
from tpu_utils.reading import reading

_CHUNK = 1 << 20
_KEY_BYTES = 256
_GZIP = b'\x1f\x8b\x08'  # First bytes of such a file; no text begins so.


class TsvFile:
  """The rows of a TSV file, by number.

  Reading does not move a file position, so threads can share one object.

  Args:
    path: the `.tsv` file; a remote one is copied, see `local_copy`.
    offsets: int64 [rows], first byte of each row; None reads the `.lineidx`, or without one
      searches the whole file once.

  Raises:
    FileNotFoundError: the file does not exist.
    ValueError: the `.lineidx` does not hold offsets into the file, or the file is compressed.
  """

  def __init__(self, path: str | os.PathLike[str], offsets: np.ndarray | None = None) -> None:
    self.path = os.fspath(path)
    if not files.is_file(self.path):
      raise FileNotFoundError(f'{self.path} does not exist; expected a TSV file.')
    with local_copy(self.path) as place:
      self._file = os.open(place, os.O_RDONLY)
    # Unlike __del__, also works while the interpreter exits and modules are gone.
    weakref.finalize(self, os.close, self._file)
    self._size = os.fstat(self._file).st_size
    if os.pread(self._file, len(_GZIP), 0) == _GZIP:
      raise ValueError(
        f'{self.path} is compressed by gzip; expected plain text, read by byte offsets. Unpack it: '
        'gunzip.'
      )
    if offsets is None:
      index = lineidx_path(self.path)
      with local_copy(index if files.exists(index) else self.path) as place:
        is_index = place.endswith('.lineidx')
        offsets = read_lineidx(place, self._size) if is_index else find_rows(place)
    self._bounds = np.append(offsets, self._size)

  def __reduce__(self):
    return TsvFile, (self.path, self._bounds[:-1])  # File descriptors do not pickle: open again.

  def __len__(self) -> int:
    return len(self._bounds) - 1

  def __getitem__(self, row: int) -> list[bytes]:
    """Returns the columns of a row, stripped of surrounding white space.

    Raises:
      ValueError: no such row, or the offsets do not fit the file.
    """
    start, end = self._span(row)
    # Read one byte more: the newline before the row proves that a row begins here.
    lead = min(start, 1)
    data = os.pread(self._file, end - start + lead, start - lead)
    if len(data) != end - start + lead:
      raise ValueError(f'{self.where(row)}: the file was shortened while it was read.')
    ends = (len(data) - 1, -1) if row == len(self) - 1 else (len(data) - 1,)
    if (lead and data[0] != 10) or data.find(b'\n', lead) not in ends:
      raise ValueError(
        f'{self.where(row)}: no row begins at byte {start} and ends at {end}; its list of offsets '
        f'belongs to another file. Write {lineidx_path(self.path)} again: '
        f'python -m oscar.datasets.tsv {self.path}'
      )
    return [column.strip() for column in _without_mark(data[lead:], start).split(b'\t')]

  def __iter__(self) -> Iterator[list[bytes]]:
    return (self[row] for row in range(len(self)))

  def key(self, row: int) -> str:
    """Returns the first column; reads the whole row only if the column exceeds 256 bytes."""
    start, end = self._span(row)
    data = _without_mark(os.pread(self._file, min(end - start, _KEY_BYTES), start), start)
    column = data.split(b'\t', 1)[0] if b'\t' in data else self[row][0]
    return self._decode(column, row)

  def text(self, row: int, column: int) -> str:
    """Returns one column of a row.

    Raises:
      ValueError: no such row or column, or not UTF-8.
    """
    columns = self[row]
    return self._decode(self._column(columns, row, column), row)

  def json(self, row: int, column: int = 1) -> Any:
    """Returns one column of a row, parsed as JSON.

    Raises:
      ValueError: no such row or column, not UTF-8, or not valid JSON.
    """
    columns = self[row]
    text = self._decode(self._column(columns, row, column), row)
    place = f'{self.where(row)}, key {self._decode(columns[0], row)!r}: column {column}'
    with reading(place, 'JSON'):
      return json.loads(text)

  def where(self, row: int) -> str:
    """Returns file and row, for an error."""
    return f'{self.path} row {row}'

  def _span(self, row):
    if not 0 <= row < len(self):
      raise ValueError(f'{self.path} has no row {row}; it has {len(self)}.')
    return int(self._bounds[row]), int(self._bounds[row + 1])

  def _column(self, columns, row, column):
    if column >= len(columns):
      raise ValueError(
        f'{self.where(row)}: {len(columns)} columns, expected at least {column + 1}; '
        'the row is cut off.'
      )
    return columns[column]

  def _decode(self, data, row):
    try:
      return data.strip().decode('utf-8')
    except UnicodeDecodeError as error:
      raise ValueError(f'{self.where(row)}: not UTF-8 text ({error}).') from None


class TsvWriter:
  """Writes a TSV file and its `.lineidx`; both appear only when complete.

  Use as a context manager: an exception inside it leaves no file.
  """

  def __init__(self, path: str | os.PathLike[str]) -> None:
    self.path = os.fspath(path)
    self._offsets: list[int] = []

  def __enter__(self) -> 'TsvWriter':
    with contextlib.ExitStack() as stack:
      scratch = stack.enter_context(files.replacing(self.path))
      stack.push(self._write_lineidx)  # Runs before the rows get their final name.
      self._file = stack.enter_context(open(scratch, 'wb'))
      self._stack = stack.pop_all()
    return self

  def write(self, *columns: str | bytes | int) -> None:
    """Appends a row.

    Raises:
      ValueError: a column holds a tab or a newline.
    """
    row = [c if isinstance(c, bytes) else str(c).encode('utf-8') for c in columns]
    for column in row:
      if b'\t' in column or b'\n' in column:
        raise ValueError(f'{self.path}: a column holds a tab or a newline: {column[:80]!r}.')
    self._offsets.append(self._file.tell())
    self._file.write(b'\t'.join(row) + b'\n')

  def __exit__(
    self,
    kind: type[BaseException] | None,
    value: BaseException | None,
    trace: TracebackType | None,
  ) -> bool | None:
    return self._stack.__exit__(kind, value, trace)

  def _write_lineidx(self, kind, value, trace):
    del value, trace
    if kind is None:
      _write_offsets(self._offsets, lineidx_path(self.path))


def _without_mark(data, start):
  """Removes the byte order mark that some editors put at the start of a file."""
  return data.removeprefix(codecs.BOM_UTF8) if start == 0 else data


def lineidx_path(path: str | os.PathLike[str]) -> str:
  """Returns the path of a TSV file's `.lineidx`."""
  return os.path.splitext(path)[0] + '.lineidx'


def find_rows(path: str | os.PathLike[str]) -> np.ndarray:
  """Returns the byte offset of each row, int64 [rows]; reads the whole file in chunks."""
  pieces, position = [np.zeros(1, np.int64)], 0
  with open(path, 'rb') as file:
    while chunk := file.read(_CHUNK):
      newlines = np.flatnonzero(np.frombuffer(chunk, np.uint8) == 10)
      pieces.append(newlines + position + 1)
      position += len(chunk)
  starts = np.concatenate(pieces)
  return starts[starts < position]  # No row begins after the last newline.


def read_lineidx(path: str | os.PathLike[str], size: int) -> np.ndarray:
  """Returns the offsets in a `.lineidx` file, int64 [rows], for a TSV file of `size` bytes.

  Raises:
    ValueError: the offsets do not ascend from 0 to below `size`.
  """
  with open(path, 'rb') as file:
    words = file.read().removeprefix(codecs.BOM_UTF8).split()
  remedy = 'Write it again: python -m oscar.datasets.tsv FILE.tsv'
  try:
    offsets = np.array(words, 'S20').astype(np.int64)
  except (ValueError, OverflowError) as error:
    raise ValueError(
      f'{path}: not a number ({error}); expected one offset per line. {remedy}'
    ) from None
  if len(offsets) and not (offsets[0] == 0 and offsets[-1] < size and (np.diff(offsets) > 0).all()):
    raise ValueError(
      f'{path}: offsets from {offsets[0]} to {offsets[-1]}; expected ascending numbers from 0 to '
      f'below {size}, the size of the TSV file. {remedy}'
    )
  if size and not len(offsets):
    raise ValueError(f'{path} is empty, but its TSV file has {size} bytes. {remedy}')
  return offsets


def write_lineidx(path: str | os.PathLike[str]) -> int:
  """Writes the `.lineidx` of the TSV file `path`; returns the number of rows."""
  offsets = find_rows(path)
  _write_offsets(offsets, lineidx_path(path))
  return len(offsets)


def _write_offsets(offsets, path):
  files.write_text(path, ''.join(f'{offset}\n' for offset in offsets))


if __name__ == '__main__':
  helper_program.explain(__doc__)
  for name in sys.argv[1:]:
    print(f'{lineidx_path(name)}: {write_lineidx(name)} rows')
