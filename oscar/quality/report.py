"""The comparison of trained models with baselines: a table, JSON, and learning curves."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from oscar.quality import baselines, captions
from tpu_utils import figures
from tpu_utils.text_table import text_table

# {baseline: heading of its column}.
COLUMNS = {
  baselines.CHANCE: 'chance',
  baselines.BY_KIND: 'by kind',
  baselines.TEXT: 'text',
  baselines.TEXT_AND_TAGS: 'text + tags',
  captions.TEMPLATE: 'template',
  captions.REFERENCE: 'reference',
}
_NOTES = (
  'chance: the most frequent answer, or a coin; by kind: the most frequent answer of each kind of '
  'question;\ntext, text + tags: without a network; template: "a picture of" and the tags; '
  'reference: one caption\nagainst the others of the image; masked: our model with its regions '
  'masked; +-: standard deviation over seeds.'
)


@dataclasses.dataclass(frozen=True)
class Row:
  """A line of the table.

  Attributes:
    task: name of the task.
    metric: name of the metric.
    goal: the value to reach; None for none.
    baselines: {baseline: value}; those that do not apply are missing.
    masked: the value of each seed with the regions masked.
    shown: the value of each seed with regions.
  """

  task: str
  metric: str
  goal: float | None
  baselines: Mapping[str, float]
  masked: Sequence[float]
  shown: Sequence[float]

  def as_dict(self) -> dict[str, Any]:
    """Returns the row for a JSON file, with means and standard deviations."""
    return {
      **dataclasses.asdict(self),
      'masked_mean': statistics.mean(self.masked),
      'masked_deviation': deviation(self.masked),
      'shown_mean': statistics.mean(self.shown),
      'shown_deviation': deviation(self.shown),
    }


@dataclasses.dataclass(frozen=True)
class Curves:
  """The evaluations of a task's trainings.

  Attributes:
    row: the row with the metric that selects the best checkpoint.
    of_seed: {seed: {step: value}}.
  """

  row: Row
  of_seed: Mapping[int, Mapping[int, float]]


def deviation(values: Sequence[float]) -> float:
  """Returns the standard deviation of a sample; 0 for a single value."""
  return statistics.stdev(values) if len(values) > 1 else 0.0


def table(rows: Sequence[Row]) -> str:
  """Formats the rows, with an explanation of the columns; baselines that none has are left out."""
  columns = [name for name in COLUMNS if any(name in row.baselines for row in rows)]
  titles = [COLUMNS[name] for name in columns]
  header = ('task', 'metric', *titles, 'masked', 'with regions', 'goal')
  lines = [
    (
      row.task,
      row.metric,
      *(_number(row.baselines.get(name)) for name in columns),
      _spread(row.masked),
      _spread(row.shown),
      '-' if row.goal is None else f'{row.goal:.2f}',
    )
    for row in rows
  ]
  return f'{text_table(header, lines, left_columns=(0, 1))}\n\n{_NOTES}'


def draw(tasks: Sequence[Curves], path: str) -> None:
  """Plots each task's metric by step: a line for each seed, and the baselines.

  Args:
    tasks: the curves of each task.
    path: the PNG file to write, whole or not at all.

  Raises:
    OSError: the file cannot be written.
  """
  figures.save_panels(path, tasks, _draw_task)


def _draw_task(axes, curves):
  row = curves.row
  for number, (seed, values) in enumerate(sorted(curves.of_seed.items())):
    steps, heights = zip(*sorted(values.items()), strict=True)
    axes.plot(steps, heights, 'o-', ms=3, color=f'C{number}', label=f'with regions, seed {seed}')
  lines = {COLUMNS[name]: row.baselines[name] for name in COLUMNS if name in row.baselines}
  lines['regions masked'] = statistics.mean(row.masked)
  for number, (label, height) in enumerate(lines.items()):
    axes.axhline(height, color=f'C{number + 5}', linestyle='--', linewidth=1.5, label=label)
  if row.goal is not None:
    axes.axhline(row.goal, color='black', linewidth=1, label='goal')
  axes.set(title=row.task, xlabel='step', ylabel=row.metric)
  axes.legend(fontsize='x-small')


def _number(value):
  return '-' if value is None else f'{value:.3f}'


def _spread(values):
  mean = f'{statistics.mean(values):.3f}'
  return f'{mean} +- {deviation(values):.3f}' if len(values) > 1 else mean
