"""Text tables with aligned columns."""
from collections.abc import Collection, Iterable, Sequence


def text_table(
  header: Sequence, rows: Iterable[Sequence], left_columns: Collection[int] = (0,)
) -> str:
  """Formats a table as lines of text, each column as wide as its widest cell.

  Args:
    header: names of the columns.
    rows: as many cells each as `header`, of any type.
    left_columns: indices of the columns to align to the left; the others align to the right.
  """
  lines = [[str(cell) for cell in row] for row in (header, *rows)]
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  aligned = (
    [
      cell.ljust(width) if index in left_columns else cell.rjust(width)
      for index, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
    for line in lines
  )
  return '\n'.join('  '.join(cells).rstrip() for cells in aligned)
