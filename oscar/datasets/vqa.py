"""Reader of VQA in the official layout.

    train2014_qla_mrcnn.json ...   questions: q, o (tags with ';'), img_id, an (answers), s (scores)
    cache/trainval_ans2label.pkl   {answer: id}; trainval_label2ans.pkl: [answer]
    train_img_frcnn_feats.pt       {img_id: regions}; or .tsv with ..._offset_map.json

Source: microsoft/Oscar, oscar/run_vqa.py and oscar/utils/task_utils.py.
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from oscar.datasets import features, records, region_files
from tpu_utils.names import check_name

# Split -> (question file, whether its answers are known).
SPLITS: dict[str, tuple[str, bool]] = {
  'train': ('train2014_qla_mrcnn.json', True),
  'val': ('val2014_qla_mrcnn.json', True),
  'train+val': ('train+val2014_qla_mrcnn.json', True),
  'test2015': ('test2015_qla_mrcnn.json', False),
  'test-dev2015': ('test-dev2015_qla_mrcnn.json', False),
}
LABELS = 'cache/trainval_ans2label.pkl'


@dataclasses.dataclass(frozen=True)
class Question:
  """A question about an image.

  Attributes:
    question: text.
    tags: text of the image's object tags.
    image_id: key of the image's regions.
    question_id: number; 0 if the file has none.
    id_text: the number as the file writes it, which GQA's with leading zeros need; '' for none.
    answers: labels of the accepted answers; empty if unknown.
    scores: VQA's soft score of each answer, in [0, 1].
  """

  question: str
  tags: str
  image_id: str
  question_id: int
  answers: tuple[int, ...] = ()
  scores: tuple[float, ...] = ()
  id_text: str = ''


class Vqa:
  """One split of VQA.

  Args:
    data_dir: the folder.
    split: a key of `SPLITS`.
    dim: numbers per region; None admits any width.

  Attributes:
    questions: list of `Question`, in file order; in splits with answers, questions without a known
      answer are dropped, as in the official code.
    regions: {image key: float32 [regions, dim]}.
    answers: list of the answers' texts; a label is an index into it.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: an unknown split, or a damaged file.
  """

  def __init__(
    self, data_dir: str | os.PathLike[str], split: str, dim: int | None = features.REGION_DIM
  ) -> None:
    check_name('VQA split', split, SPLITS)
    name, answered = SPLITS[split]
    self.answers, label_of = read_labels(os.path.join(data_dir, LABELS))
    self.questions = list(
      read_questions(os.path.join(data_dir, name), label_of, answered, scored=True)
    )
    stem = os.path.join(data_dir, f'{split}_img_frcnn_feats')
    self.regions = region_files.open_regions(stem, dim)


def read_labels(path: str | os.PathLike[str]) -> tuple[list[str], dict[int, int]]:
  """Reads the answers and the label of each answer id from an official {answer: id} file.

  The label of an id is the position of its entry in the file, not the id itself.

  Returns:
    ([answer], {answer id: label})

  Raises:
    FileNotFoundError: the file does not exist.
    ValueError: the file is not a dictionary of whole numbers by answer.
  """
  path = records.plain_path(path)
  ids = records.read_plain(path)
  if not isinstance(ids, dict) or not ids or not all(type(i) is int for i in ids.values()):
    raise ValueError(f'{path}: expected a dictionary {{answer: number}}.')
  return list(ids), {answer_id: label for label, answer_id in enumerate(ids.values())}


def read_questions(
  path: str | os.PathLike[str], label_of: Mapping[Any, int], answered: bool, scored: bool
) -> Iterator[Question]:
  """Yields the questions of an official VQA or GQA file.

  Args:
    path: the JSON file.
    label_of: {answer id: label}.
    answered: whether to read answers; drops questions that have none.
    scored: whether the file has a score for each answer; otherwise each scores 1.

  Raises:
    FileNotFoundError: the file does not exist.
    ValueError: a row lacks a field, or has an unknown answer id or another number of scores.
  """
  yield from parse_questions(records.read_json_list(path), path, label_of, answered, scored)


def parse_questions(
  rows: Iterable[Mapping[str, Any]],
  path: str | os.PathLike[str],
  label_of: Mapping[Any, int],
  answered: bool,
  scored: bool,
) -> Iterator[Question]:
  """Yields the questions of rows that were read from `path`; see `read_questions`."""
  for number, row in enumerate(rows):
    where = f'{path} row {number}'
    ids = records.numbers(row, 'an', where) if answered else []
    if answered and not ids:
      continue
    scores = records.numbers(row, 's', where) if ids and scored else [1.0] * len(ids)
    if len(scores) != len(ids):
      raise ValueError(f'{where}: {len(ids)} answers, but {len(scores)} scores.')
    unknown = [answer for answer in ids if answer not in label_of]
    if unknown:
      raise ValueError(
        f'{where}: answer id {unknown[0]!r} is not among the {len(label_of)} labels; '
        'the label file belongs to another data set.'
      )
    if 'img_id' not in row:
      raise ValueError(f"{where}: 'img_id' is missing; a question needs an image.")
    if not answered and 'q_id' not in row:
      raise ValueError(f"{where}: 'q_id' is missing, by which the test server knows a question.")
    question_id = row.get('q_id', 0)
    if not str(question_id).isdecimal():
      raise ValueError(f"{where}: 'q_id' is {question_id!r:.80}, expected a whole number.")
    yield Question(
      records.field(row, 'q', str, where),
      records.field(row, 'o', str, where).replace(';', ' ').strip(),
      str(row['img_id']),
      int(question_id),
      tuple(label_of[answer] for answer in ids),
      tuple(map(float, scores)),
      str(row.get('q_id', '')),
    )
