"""The official GQA files, balanced and all, under the official flags that select them.

    gqa_bal_qla_train.json, gqa_all_qla_train.json     --train_data_type
    gqa_bal_qla_val.json, gqa_all_qla_val.json         --eval_data_type
    gqa_bal_qla_testdev.json, gqa_all_qla_testdev.json --data_label_type
    gqa_all_qla_submission.json                        the test
    gqa_img_frcnn_feats.pt (or .tsv)                   2054 numbers a region
    gqa_img_frcnn_feats_obj.pt                         2048 numbers
    val_all_questions.json, val_choices.json           GQA's own: types, entailed, choices

Source: microsoft/Oscar, `_load_dataset` and `_load_img_features` of oscar/run_gqa.py.
"""

import dataclasses
import os
from typing import Any

from oscar.datasets import features, gqa, records, region_files, vqa, vqa_files
from tpu_utils.names import check_name


@dataclasses.dataclass(frozen=True)
class GqaSplit:
  """The questions of a split and their answers.

  Attributes:
    path: file of the questions.
    questions: those with a known answer in splits with answers, else all; in file order.
    answers: texts of the answers; a label is an index into it.
    answered: whether the questions have answers.
    kinds: {question id: kind}, for files that name it.
    details: {question id: entry of GQA's own questions file}, {} without one.
    choices: {question id: {'valid': [answer], 'plausible': [answer]}}, {} without a file of them.
  """

  path: str
  questions: list[vqa.Question]
  answers: list[str]
  answered: bool
  kinds: dict[int, str]
  details: dict[int, dict[str, Any]]
  choices: dict[int, dict[str, list[str]]]


@dataclasses.dataclass(frozen=True)
class GqaFiles:
  """The places of the official files, under the names of the official flags.

  Attributes:
    data_dir: the folder.
    label_file: {answer: label id}; empty for trainval_testdev_all_ans2label.pkl in the folder.
    label2ans_file: the answer of each label id; empty for the keys of `label_file`.
    train_data_type, eval_data_type, data_label_type: 'bal' or 'all', questions of train, val and
      test-dev.
    questions_file: GQA's own file of the evaluated questions; empty for none.
    choices_file: GQA's file of valid and plausible answers; empty for none.
    region_dim: numbers per region, 2048 for features without boxes.
  """

  data_dir: str
  label_file: str = ''
  label2ans_file: str = ''
  train_data_type: str = 'bal'
  eval_data_type: str = 'bal'
  data_label_type: str = 'bal'
  questions_file: str = ''
  choices_file: str = ''
  region_dim: int = features.REGION_DIM

  def question_file(self, split: str) -> str:
    """Returns the path of the questions of a split.

    Raises:
      ValueError: there is no such split.
    """
    check_name('GQA split', split, gqa.SPLITS)
    balanced, full, _ = gqa.SPLITS[split]
    kinds = {'train': self.train_data_type, 'val': self.eval_data_type}
    kind = kinds.get(split, self.data_label_type)
    return os.path.join(self.data_dir, balanced if kind == 'bal' else full)

  def labels(self) -> tuple[list[str], dict[int, int]]:
    """Reads the answers: (text of each label, {answer id: label}).

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: a file is damaged, or the two files do not fit each other.
    """
    path = self.label_file or os.path.join(self.data_dir, gqa.LABELS)
    answers, label_of = vqa.read_labels(path)
    if self.label2ans_file:
      texts = records.read_plain(self.label2ans_file)
      answers = vqa_files.answer_texts(texts, label_of, self.label2ans_file, path)
    return answers, label_of

  def open_regions(self, split: str) -> region_files.RegionFile:
    """Opens the features, one file for all splits.

    Raises:
      FileNotFoundError: the file is missing.
      ValueError: the file is damaged.
    """
    del split
    stem = os.path.join(self.data_dir, gqa.REGIONS)
    if self.region_dim == features.APPEARANCE_DIM:
      path = f'{stem}_obj.pt'
      return region_files.RegionTensors(path, dim=self.region_dim, check_boxes=False)
    return region_files.open_regions(stem, self.region_dim)

  def open(self, split: str) -> GqaSplit:
    """Reads the texts of a split.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: no such split, or a damaged file.
    """
    path = self.question_file(split)
    answered = gqa.SPLITS[split][2]
    answers, label_of = self.labels()
    rows = records.read_json_list(path)
    questions = list(vqa.parse_questions(rows, path, label_of, answered, scored=False))
    if not answered:
      vqa_files.check_ids(questions, path)
    return GqaSplit(
      path,
      questions,
      answers,
      answered,
      vqa_files.kinds_of(rows),
      read_by_id(self.questions_file) if self.questions_file else {},
      read_by_id(self.choices_file) if self.choices_file else {},
    )


def read_by_id(path: str) -> dict[int, dict[str, Any]]:
  """Reads a file of GQA: an object with an object for each question id.

  Raises:
    FileNotFoundError: the file does not exist.
    ValueError: the file is not such an object; names file and key.
  """
  content = records.read_json(path)
  if not isinstance(content, dict):
    raise ValueError(f'{path}: expected an object by question id, found {type(content).__name__}.')
  found = {}
  for key, value in content.items():
    if not key.isdecimal() or not isinstance(value, dict):
      raise ValueError(
        f'{path}, key {key!r}: {value!r:.60}; expected the number of a question and an object.'
      )
    found[int(key)] = value
  return found
