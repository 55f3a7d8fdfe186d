"""The comparison of trainings under several conditions: tables, learning curves, plain words."""

import dataclasses
import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from oscar.quality.report import deviation
from tpu_utils import figures, spread
from tpu_utils.text_table import text_table

_QUICK = 'Trained for a few steps only: the numbers mean nothing.'


@dataclasses.dataclass(frozen=True)
class Cell:
  """The results of a condition.

  Attributes:
    task: name of the task.
    metric: name of the metric; larger is better.
    condition: name of the condition.
    values: the metric of each seed.
  """

  task: str
  metric: str
  condition: str
  values: Sequence[float]

  @property
  def mean(self) -> float:
    """The mean over seeds."""
    return statistics.mean(self.values)

  def as_dict(self) -> dict[str, Any]:
    """Returns the cell for a JSON file, with mean and standard deviation."""
    return {
      **dataclasses.asdict(self), 'mean': self.mean, 'deviation': deviation(self.values)
    }  # fmt: skip

  def __str__(self) -> str:
    """Returns mean and deviation."""
    mean = f'{self.mean:.3f}'
    return f'{mean} +- {deviation(self.values):.3f}' if len(self.values) > 1 else mean


@dataclasses.dataclass(frozen=True)
class Curves:
  """The evaluations of a task's trainings.

  Attributes:
    task: name of the task.
    metric: name of the metric.
    of_condition: {condition: [{step: value} of each seed]}.
  """

  task: str
  metric: str
  of_condition: Mapping[str, Sequence[Mapping[int, float]]]


def table(cells: Sequence[Cell]) -> str:
  """Formats the cells as text: a row for each metric, a column for each condition."""
  header, rows = _rows(cells)
  return text_table(header, rows, left_columns=(0, 1))


def markdown(
  cells: Sequence[Cell], said: Sequence[str], picture: str, quick: bool, remark: str = ''
) -> str:
  """Formats the comparison as a page.

  Args:
    cells: the results.
    said: see `verdicts`.
    picture: name of the file of the learning curves.
    quick: whether the trainings were a mere trial.
    remark: a sentence on the trainings, below the table.
  """
  header, rows = _rows(cells)
  lines = ['# Tags of the images compared', '', *([_QUICK, ''] if quick else [])]
  lines += [f'| {" | ".join(row)} |' for row in (header, ['---'] * len(header), *rows)]
  lines += [
    '', 'Mean +- standard deviation over seeds, after the last step, on scenes not trained on.',
    *([remark] if remark else []), '',
    *(f'- {line}' for line in said), '', f'![Learning curves]({picture})', '',
  ]  # fmt: skip
  return '\n'.join(lines)


def verdicts(cells: Sequence[Cell], base: str) -> list[str]:
  """Says for each task and metric how the conditions differ from the base.

  A difference counts if it is at least two standard errors of the difference of means, from two or
  more seeds each.

  Args:
    cells: the results.
    base: name of the condition to compare with.

  Returns:
    A line for each metric that has the base and other conditions.
  """
  said = []
  for (task, metric), own in _by_metric(cells):
    reference = own.pop(base, None)
    if reference is None or not own:
      continue
    texts = [
      f'{condition} {spread.difference(cell.values, reference.values)}'
      for condition, cell in own.items()
    ]
    said.append(f'{task}, {metric}, against {base}: {"; ".join(texts)}.')
  return said


def draw(tasks: Sequence[Curves], path: str) -> None:
  """Plots each task's metric by step: the mean over seeds, and the spread as a band.

  The band is one standard deviation to each side. Steps that not all seeds have are left out.

  Args:
    tasks: the curves of each task.
    path: the PNG file to write, whole or not at all.

  Raises:
    OSError: the file cannot be written.
  """
  figures.save_panels(path, tasks, _draw_task)


def _draw_task(axes, curves):
  for number, (condition, seeds) in enumerate(curves.of_condition.items()):
    steps = sorted(set.intersection(*map(set, seeds)))
    columns = [[seed[step] for seed in seeds] for step in steps]
    means = [statistics.mean(column) for column in columns]
    spread = [deviation(column) for column in columns]
    label = f'{condition} ({len(seeds)} seeds)' if len(seeds) > 1 else condition
    axes.plot(steps, means, 'o-', ms=3, color=f'C{number}', label=label)
    low, high = ([m + sign * s for m, s in zip(means, spread, strict=True)] for sign in (-1, 1))
    axes.fill_between(steps, low, high, color=f'C{number}', alpha=0.2, linewidth=0)
  axes.set(title=curves.task, xlabel='step', ylabel=curves.metric)
  axes.legend(fontsize='small', title='tags')


def _by_metric(cells):
  """Yields ((task, metric), {condition: cell}) of cells in order."""
  for key, own in itertools.groupby(cells, lambda cell: (cell.task, cell.metric)):
    yield key, {cell.condition: cell for cell in own}


def _rows(cells):
  """Returns (header, rows of texts)."""
  conditions = list(dict.fromkeys(cell.condition for cell in cells))
  rows = [
    [*key, *(str(own[name]) if name in own else '-' for name in conditions)]
    for key, own in _by_metric(cells)
  ]
  return ['task', 'metric', *conditions], rows
