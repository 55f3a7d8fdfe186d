"""`python -m PACKAGE.paper_tables`: published tables beside computed and measured values.

A package gives its tables, a `Plan` for each, and a function that evaluates a checkpoint; results
are JSON lines that a stopped run resumes from.
"""
from __future__ import annotations

import dataclasses
import datetime
import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tpu_utils import figures, file_systems, files, paper_table
from tpu_utils.command_line import cli, settings
from tpu_utils.command_line.progress import Progress
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting
from tpu_utils.names import check_name, unknown_name
from tpu_utils.paper_table import Line, Measured, Paper, Plan
from tpu_utils.text_table import text_table

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_RESULTS = 'results.jsonl'
_FORM = (
  '{"evaluation": NAME, "values": {METRIC: NUMBER}, "date": ..., "command": ...}, or '
  '{"table": ID, "row": {LABEL: VALUE}, "values": {COLUMN: NUMBER}, "date": ..., "command": ...}'
)


@dataclasses.dataclass(frozen=True)
class TablesConfig(settings.Checked):
  """Tables, results and output."""

  tables: str = setting(
    '', 'Ids of tables, separated by semicolons; by default all. A start is enough: "Table 2".'
  )
  list: bool = setting(False, 'List the tables and the checkpoints that they ask for.')
  compute: bool = setting(True, 'Compute what needs no data; --nocompute prints results only.')
  results: str = setting(
    '', f'Files with results of earlier runs, separated by commas; JSON lines: {_FORM}.'
  )
  checkpoint_dir: str = setting(
    '', 'Folder with checkpoints to evaluate, named as --list shows; missing ones are not run.'
  )
  data_dir: str = setting('', 'Folder with the data to evaluate on, as --list shows.')
  output_dir: str = setting(
    '', 'Folder for tables.md, tables.csv, figures and results.jsonl, from which a stopped '
    'evaluation resumes.'
  )  # fmt: skip

  def __post_init__(self):
    super().__post_init__()
    if bool(self.checkpoint_dir) != bool(self.data_dir):
      raise ValueError('--checkpoint_dir and --data_dir go together: checkpoints, and their data.')
    if self.checkpoint_dir and not self.output_dir:
      raise ValueError('Evaluations need --output_dir, where their results are kept.')


@dataclasses.dataclass(frozen=True)
class Tables:
  """The script of one paper.

  Attributes:
    paper: its tables.
    plans: {table id: `Plan`}, for every table.
    evaluate: function(evaluation, checkpoint, data_dir, work_dir) -> ({metric: value}, command).
    data: function(evaluation) -> folder below --data_dir; '' is --data_dir itself.
    draw: {file name: function({table id: lines}, checkpoint_dir) -> figure, or None without data}.
    config: settings class of the script.
    draw_from: {file name: function(settings) -> figure, or None unless it is asked for}.
    folders: flags of folders that must exist, if given.
  """

  paper: Paper
  plans: Mapping[str, Plan]
  evaluate: Callable[[str, str, str, str], tuple[Mapping[str, float], str]]
  data: Callable[[str], str] = lambda name: ''
  draw: Mapping[str, Callable[[Mapping[str, Sequence[Line]], str], Figure | None]] = (
    dataclasses.field(default_factory=dict)
  )
  config: type[TablesConfig] = TablesConfig
  draw_from: Mapping[str, Callable[[Any], Figure | None]] = dataclasses.field(
    default_factory=dict
  )
  folders: Sequence[str] = ('checkpoint_dir', 'data_dir')

  def script(self, doc: str, module: str) -> Script:
    """Makes the script; TensorFlow is imported when something is computed or evaluated."""
    return Script(
      doc, (self.config,), self.run, module=module, uses_tensorflow=False, check=self._check
    )

  def _check(self, resolved):
    (config,) = resolved
    self.selected(config.tables)
    for name in self.folders:
      files.check_folder(name, getattr(config, name))
    for path in _paths(config.results):
      if not files.exists(path):
        raise ValueError(f'--results={path}: no such file; give files of JSON lines.')

  def selected(self, text: str) -> list[str]:
    """Returns the ids of the tables that `--tables` selects, in the paper's order.

    Raises:
      ValueError: a name selects no table; the message names the nearest ones.
    """
    known = list(self.plans)
    chosen = set()
    for name in filter(None, (part.strip() for part in text.split(';'))):
      found = {i for i in known if i == name} or {i for i in known if _starts(i, name)}
      if not found:
        raise unknown_name('table of --tables', name, known)
      chosen |= found
    return [i for i in known if i in chosen or not chosen]

  def run(self, resolved: settings.Resolved) -> dict[str, list[Line]]:
    """Prints the selected tables, evaluates, and writes the files; returns {table id: lines}."""
    (config,) = resolved
    ids = self.selected(config.tables)
    if config.list:
      print(self._listing(ids))
      return {}
    if config.output_dir:
      file_systems.of(config.output_dir).makedirs(config.output_dir)
    results, cells = self.read_results(_paths(config.results))
    if config.output_dir:
      own = os.path.join(config.output_dir, _RESULTS)
      if config.checkpoint_dir:
        self._evaluate(config, ids, own)
      more, other = self.read_results([own])
      results, cells = {**results, **more}, {**cells, **other}
    if config.compute:
      cli.import_tensorflow()
    compared: dict[str, list[Line]] = {}
    with Progress(len(ids), 'tables', unit='table') as progress:
      for number, table_id in enumerate(ids, 1):
        compared[table_id] = self.compare(table_id, results, cells, config.compute)
        text = paper_table.as_text(
          self.paper[table_id], compared[table_id], self.plans[table_id].notes
        )
        print(f'{text}\n', flush=True)
        progress.update(number)
    if len(ids) > 1:
      print(paper_table.summary([line for lines in compared.values() for line in lines]))
    if config.output_dir:
      self._write(config, compared)
    return compared

  def compare(
    self,
    table_id: str,
    results: Mapping | None = None,
    cells: Mapping | None = None,
    compute: bool = True,
  ) -> list[Line]:
    """Compares one table; see `paper_table.compare`."""
    plan = self.plans[table_id]
    if not compute:
      plan = dataclasses.replace(plan, compute=lambda row: {})
    return paper_table.compare(self.paper[table_id], plan, results, cells)

  def evaluations(self, ids: Iterable[str]) -> dict[str, set[str]]:
    """Returns {evaluation: metrics} that some tables ask for, in order."""
    wanted: dict[str, set[str]] = {}
    for table_id in ids:
      for row in self.paper[table_id].values():
        for evaluation in self.plans[table_id].evaluations(row).values():
          wanted.setdefault(evaluation.name, set()).add(evaluation.metric)
    return wanted

  def _listing(self, ids):
    rows = [
      [
        table_id,
        len(self.paper[table_id].rows),
        'yes' if self.evaluations([table_id]) else '-',
        self.paper[table_id].caption,
      ]
      for table_id in ids
    ]
    parts = [text_table(['table', 'rows', 'evaluations', 'caption'], rows, left_columns=(0, 3))]
    evaluations = [
      [
        _of(name),
        os.path.join('DATA_DIR', self.data(name)).rstrip('/'),
        name.partition(':')[2] or '-',
        ', '.join(sorted(metrics)),
      ]
      for name, metrics in self.evaluations(ids).items()
    ]
    if evaluations:
      header = ['checkpoint below --checkpoint_dir', 'data', 'set', 'metrics']
      parts += ['', text_table(header, evaluations, left_columns=(0, 1, 2, 3))]
    return '\n'.join(parts)

  # ---- Results

  def read_results(self, paths: Iterable[str]) -> tuple[dict, dict]:
    """Reads results of evaluations and of other measurements; later lines replace earlier ones.

    Returns:
      ({(evaluation, metric): `Measured`}, {(table id, labels, column): `Measured`}).

    Raises:
      ValueError: a line is of another form, or names an unknown table, row or column.
    """
    results: dict[tuple[str, str], Measured] = {}
    cells: dict[tuple[str, tuple, str], Measured] = {}
    known = self.evaluations(self.plans)
    for path in paths:
      for number, row in enumerate(files.read_json_lines(path), 1):
        try:
          how = f'{row["date"]}: {row["command"]}'
          values = {str(name): _number(value) for name, value in row['values'].items()}
          if 'evaluation' in row:
            check_name('evaluation', row['evaluation'], known)
            results |= {(row['evaluation'], name): Measured(v, how) for name, v in values.items()}
          else:
            key = self._row_key(row)
            cells |= {(*key, name): Measured(value, how) for name, value in values.items()}
        except (KeyError, TypeError, AttributeError):
          raise ValueError(f'{path}: result {number} is {row!r:.80}; expected {_FORM}.') from None
        except ValueError as error:
          raise ValueError(f'{path}: result {number}: {error}') from None
    return results, cells

  def _row_key(self, row):
    table = self.paper[row['table']]
    labels = self.plans[table.id].labels
    for name in row['values']:
      check_name(f'column of {table.id}', name, [c for c in table.columns if c not in labels])
    found = table.row(**{name: row['row'][name] for name in row['row']})
    return table.id, tuple(found[name] for name in labels if name in found)

  def _evaluate(self, config, ids, path):
    """Evaluates the checkpoints that exist and have no result yet."""
    wanted = self.evaluations(ids)
    found = {name: _checkpoint(config.checkpoint_dir, _of(name)) for name in wanted}
    found = {name: checkpoint for name, checkpoint in found.items() if checkpoint}
    if not found:
      raise ValueError(
        f'--checkpoint_dir={config.checkpoint_dir} holds no checkpoint for these tables; expected '
        f'names such as {", ".join(map(_of, list(wanted)[:3])) or "none: they evaluate nothing"} '
        '(--list).'
      )
    done = {
      (row.get('evaluation'), row.get('checkpoint'), row.get('data_dir'))
      for row in files.read_json_lines(path)
    }
    for number, (name, checkpoint) in enumerate(found.items(), 1):
      data_dir = os.path.join(config.data_dir, self.data(name)).rstrip('/')
      if (name, checkpoint, data_dir) in done:
        print(f'{name}: evaluated before, as {path} says; remove its line to evaluate it again.')
        continue
      place = f'[{number} of {len(found)} checkpoints]'
      print(f'{place} {name}: {checkpoint} on {data_dir}', flush=True)
      work_dir = os.path.join(config.output_dir, 'evaluations', name.replace(':', '-'))
      values, command = self.evaluate(name, checkpoint, data_dir, work_dir)
      files.append_json_line(
        path,
        {
          'evaluation': name,
          'values': dict(values),
          'checkpoint': checkpoint,
          'data_dir': data_dir,
          'date': datetime.date.today().isoformat(),
          'command': command,
        },
      )

  def _write(self, config, compared):
    """Writes Markdown, CSV and the figures that have something to show."""
    title = f'# {self.paper.title} (arXiv {self.paper.arxiv})\n\n'
    every = [line for lines in compared.values() for line in lines]
    title += (
      f'Published values beside those of this project: {paper_table.summary(every)}. "As printed": '
      'rounded to the printed digits, ours is the published value.\n\n'
    )
    sections = [
      paper_table.as_markdown(
        self.paper[table_id], lines, self.plans[table_id].notes, self.paper.sources
      )
      for table_id, lines in compared.items()
    ]
    texts = {'tables.md': title + '\n'.join(sections), 'tables.csv': paper_table.as_csv(every)}
    for name, text in texts.items():
      files.write_text(os.path.join(config.output_dir, name), text)
    names = list(texts)
    figures_drawn = {
      **{name: draw(compared, config.checkpoint_dir) for name, draw in self.draw.items()},
      **{name: draw(config) for name, draw in self.draw_from.items()},
    }
    for name, figure in figures_drawn.items():
      if figure is not None:
        figures.save(figure, os.path.join(config.output_dir, name), dpi=120)
        names.append(name)
    print(f'Written to {config.output_dir}: {", ".join(names)}')


def _of(name):
  """Returns the checkpoint of an evaluation 'CHECKPOINT' or 'CHECKPOINT:SET'."""
  return name.partition(':')[0]


def _paths(text):
  return [path.strip() for path in text.split(',') if path.strip()]


def _starts(table_id, name):
  """Returns whether `name` starts `table_id` and ends at the end of a word: not 'Table 1' of 10."""
  return table_id.startswith(name) and not table_id[len(name) :][:1].isalnum()


def _number(value):
  if isinstance(value, bool) or not isinstance(value, int | float):
    raise ValueError(f'a value is {value!r:.40}; expected a number.')
  return value


def _checkpoint(folder, name):
  """Returns the path of a checkpoint: a folder, a file with that stem, or a prefix of files."""
  path = os.path.join(folder, name)
  if files.exists(path):
    return path
  parent, stem = os.path.split(path)
  found = files.paths_in(parent, f'{stem}.')
  if not found:
    return None
  # A prefix of TF1's files, or one whole file.
  return path if any('.index' in os.path.basename(p) for p in found) else found[0]


def command_text(module: str, flags: Mapping[str, Any]) -> str:
  """Returns the command line of a script with flags."""
  words = [f'--{name}={value}' for name, value in flags.items()]
  return shlex.join(['python', '-m', module, *words])
