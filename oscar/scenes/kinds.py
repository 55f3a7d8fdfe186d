"""Counts the questions and statements of a world by kind and answer."""

import collections
import dataclasses
import os
from collections.abc import Mapping

from oscar.datasets import records
from oscar.scenes import layouts
from tpu_utils.text_table import text_table

_TASKS = {'vqa': 'VQA', 'gqa': 'GQA', 'nlvr2': 'NLVR2'}


@dataclasses.dataclass(frozen=True)
class Kind:
  """How often texts of one kind occur.

  Attributes:
    task: 'vqa', 'gqa' or 'nlvr2'.
    name: the kind.
    count: questions, or statements.
    answers: {answer: questions with it}; an NLVR2 label is 'true' or 'false'. A question with
      several right answers counts once for each.
  """

  task: str
  name: str
  count: int
  answers: Mapping[str, int]

  @property
  def most_frequent(self) -> float:
    """The share of the kind's texts that have its most frequent answer."""
    return max(self.answers.values()) / self.count


def count(official: str, split: str) -> list[Kind]:
  """Counts the texts of a split, from its official files.

  Args:
    official: folder with a subfolder for each task, as `layouts.write` fills it.
    split: 'train' or 'val'.

  Returns:
    The kinds of each task, by falling count.
  """
  found = []
  for task, name in layouts.QUESTION_FILES[split].items():
    texts: collections.Counter = collections.Counter()
    answers: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    names = _answer_names(official, task)
    for row in records.read_json_list(os.path.join(official, name)):
      texts[row['kind']] += 1
      answers[row['kind']].update(names[i] for i in row.get('an', [row.get('label')]))
    found += [Kind(task, kind, number, answers[kind]) for kind, number in texts.most_common()]
  return found


def _answer_names(official, task):
  """Returns {number in a task's rows: answer}."""
  if task == 'nlvr2':
    return {0: 'false', 1: 'true'}
  labels = records.read_plain(os.path.join(official, layouts.LABEL_FILES[task]))
  return {number: answer for answer, number in labels.items()}


def table(kinds: list[Kind]) -> str:
  """Formats counts: a line per kind with its share of the task and the most frequent answers."""
  totals: collections.Counter = collections.Counter()
  for kind in kinds:
    totals[kind.task] += kind.count
  rows = [
    (
      _TASKS[kind.task], kind.name, kind.count, f'{kind.count / totals[kind.task]:.1%}',
      len(kind.answers), f'{kind.most_frequent:.1%}', _first_answers(kind.answers),
    )
    for kind in kinds
  ]  # fmt: skip
  header = ('task', 'kind', 'texts', 'share', 'answers', 'largest', 'most frequent')
  return text_table(header, rows, left_columns=(0, 1, 6))


def _first_answers(answers):
  ordered = sorted(answers.items(), key=lambda item: (-item[1], item[0]))
  return ', '.join(f'{answer} {number}' for answer, number in ordered[:4])
