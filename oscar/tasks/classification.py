"""What the tasks that choose one of several labels share: predictions, accuracy, the `Task`."""
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from oscar import losses
from oscar.datasets import gqa_files, vqa_files
from tpu_utils.trainer import Task


def make_task(
  loss_name: str,
  loss: Callable,
  objective: str,
  metric: Callable,
  summarize: Callable | None,
  only_sigmoid: bool = False,
) -> Task:
  """Returns the `Task` with predictions for each row.

  Args:
    loss_name: name of the loss.
    loss: function(outputs, batch, step) -> (sum, weight).
    objective: name of the metric.
    metric: function(outputs, batch, step) -> (sum, weight).
    summarize: function({row: predicted label}) -> metrics over a whole split; None for none.
    only_sigmoid: whether the probabilities of the labels are independent of each other.
  """

  def predict(outputs, batch):
    logits = tf.cast(outputs['logits'], tf.float32)
    probabilities = tf.sigmoid(logits) if only_sigmoid else tf.nn.softmax(logits)
    return {
      'row': batch['row'],
      'label': tf.argmax(logits, axis=-1, output_type=tf.int32),
      'probability': tf.reduce_max(probabilities, axis=-1),
    }

  def summarize_rows(rows):
    return summarize(dict(zip(rows['row'].tolist(), rows['label'].tolist(), strict=True)))

  return Task(
    losses={loss_name: loss},
    metrics={objective: metric},
    train_metrics=(objective,),
    predict=predict,
    summarize=None if summarize is None else summarize_rows,
  )


def loss_of_labels(loss_type: str) -> Callable:
  """Returns function(outputs, batch, step) -> (sum, weight): the loss of one label an example."""

  def loss(outputs, batch, step):
    del step
    return losses.classification(
      outputs['logits'], batch['labels'], loss_type, batch.get('weights')
    )

  return loss


def accuracy(outputs: Mapping, batch: Mapping, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns (number of right labels, examples): the accuracy that the official scripts print."""
  del step
  best = tf.argmax(outputs['logits'], axis=-1, output_type=tf.int32)
  right = tf.cast(best == batch['labels'], tf.float32)
  weights = batch.get('weights')
  weights = tf.ones_like(right) if weights is None else tf.cast(weights, tf.float32)
  return tf.reduce_sum(right * weights), tf.reduce_sum(weights)


# ---- Results of questions


def has_ids(loaded: vqa_files.VqaSplit | gqa_files.GqaSplit) -> bool:
  """Returns whether the questions of a split have ids; prints that there is no file without.

  Args:
    loaded: the split; those without answers have ids.
  """
  found = all(question.id_text for question in loaded.questions)
  if not found:
    print(f"No file of results: not all rows of {loaded.path} have a 'q_id'.")
  return found


def labels_of_rows(
  loaded: vqa_files.VqaSplit | gqa_files.GqaSplit, made: Sequence[Mapping[str, Any]]
) -> dict[int, int]:
  """Returns {place of a question in its split: predicted label}.

  Args:
    loaded: the split.
    made: predictions of all its questions, in the order of the split.

  Raises:
    ValueError: there are more or fewer predictions than questions.
  """
  if len(made) != len(loaded.questions):
    raise ValueError(
      f'{loaded.path}: {len(loaded.questions)} questions, but {len(made)} predictions.'
    )
  label_of = {answer: label for label, answer in enumerate(loaded.answers)}
  return {place: label_of[row['answer']] for place, row in enumerate(made)}
