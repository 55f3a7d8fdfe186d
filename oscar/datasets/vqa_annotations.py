"""VQA's raw annotations, and labels made from them by the VQA rule.

    v2_mscoco_train2014_annotations.json, v2_mscoco_val2014_annotations.json
        {annotations: [{question_id, question_type, answer_type, multiple_choice_answer,
                        answers: [{answer}]}]}

The answers of a model are those that at least nine questions of both splits have as their most
frequent one (3,129 in VQA v2). The score of a label is min(1, 0.3 n) for n of ten annotators.
"""

import collections
import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from oscar.datasets import records
from oscar.metrics import vqa as rule

FILES = {
  'train': ('v2_mscoco_train2014_annotations.json',),
  'val': ('v2_mscoco_val2014_annotations.json',),
  'train+val': ('v2_mscoco_train2014_annotations.json', 'v2_mscoco_val2014_annotations.json'),
}
LEAST_QUESTIONS = 9  # A label is the answer of at least so many questions.


@dataclasses.dataclass(frozen=True)
class Annotation:
  """The answers to a question.

  Attributes:
    answers: the annotators' answers, as they wrote them.
    answer_type: 'yes/no', 'number' or 'other'.
    most_frequent: the answer that most annotators gave.
  """

  answers: tuple[str, ...]
  answer_type: str
  most_frequent: str


def read(folder: str, split: str) -> dict[int, Annotation]:
  """Reads the annotations of a split: {question id: `Annotation`}.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: a file is not one of annotations, or names a question twice; names file and row.
  """
  found: dict[int, Annotation] = {}
  for name in FILES[split]:
    path = os.path.join(folder, name)
    content = records.read_json(path)
    rows = content.get('annotations') if isinstance(content, dict) else None
    if not isinstance(rows, list):
      raise ValueError(f"{path}: expected an object with the list 'annotations' of VQA.")
    for number, row in enumerate(rows):
      where = f'{path} annotation {number}'
      if not isinstance(row, dict):
        raise ValueError(f'{where}: expected an object, found {row!r:.80}.')
      question_id = records.field(row, 'question_id', int, where)
      if question_id in found:
        raise ValueError(f"{where}: 'question_id' {question_id} occurs a second time.")
      found[question_id] = _annotation(row, where)
  return found


def _annotation(row, where):
  answers = records.field(row, 'answers', list, where)
  if not answers or not all(isinstance(answer, dict) for answer in answers):
    raise ValueError(f"{where}: 'answers' is {answers!r:.80}, expected a list of objects.")
  return Annotation(
    tuple(records.field(answer, 'answer', str, where) for answer in answers),
    str(row.get('answer_type', '')),
    records.field(row, 'multiple_choice_answer', str, where),
  )


def vocabulary(
  annotations: Iterable[Annotation], least_questions: int = LEAST_QUESTIONS
) -> list[str]:
  """Returns the answers that become labels, in order of appearance.

  Args:
    annotations: those of training and validation.
    least_questions: number of questions that must have an answer as their most frequent one.
  """
  counts = collections.Counter(rule.normalize(one.most_frequent) for one in annotations)
  return [answer for answer, count in counts.items() if count >= least_questions]


def labelled(
  rows: Sequence[Mapping[str, Any]],
  annotations: Mapping[int, Annotation],
  answers: Sequence[str],
  label_of: Mapping[int, int],
  path: str,
) -> list[dict[str, Any]]:
  """Returns official rows with answers and scores from the raw annotations.

  Args:
    rows: rows of an official question file.
    annotations: {question id: `Annotation`}.
    answers: text of each label.
    label_of: {answer id: label}.
    path: the file of the rows, for the error.

  Raises:
    ValueError: a row has no id, or no annotation.
  """
  id_of = {answers[label]: answer_id for answer_id, label in label_of.items()}
  check_known(rows, annotations, path)
  made = []
  for row in rows:
    scores = rule.soft_scores(annotations[int(row['q_id'])].answers)
    known = {id_of[answer]: score for answer, score in scores.items() if answer in id_of}
    made.append({**row, 'an': list(known), 's': list(known.values())})
  return made


def check_known(
  rows: Sequence[Mapping[str, Any]], annotations: Mapping[int, Annotation], path: str
) -> None:
  """Checks that each row of an official question file has an annotation.

  Args:
    rows: the rows.
    annotations: {question id: `Annotation`}.
    path: the file of the rows, for the error.

  Raises:
    ValueError: a row has no id, or no annotation.
  """
  for number, row in enumerate(rows):
    question_id = str(row.get('q_id'))
    if not question_id.isdecimal() or int(question_id) not in annotations:
      raise ValueError(
        f"{path} row {number}: 'q_id' is {question_id:.40}, which the {len(annotations)} "
        'annotations do not have; give the --annotations_dir that belongs to these questions.'
      )
