"""VQA: an answer to a question about an image, out of a fixed list, with soft scores.

Source: paper arXiv 2004.06165, section 4 and appendix A; microsoft/Oscar, oscar/run_vqa.py.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from oscar import job as oscar_job
from oscar import losses, task_settings
from oscar.datasets import tags, vqa_files
from oscar.input.questions import QuestionInput, prediction_records
from oscar.metrics import kinds
from oscar.metrics import vqa as metrics
from oscar.task_settings import VqaData
from oscar.tasks import classification, kept
from tpu_utils import files
from tpu_utils.trainer import Task

OBJECTIVE = 'vqa_score'  # The score that the official script prints.
_LATER_DROPOUT, _LATER_EPOCH = 0.3, 3  # Of --adjust_dp, epochs from 0.


def files_of(data: VqaData, region_dim: int = 2054) -> vqa_files.VqaFiles:
  """Returns the official files that the flags select."""
  return vqa_files.VqaFiles(
    data.data_dir,
    data.txt_data_dir,
    data.img_feat_dir,
    data.label_file,
    data.label2ans_file,
    data.data_label_type,
    data.img_feature_type,
    data.img_feat_format,
    data.use_vg,
    data.use_vg_dev,
    data.annotations_dir,
    data.label_source,
    region_dim,
  )


@kept.once_a_job(maxsize=4)  # The number of steps, the input and the results need the texts.
def _open(opened: vqa_files.VqaFiles, split: str) -> vqa_files.VqaSplit:
  return opened.open(split)


def count(data: VqaData, split: str) -> int:
  """Returns the number of a split's questions that have a known answer."""
  return len(_open(files_of(data), split).questions)


def vqa_task(data: VqaData, source: QuestionInput | None = None) -> Task:
  """Returns the `Task`: the loss, the official score, predictions, and metrics over all of them.

  Batches are those of `QuestionInput`.

  Args:
    data: the flags.
    source: the input, for metrics over a whole split; None for none.
  """

  def loss(outputs, batch, step):
    def of_type(name):
      labels = batch['labels'] if name == 'xe' else batch['targets']
      return losses.classification(outputs['logits'], labels, name, batch.get('weights'))

    total, weight = of_type(data.loss_type)
    if not data.adjust_loss:
      return total, weight
    adjusted = step >= data.adjust_loss_epoch * data.steps_per_epoch
    return tf.where(adjusted, of_type('bce')[0], total), weight

  def summarize(label_of_row):
    return _metrics(source.questions(source.eval_split), label_of_row)

  return classification.make_task(
    'answer_loss',
    loss,
    OBJECTIVE,
    score,
    None if source is None else summarize,
    only_sigmoid=data.loss_type == 'bce' or data.adjust_loss,
  )


def score(outputs: Mapping, batch: Mapping, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns (sum of the scores of the most probable answers, questions): the official score."""
  del step
  best = tf.argmax(outputs['logits'], axis=-1, output_type=tf.int32)
  scores = tf.gather(batch['targets'], best, batch_dims=1)
  weights = batch.get('weights')
  weights = tf.ones_like(scores) if weights is None else tf.cast(weights, tf.float32)
  return tf.reduce_sum(scores * weights), tf.reduce_sum(weights)


def _metrics(loaded, label_of_row):
  """Returns metrics over a split beside the score: by kind of question, and the official accuracy.

  Args:
    loaded: the `VqaSplit`.
    label_of_row: {place of the question in the split: predicted label}.
  """
  found = {}
  if loaded.kinds:
    scores = {
      row: dict(zip(q.answers, q.scores, strict=True)).get(label, 0.0)
      for row, label in label_of_row.items()
      for q in (loaded.questions[row],)
    }
    kind_of = [loaded.kinds.get(question.question_id) for question in loaded.questions]
    found |= kinds.means(OBJECTIVE, [(kind_of[row], score) for row, score in scores.items()])
  if loaded.annotations:
    predictions = {
      loaded.questions[row].question_id: loaded.answers[label]
      for row, label in label_of_row.items()
    }
    found |= metrics.accuracies(predictions, loaded.annotations, loaded.num_rows)
  return found


def records(
  data: VqaData, source: QuestionInput, rows: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
  """Returns the predictions in the order of the file; see `prediction_records`."""
  return prediction_records(source.questions(data.eval_split), rows)


def write_results(
  data: VqaData, made: Sequence[Mapping[str, Any]], path: str
) -> dict[str, float]:
  """Writes the submission file, checked, and returns the metrics of a split with answers.

  There is no file for a split with answers whose questions have no ids.

  Args:
    data: the flags, with the predicted split.
    made: `records` of all its questions.
    path: the file.

  Raises:
    ValueError: the predictions and the questions of the split do not fit.
    OSError: the file cannot be written.
  """
  loaded = _open(files_of(data), data.eval_split)
  if classification.has_ids(loaded):
    ids = [question.question_id for question in loaded.questions]
    files.write_json(path, metrics.results(made, ids, loaded.path), indent=None)
  if not loaded.answered:
    return {}
  label_of_row = classification.labels_of_rows(loaded, made)
  total = sum(
    dict(zip(question.answers, question.scores, strict=True)).get(label_of_row[row], 0.0)
    for row, question in enumerate(loaded.questions)
  )
  return {OBJECTIVE: total / len(made), **_metrics(loaded, label_of_row)}


def dropout_schedule(data: VqaData, start_rate: float) -> Callable:
  """Returns function(examples before a batch) -> dropout rate, as --adjust_dp changes it.

  Args:
    data: the flags, with batch size and steps of an epoch.
    start_rate: the rate of the first epochs.
  """

  def rate(examples):
    step = examples // data.train_batch_size
    later = step >= _LATER_EPOCH * data.steps_per_epoch
    return tf.where(later, _LATER_DROPOUT, start_rate)

  return rate


def _open_input(data, tokenizer, config, seed):
  return QuestionInput(
    functools.partial(_open, files_of(data)),
    files_of(data, config.img_feature_dim).open_regions,
    tokenizer,
    max_seq_length=data.max_seq_length,
    with_tags=data.task_name == 'vqa_text',
    choose_tags=tags.chooser(data.tags),
    trim=data.trim_padding,
    region_dim=config.img_feature_dim,
    dropout_rate=dropout_schedule(data, config.hidden_dropout_prob) if data.adjust_dp else None,
    train_batch_size=data.train_batch_size,
    eval_batch_size=data.eval_batch_size,
    train_split=data.train_split,
    eval_split=data.eval_split,
    max_img_seq_length=data.max_img_seq_length,
    mask_regions=data.mask_regions,
    seed=seed,
  )


def _learn(data, source, model):
  model.takes_dropout_rate = data.adjust_dp
  return vqa_task(data, source)


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
  name='vqa',
  objective=OBJECTIVE,
  open_input=_open_input,
  learn=_learn,
  config=_config,
  identity=('num_labels', 'classifier', 'cls_hidden_scale'),
  curves=(('answer_loss',), (OBJECTIVE,)),
  info=_info,
  records=records,
)
