"""GQA: the answer to a compositional question about an image, out of a fixed list.

Source: paper arXiv 2004.06165, section 4 and appendix A; microsoft/Oscar, oscar/run_gqa.py.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from oscar import job as oscar_job
from oscar import task_settings
from oscar.datasets import gqa_files, tags
from oscar.input.questions import QuestionInput, prediction_records
from oscar.metrics import gqa as metrics
from oscar.task_settings import GqaData
from oscar.tasks import classification, kept
from tpu_utils import files
from tpu_utils.trainer import Task

OBJECTIVE = 'accuracy'


def files_of(data: GqaData, region_dim: int = 2054) -> gqa_files.GqaFiles:
  """Returns the official files that the flags select."""
  return gqa_files.GqaFiles(
    data.data_dir,
    data.label_file,
    data.label2ans_file,
    data.train_data_type,
    data.eval_data_type,
    data.data_label_type,
    data.questions_file,
    data.choices_file,
    region_dim,
  )


@kept.once_a_job(maxsize=4)  # The number of steps, the input and the results need the texts.
def _open(opened: gqa_files.GqaFiles, split: str) -> gqa_files.GqaSplit:
  return opened.open(split)


def count(data: GqaData, split: str) -> int:
  """Returns the number of a split's questions that have a known answer."""
  return len(_open(files_of(data), split).questions)


def gqa_task(data: GqaData, source: QuestionInput | None = None) -> Task:
  """Returns the `Task`: cross-entropy, accuracy, predictions, and metrics over all of them.

  Batches are those of `QuestionInput`.

  Args:
    data: the flags. With one answer a question --loss_type=kl is the cross-entropy, too.
    source: the input, for metrics over a whole split; None for none.
  """

  def summarize(label_of_row):
    return _metrics(source.questions(source.eval_split), label_of_row, data)

  return classification.make_task(
    'answer_loss',
    classification.loss_of_labels(data.loss_type),
    OBJECTIVE,
    classification.accuracy,
    None if source is None else summarize,
  )


def _metrics(loaded, label_of_row, data):
  """Returns metrics over a split besides the accuracy: by kind of question, and the official ones.

  Args:
    loaded: the `GqaSplit`.
    label_of_row: {place of the question in the split: predicted label}.
    data: the flags, for the name of the file in an error.
  """
  found = {}
  if loaded.kinds:
    right = {
      loaded.questions[row].question_id: label == loaded.questions[row].answers[0]
      for row, label in label_of_row.items()
    }
    found |= metrics.by_kind(right, loaded.kinds)
  if loaded.details:
    predictions = {
      loaded.questions[row].question_id: loaded.answers[label]
      for row, label in label_of_row.items()
    }
    found |= metrics.evaluate(predictions, loaded.details, loaded.choices, data.questions_file)
  return found


def write_results(
  data: GqaData, made: Sequence[Mapping[str, Any]], path: str
) -> dict[str, float]:
  """Writes the submission file, checked, and returns the metrics of a split with answers.

  There is no file for a split with answers whose questions have no ids.

  Args:
    data: the flags, with the predicted split.
    made: predictions of all its questions.
    path: the file.

  Raises:
    ValueError: the predictions and the questions of the split do not fit.
    OSError: the file cannot be written.
  """
  loaded = _open(files_of(data), data.eval_split)
  if classification.has_ids(loaded):
    texts = {question.question_id: question.id_text for question in loaded.questions}
    ids = [question.question_id for question in loaded.questions]
    files.write_json(path, metrics.results(made, ids, loaded.path, texts), indent=None)
  if not loaded.answered:
    return {}
  if data.questions_file and not any(q.question_id in loaded.details for q in loaded.questions):
    # With --do_train --do_test_dev the file is that of the evaluations while training.
    print(f"Without GQA's metrics: {data.questions_file} has no question of {loaded.path}.")
    loaded = dataclasses.replace(loaded, details={})
  label_of_row = classification.labels_of_rows(loaded, made)
  right = [label_of_row[row] == q.answers[0] for row, q in enumerate(loaded.questions)]
  return {OBJECTIVE: sum(right) / len(right), **_metrics(loaded, label_of_row, data)}


def check_eval(data: GqaData, mode: str) -> None:
  """Checks that GQA's metrics can be computed over the evaluated split, before that is evaluated.

  Predictions of a split that `questions_file` has nothing of go without these metrics.

  Args:
    data: the flags, with the split.
    mode: of the job.

  Raises:
    ValueError: `questions_file` or `choices_file` is of another split, or damaged.
  """
  loaded = _open(files_of(data), data.eval_split)
  if not loaded.answered or not data.questions_file:
    return
  missing = [q for q in loaded.questions if q.question_id not in loaded.details]
  if mode == 'predict' and len(missing) == len(loaded.questions):
    return
  if missing:
    raise ValueError(
      f'--questions_file={data.questions_file} lacks {len(missing)} of the '
      f'{len(loaded.questions)} questions of {loaded.path} (first: {missing[0].id_text!r}); give '
      "GQA's own file of this split, or leave the flag out."
    )
  right = {q.question_id: loaded.answers[q.answers[0]] for q in loaded.questions}
  metrics.evaluate(right, loaded.details, loaded.choices, data.questions_file)


def records(
  data: GqaData, source: QuestionInput, rows: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
  """Returns the predictions in the order of the file; see `prediction_records`.

  Ids with leading zeros, which a number would lose, are texts as in the file.
  """
  loaded = source.questions(data.eval_split)
  made = prediction_records(loaded, rows)
  texts = {question.question_id: question.id_text for question in loaded.questions}
  for row in made:
    text = texts[row['question_id']]
    if text.startswith('0') and text != '0':
      row['question_id'] = text
  return made


def _open_input(data, tokenizer, config, seed):
  return QuestionInput(
    functools.partial(_open, files_of(data)),
    files_of(data, config.img_feature_dim).open_regions,
    tokenizer,
    max_seq_length=data.max_seq_length,
    with_tags=data.tags != tags.NONE,
    choose_tags=tags.chooser(data.tags),
    trim=data.trim_padding,
    region_dim=config.img_feature_dim,
    train_batch_size=data.train_batch_size,
    eval_batch_size=data.eval_batch_size,
    train_split=data.train_split,
    eval_split=data.eval_split,
    max_img_seq_length=data.max_img_seq_length,
    mask_regions=data.mask_regions,
    seed=seed,
  )


def _config(data):
  answers, _ = files_of(data).labels()
  return {
    'num_labels': len(answers),
    'loss_type': data.loss_type,
    'classifier': data.classifier,
    'cls_hidden_scale': data.cls_hidden_scale,
  }


def _info(data):
  answers, _ = files_of(data).labels()
  return task_settings.info(data, answers=answers)


TASK = oscar_job.OscarTask(
  name='gqa',
  objective=OBJECTIVE,
  open_input=_open_input,
  learn=lambda data, source, model: gqa_task(data, source),
  config=_config,
  identity=('num_labels', 'classifier', 'cls_hidden_scale'),
  curves=(('answer_loss',), (OBJECTIVE,)),
  info=_info,
  records=records,
  check_eval=check_eval,
)
