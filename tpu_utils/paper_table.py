"""Published tables as data, and their comparison with measured values.

A paper's tables are a JSON file: `{paper, arxiv, sources: {key: where}, tables}`; a table is `{id,
caption, columns, rows, notes}`, a row `{column: {"value": ..., "source": key}}`, and a cell that is
empty in print is missing. A source `unconfirmed` means: from memory, not read anywhere.

Knows no paper: what is computed for which cell is a `Plan`, which the paper's package provides.
"""
import csv
import dataclasses
import decimal
import functools
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tpu_utils import files
from tpu_utils.names import check_name
from tpu_utils.text_table import text_table

NOT_RUN = 'not run here'
COMPUTED = 'computed'
FROM_PRINT = 'from the printed numbers'
_HEADER = ('row', 'quantity', 'paper', 'measured', 'difference', 'as printed', 'how', 'source')
_MANY = 3  # Printed digits after the point of which more are shown as 5e-06.
# {suffix or name of a column: unit}, for columns that a paper's own units leave out.
_UNITS = {
  '_M': 'million',
  '_B': 'billion',
  '_ms': 'ms',
  '_s': 's',
  '_ratio': 'times',
}


@dataclasses.dataclass(frozen=True)
class PaperRow:
  """A published number or text.

  Attributes:
    value: as printed: int, float, bool or str.
    unit: '%', 'million', ...; empty for texts and plain numbers.
    source: a key of the file's sources, or 'unconfirmed'.
    command: the command that measures it; empty if there is none.
  """

  value: Any
  unit: str
  source: str
  command: str = ''

  @property
  def decimals(self) -> int:
    """Printed digits after the point; 0 for texts."""
    if not _is_number(self.value):
      return 0
    exponent = decimal.Decimal(repr(self.value)).as_tuple().exponent
    return max(0, -int(exponent))


@dataclasses.dataclass(frozen=True)
class Table:
  """A published table.

  Attributes:
    id: its name, such as 'Table 2'.
    caption: what it shows.
    columns: names of the columns.
    rows: {column: `PaperRow`} each, without the cells that are empty in print.
    notes: remarks on the print.
  """

  id: str
  caption: str
  columns: tuple[str, ...]
  rows: tuple[Mapping[str, PaperRow], ...]
  notes: str = ''

  def values(self) -> list[dict[str, Any]]:
    """Returns the rows as {column: value}."""
    return [values_of(row) for row in self.rows]

  def row(self, **labels: Any) -> dict[str, Any]:
    """Returns the only row with these values, as {column: value}.

    Raises:
      ValueError: no row has them, or several do.
    """
    found = [row for row in self.values() if labels.items() <= row.items()]
    if len(found) != 1:
      raise ValueError(f'{self.id} has {len(found)} rows with {labels}; expected one.')
    return found[0]

  def column(self, name: str, by: str) -> dict[Any, Any]:
    """Returns {value of the column `by`: value of the column `name`} of the rows with both."""
    return {row[by]: row[name] for row in self.values() if by in row and name in row}


@dataclasses.dataclass(frozen=True)
class Paper:
  """The tables of a paper.

  Attributes:
    title: of the paper.
    arxiv: its number.
    sources: {key: where the values were read}.
    tables: {id: `Table`}.
  """

  title: str
  arxiv: str
  sources: Mapping[str, str]
  tables: Mapping[str, Table]

  def __getitem__(self, table_id: str) -> Table:
    check_name('table', table_id, self.tables)
    return self.tables[table_id]


@functools.cache
def _load(path, units):
  content = files.read_json(path)
  units = dict(units)
  tables = {}
  for table in content['tables']:
    rows = tuple(
      {
        column: PaperRow(cell['value'], _unit(column, cell['value'], units), cell['source'])
        for column, cell in row.items()
      }
      for row in table['rows']
    )
    tables[table['id']] = Table(
      table['id'], table['caption'], tuple(table['columns']), rows, table.get('notes') or ''
    )
  return Paper(content['paper'], content['arxiv'], content['sources'], tables)


def load(path: str | os.PathLike[str], units: Mapping[str, str] | None = None) -> Paper:
  """Reads a paper's tables, once per process.

  Args:
    path: the JSON file.
    units: {column: unit}; other columns have the unit of their suffix (`_M`: million).

  Raises:
    OSError: the file cannot be read.
    ValueError: it is not JSON.
  """
  return _load(os.fspath(path), tuple(sorted((units or {}).items())))


def _unit(column, value, units):
  if not _is_number(value):
    return ''
  if column in units:
    return units[column]
  return next((unit for suffix, unit in _UNITS.items() if column.endswith(suffix)), '')


def values_of(row: Mapping[str, PaperRow]) -> dict[str, Any]:
  """Returns {column: value} of a row."""
  return {column: cell.value for column, cell in row.items()}


# ---- Measured values


@dataclasses.dataclass(frozen=True)
class Measured:
  """A measured value and its origin.

  Attributes:
    value: in the paper's unit; None for a fact that a test checks.
    how: 'computed', or date and command of an evaluation.
  """

  value: Any
  how: str = COMPUTED


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """An accuracy that a checkpoint and data give.

  Attributes:
    name: of the checkpoint below --checkpoint_dir, and after a colon the set of examples if the
      checkpoint is evaluated on several; equal names are evaluated once.
    metric: key of the results.
    command: the command that measures it alone.
  """

  name: str
  metric: str
  command: str = ''


@dataclasses.dataclass(frozen=True)
class Plan:
  """What is compared in a table.

  Attributes:
    labels: columns that name a row; the others are compared.
    compute: function(row as {column: value}) -> {column: value or `Measured`}, without data.
    evaluations: function(row) -> {column: `Evaluation`}.
    notes: why we count otherwise than the paper; a line each.
  """

  labels: tuple[str, ...]
  compute: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda row: {}
  evaluations: Callable[[Mapping[str, Any]], Mapping[str, Evaluation]] = lambda row: {}
  notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Line:
  """One compared cell.

  Attributes:
    table: id of the table.
    row: {label column: value}.
    column: name of the column.
    paper: the published value.
    measured: ours, or None.
  """

  table: str
  row: Mapping[str, Any]
  column: str
  paper: PaperRow
  measured: Measured | None = None

  @property
  def label(self) -> str:
    """The row's labels as one text."""
    return ', '.join(
      str(value) if isinstance(value, str) else f'{name} {value}'
      for name, value in self.row.items()
    )

  @property
  def quantity(self) -> str:
    """Column and unit."""
    return f'{self.column} [{self.paper.unit}]' if self.paper.unit else self.column

  @property
  def difference(self) -> float | None:
    """Measured minus published; None unless both are numbers."""
    if self.measured is None or not (
      _is_number(self.measured.value) and _is_number(self.paper.value)
    ):
      return None
    return self.measured.value - self.paper.value

  @property
  def as_printed(self) -> bool | None:
    """Whether the measured value, rounded to the printed digits, is the published one.

    None without a measured value.
    """
    if self.measured is None or self.measured.value is None:
      return None
    difference = self.difference
    if difference is None:
      return self.measured.value == self.paper.value
    return abs(difference) <= 0.5 * 10.0**-self.paper.decimals * (1 + 1e-9)

  def cells(self) -> list[str]:
    """Returns the cells of the printed table."""
    measured, as_printed = self.measured, self.as_printed
    return [
      self.label,
      self.quantity,
      _text(self.paper.value),
      '-' if measured is None or measured.value is None else self._measured_text(),
      self._difference_text(),
      '-' if as_printed is None else 'yes' if as_printed else 'no',
      NOT_RUN if measured is None else measured.how,
      self.paper.source,
    ]

  def _measured_text(self):
    value = self.measured.value
    printable = isinstance(value, float) and _is_number(self.paper.value)
    if not printable or value == self.paper.value:
      return _text(value)
    return self._rounded(value)

  def _rounded(self, value, sign=''):
    decimals = self.paper.decimals
    return f'{value:{sign}.3g}' if decimals > _MANY else f'{value:{sign}.{decimals + 2}f}'

  def _difference_text(self):
    difference = self.difference
    if difference is None:
      return '-'
    if isinstance(difference, int) or not difference:
      return f'{difference:+,}' if difference else '0'
    return self._rounded(difference, '+')


def _is_number(value):
  return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value):
  return f'{value:,}' if isinstance(value, int) and not isinstance(value, bool) else str(value)


def compare(
  table: Table,
  plan: Plan,
  results: Mapping[tuple[str, str], Measured] | None = None,
  cells: Mapping[tuple[str, tuple, str], Measured] | None = None,
) -> list[Line]:
  """Compares a table with measured values.

  Args:
    table: the published table.
    plan: what is computed and evaluated.
    results: {(evaluation, metric): `Measured`} of evaluations.
    cells: {(table id, labels of the row, column): `Measured`} of other measurements; they come
      before evaluations and computed values.
  """
  lines = []
  for row in table.rows:
    values = values_of(row)
    labels = {name: values[name] for name in plan.labels if name in values}
    computed = plan.compute(values)
    evaluations = plan.evaluations(values)
    for column, cell in row.items():
      if column in plan.labels:
        continue
      measured = computed.get(column)
      if measured is not None and not isinstance(measured, Measured):
        measured = Measured(measured)
      if column in evaluations:
        wanted = evaluations[column]
        cell = dataclasses.replace(cell, command=wanted.command)
        measured = (results or {}).get((wanted.name, wanted.metric), measured)
      key = (table.id, tuple(labels.values()), column)
      lines.append(Line(table.id, labels, column, cell, (cells or {}).get(key, measured)))
  return lines


# ---- Output


def summary(lines: Sequence[Line]) -> str:
  """Counts the compared cells of some tables in a sentence."""
  measured = [line for line in lines if line.measured is not None]
  printed = sum(line.as_printed is True for line in measured)
  differing = sum(line.as_printed is False for line in measured)
  checked = len(measured) - printed - differing
  tested = f', {checked} checked by tests' if checked else ''
  return (
    f'{len(lines)} values: {printed} as printed, {differing} otherwise{tested}, '
    f'{len(lines) - len(measured)} {NOT_RUN}'
  )


def as_text(table: Table, lines: Sequence[Line], notes: Sequence[str] = ()) -> str:
  """Formats a comparison for the terminal."""
  rows = _without_repeats([line.cells() for line in lines])
  parts = [f'{table.id}: {table.caption}', text_table(_HEADER, rows, left_columns=(0, 1, 6, 7))]
  parts += [f'Note: {note}' for note in (*notes, *([table.notes] if table.notes else []))]
  return '\n'.join([*parts, summary(lines)])


def as_markdown(
  table: Table, lines: Sequence[Line], notes: Sequence[str], sources: Mapping[str, str]
) -> str:
  """Formats a comparison as a section of a Markdown file, with the sources spelled out."""
  rows = _without_repeats([line.cells() for line in lines])
  parts = [f'## {table.id}', '', f'{table.caption}.', '']
  parts += [_markdown_row(_HEADER), _markdown_row(['---'] * len(_HEADER))]
  parts += [_markdown_row(row) for row in rows]
  parts += ['', f'{summary(lines)}.', '']
  parts += [f'- {note}' for note in (*notes, *([table.notes] if table.notes else []))]
  for key in dict.fromkeys(line.paper.source for line in lines):
    where = sources.get(key, 'from memory, not read anywhere')
    parts.append(f'- Source `{key}`: {where}')
  commands = dict.fromkeys(line.paper.command for line in lines if line.paper.command)
  if commands:
    parts += ['', 'Commands that measure the accuracies:', '', '```']
    parts += [*commands, '```']
  return '\n'.join(parts) + '\n'


def as_csv(lines: Iterable[Line]) -> str:
  """Formats compared cells as CSV, a line each."""
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow([
    'table', 'row', 'column', 'unit', 'paper', 'measured', 'difference', 'as_printed', 'how',
    'source', 'command',
  ])  # fmt: skip
  for line in lines:
    measured = line.measured
    cells: list[Any] = [line.table, line.label, line.column, line.paper.unit, line.paper.value]
    cells += ['' if measured is None or measured.value is None else measured.value]
    cells += ['' if line.difference is None else line.difference]
    cells += ['' if line.as_printed is None else line.as_printed]
    cells += [NOT_RUN if measured is None else measured.how]
    writer.writerow([*cells, line.paper.source, line.paper.command])
  return text.getvalue()


def _without_repeats(rows):
  """Replaces a row's label that equals the one above by an empty cell."""
  shown, before = [], None
  for row in rows:
    shown.append(['' if row[0] == before else row[0], *row[1:]])
    before = row[0]
  return shown


def _markdown_row(cells):
  return '| ' + ' | '.join(str(cell).replace('|', r'\|') for cell in cells) + ' |'
