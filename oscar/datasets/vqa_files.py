"""The official VQA files of every variant, under the official flags that select them.

    TXT_DATA_DIR/train2014_qla.json          faster;  train2014_qla_mrcnn.json: mask
    TXT_DATA_DIR/train2014_vg_qla_mrcnn.json --use_vg: with the questions of Visual Genome
    TXT_DATA_DIR/vg_qla_mrcnn.json           --use_vg_dev: these alone, in place of val2014
    DATA_DIR/test2014_qla.json, test2015_qla_mrcnn.json, test-dev2015_qla_mrcnn.json
    DATA_DIR/train_img_frcnn_feats.pt        2054 numbers; train_img_frcnn_obj_feats.pt: 2048
    IMG_FEAT_DIR/train_img_frcnn_feats.tsv   --img_feat_format=tsv

Source: microsoft/Oscar, `_load_dataset` and `VQADataset` of oscar/run_vqa.py.
"""

import dataclasses
import os

from oscar.datasets import features, records, region_files, vqa, vqa_annotations
from tpu_utils import files
from tpu_utils.names import check_name

SPLITS = ('train', 'val', 'train+val', 'test2015', 'test-dev2015')
# {(split, whether `mask`): name of the question file}.
_QUESTIONS = {
  ('train', False): 'train2014_qla.json',
  ('val', False): 'val2014_qla.json',
  ('train+val', False): 'train+val2014_qla.json',
  ('test2015', False): 'test2014_qla.json',
  ('test-dev2015', False): 'test2014_qla.json',
  **{(split, True): name for split, (name, _) in vqa.SPLITS.items()},
}
_LABELS = ('cache/trainval_ans2label.pkl', 'trainval_ans2label.pkl')


@dataclasses.dataclass(frozen=True)
class VqaSplit:
  """The questions of a split and their answers.

  Attributes:
    path: file of the questions.
    questions: those with a known answer in splits with answers, else all; in file order.
    answers: texts of the answers; a label is an index into it.
    answered: whether the questions have answers.
    num_rows: questions in the file, with those that have no known answer.
    kinds: {question id: kind}, for files that name it.
    annotations: {question id: `vqa_annotations.Annotation`}, if a folder of these is given.
  """

  path: str
  questions: list[vqa.Question]
  answers: list[str]
  answered: bool
  num_rows: int
  kinds: dict[int, str]
  annotations: dict[int, vqa_annotations.Annotation]


@dataclasses.dataclass(frozen=True)
class VqaFiles:
  """The places of the official files, under the names of the official flags.

  Attributes:
    data_dir: folder of features and of test questions.
    txt_data_dir: folder of the other questions; empty for `data_dir`.
    img_feat_dir: folder of features in TSV files; empty for `data_dir`.
    label_file: {answer: label id}; empty for cache/trainval_ans2label.pkl in one of the folders,
      or, without it and with `label_source` 'annotations', the frequent answers of these.
    label2ans_file: the answer of each label id; empty for the keys of `label_file`.
    data_label_type: 'faster' or 'mask', the detector of the tags.
    img_feature_type: 'faster_r-cnn' or 'mask_r-cnn', the detector of the features.
    img_feat_format: 'pt' or 'tsv'.
    use_vg: train with the questions of Visual Genome, too.
    use_vg_dev: evaluate on the questions of Visual Genome.
    annotations_dir: folder of the raw annotations, for the official accuracy; empty for none.
    label_source: 'file' for the labels in the question files, or 'annotations' for labels made from
      the raw annotations by the VQA rule.
    region_dim: numbers per region, 2048 for features without boxes.
  """

  data_dir: str
  txt_data_dir: str = ''
  img_feat_dir: str = ''
  label_file: str = ''
  label2ans_file: str = ''
  data_label_type: str = 'faster'
  img_feature_type: str = 'faster_r-cnn'
  img_feat_format: str = 'pt'
  use_vg: bool = False
  use_vg_dev: bool = False
  annotations_dir: str = ''
  label_source: str = 'file'
  region_dim: int = features.REGION_DIM

  def question_file(self, split: str) -> str:
    """Returns the path of the questions of a split.

    Raises:
      ValueError: there is no such split, or no such variant of it.
    """
    check_name('VQA split', split, SPLITS)
    mask = self.data_label_type == 'mask'
    for flag in ('use_vg', 'use_vg_dev'):
      if getattr(self, flag) and not mask:
        raise ValueError(
          f'--{flag} needs --data_label_type=mask: Visual Genome has no other question files.'
        )
    name = _QUESTIONS[split, mask]
    if self.use_vg and split == 'train':
      name = 'train2014_vg_qla_mrcnn.json'
    if self.use_vg_dev and split == 'val':
      name = 'vg_qla_mrcnn.json'
    folder = self.data_dir if split.startswith('test') else self.txt_data_dir or self.data_dir
    return os.path.join(folder, name)

  def labels(self) -> tuple[list[str], dict[int, int]]:
    """Reads the answers: (text of each label, {answer id: label}).

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: a file is damaged, or the two files do not fit each other.
    """
    if self.label_source == 'annotations' and not self._has_label_file():
      every = vqa_annotations.read(self.annotations_dir, 'train+val').values()
      answers = vqa_annotations.vocabulary(every)
      return answers, {label: label for label in range(len(answers))}
    answers, label_of = vqa.read_labels(self._label_file())
    if self.label2ans_file:
      texts = records.read_plain(self.label2ans_file)
      answers = answer_texts(texts, label_of, self.label2ans_file, self._label_file())
    return answers, label_of

  def open_regions(self, split: str) -> region_files.RegionFile:
    """Opens the features of a split.

    Raises:
      FileNotFoundError: the file is missing.
      ValueError: the file is damaged.
    """
    boxes = self.region_dim != features.APPEARANCE_DIM  # Bare features have no geometry to check.
    if self.img_feat_format == 'tsv' and self.img_feature_type != 'mask_r-cnn':
      stem = os.path.join(self.img_feat_dir or self.data_dir, f'{split}_img_frcnn_feats')
      offsets = f'{stem}_offset_map.json'
      return region_files.RegionTsv(
        f'{stem}.tsv',
        offsets=offsets if files.exists(offsets) else None,
        dim=self.region_dim,
        check_boxes=boxes,
      )
    if self.img_feature_type == 'mask_r-cnn':
      name = f'{split}_img_mask_rcnn_feats.pt'
    elif not boxes:
      name = f'{split}_img_frcnn_obj_feats.pt'
    elif self.use_vg_dev and not split.startswith('test'):
      name = 'train+val_img_frcnn_feats.pt'
    else:
      name = f'{split}_img_frcnn_feats.pt'
    path = os.path.join(self.data_dir, name)
    return region_files.RegionTensors(path, dim=self.region_dim, check_boxes=boxes)

  def open(self, split: str) -> VqaSplit:
    """Reads the texts of a split.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: no such split, or a damaged file.
    """
    path, answered = self.question_file(split), not split.startswith('test')
    answers, label_of = self.labels()
    rows = records.read_json_list(path)
    annotations = self._annotations(split) if answered else {}
    if annotations and self.label_source == 'annotations':
      rows = vqa_annotations.labelled(rows, annotations, answers, label_of, path)
    elif annotations and split == 'val':
      vqa_annotations.check_known(rows, annotations, path)
    questions = list(vqa.parse_questions(rows, path, label_of, answered, scored=True))
    if not answered:
      check_ids(questions, path)
    return VqaSplit(
      path,
      [once(question, path) for question in questions],
      answers,
      answered,
      len(rows),
      kinds_of(rows),
      annotations,
    )

  def _annotations(self, split):
    """Returns the annotations of a split; training with labels from a file can do without."""
    if not self.annotations_dir:
      return {}
    paths = [os.path.join(self.annotations_dir, name) for name in vqa_annotations.FILES[split]]
    if self.label_source == 'file' and split != 'val' and not all(map(files.exists, paths)):
      return {}
    return vqa_annotations.read(self.annotations_dir, split)

  def _has_label_file(self):
    stem = os.path.splitext(self._label_file())[0]
    return bool(self.label_file) or any(files.exists(f'{stem}.{end}') for end in ('pkl', 'json'))

  def _label_file(self):
    if self.label_file:
      return self.label_file
    folders = [folder for folder in (self.txt_data_dir, self.data_dir) if folder]
    paths = [os.path.join(folder, name) for folder in folders for name in _LABELS]
    stems = [os.path.splitext(path)[0] for path in paths]
    found = (
      path
      for path, stem in zip(paths, stems, strict=True)
      if files.exists(path) or files.exists(f'{stem}.json')
    )
    return next(found, paths[0])


def answer_texts(
  texts: object, label_of: dict[int, int], path: str, label_file: str
) -> list[str]:
  """Returns the answer of each label from an official list (or dictionary) by answer id.

  Raises:
    ValueError: it lacks an id, or holds something other than text.
  """
  if isinstance(texts, list):
    texts = dict(enumerate(texts))
  if not isinstance(texts, dict):
    raise ValueError(f'{path}: expected the list of answers, found {type(texts).__name__}.')
  if len(texts) != len(label_of):
    raise ValueError(f'{path} has {len(texts)} answers, but {label_file} has {len(label_of)}.')
  for answer_id in label_of:
    if not isinstance(texts.get(answer_id), str):
      raise ValueError(
        f'{path}: no text for answer {answer_id!r} of {label_file}; the two must belong together.'
      )
  return [texts[answer_id] for answer_id in label_of]


def check_ids(questions: list[vqa.Question], path: str) -> None:
  """Checks that each question of a test has an id of its own, before anything is predicted.

  Raises:
    ValueError: an id occurs twice.
  """
  row_of: dict[int, int] = {}
  for row, question in enumerate(questions):
    if question.question_id in row_of:
      raise ValueError(
        f"{path} row {row}: 'q_id' {question.id_text} is that of row "
        f'{row_of[question.question_id]}, too; the test server takes each id once. Give each '
        'question an id of its own.'
      )
    row_of[question.question_id] = row


def kinds_of(rows: list[dict]) -> dict[int, str]:
  """Returns {question id: 'kind'} of the rows that name one."""
  return {int(row['q_id']): str(row['kind']) for row in rows if 'kind' in row and 'q_id' in row}


def once(question: vqa.Question, path: str) -> vqa.Question:
  """Returns a question with each answer once; of repeated answers the last score counts.

  Raises:
    ValueError: a score is not a number from 0 to 1.
  """
  scores = dict(zip(question.answers, question.scores, strict=True))
  wrong = [score for score in scores.values() if not 0 <= score <= 1]
  if wrong:
    raise ValueError(
      f"{path}: question {question.question!r:.80} has the score {wrong[0]} in 's'; expected 0 to "
      '1.'
    )
  if len(scores) == len(question.answers):
    return question
  return dataclasses.replace(
    question, answers=tuple(scores), scores=tuple(scores.values())
  )
