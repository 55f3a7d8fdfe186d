"""Reader of GQA in the official layout: questions as in VQA, one answer each, one feature file.

    gqa_bal_qla_train.json ...              as in VQA, without scores
    trainval_testdev_all_ans2label.pkl      {answer: id}
    gqa_img_frcnn_feats.pt                  {img_id: regions}; or .tsv

Source: microsoft/Oscar, oscar/run_gqa.py and oscar/utils/task_utils.py.
"""

import os

from oscar.datasets import features, region_files, vqa
from tpu_utils.names import check_name

# Split -> (file of the balanced questions, file of all questions, whether answers are known).
SPLITS: dict[str, tuple[str, str, bool]] = {
  'train': ('gqa_bal_qla_train.json', 'gqa_all_qla_train.json', True),
  'val': ('gqa_bal_qla_val.json', 'gqa_all_qla_val.json', True),
  'test-dev': ('gqa_bal_qla_testdev.json', 'gqa_all_qla_testdev.json', True),
  'test': ('gqa_all_qla_submission.json', 'gqa_all_qla_submission.json', False),
}
LABELS = 'trainval_testdev_all_ans2label.pkl'
REGIONS = 'gqa_img_frcnn_feats'


class Gqa:
  """One split of GQA.

  Args:
    data_dir: the folder.
    split: a key of `SPLITS`.
    questions: 'bal' (the balanced questions) or 'all'.
    dim: numbers per region; None admits any width.

  Attributes:
    questions, regions, answers: as in `oscar.datasets.vqa.Vqa`.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: an unknown split or value of `questions`, or a damaged file.
  """

  def __init__(
    self,
    data_dir: str | os.PathLike[str],
    split: str,
    questions: str = 'bal',
    dim: int | None = features.REGION_DIM,
  ) -> None:
    check_name('GQA split', split, SPLITS)
    check_name('kind of GQA questions', questions, ('bal', 'all'))
    balanced, full, answered = SPLITS[split]
    self.answers, label_of = vqa.read_labels(os.path.join(data_dir, LABELS))
    path = os.path.join(data_dir, balanced if questions == 'bal' else full)
    self.questions = list(vqa.read_questions(path, label_of, answered, scored=False))
    self.regions = region_files.open_regions(os.path.join(data_dir, REGIONS), dim)
