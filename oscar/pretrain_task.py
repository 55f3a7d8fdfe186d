"""Pre-training as a `Task` of the trainer: masked words and the contrast of matched and wrong texts.

Source: paper arXiv 2004.06165, section 3; microsoft/Oscar, `BertImgForPreTraining`.
"""
import tensorflow as tf

from oscar import losses
from tpu_utils.trainer import Task

OBJECTIVE = 'masked_accuracy'


def pretrain_task():
  """The `Task`: the sum of both mean losses, and the share of words and contrasts that are right.

  Batches are those of `PretrainInput`; labels of -1 and rows of weight 0 count nothing.
  """

  def loss(name):
    def term(outputs, batch):
      return losses.pretraining(
        outputs, batch['masked_lm_labels'], batch['next_sentence_label'], batch.get('weights')
      )[name]

    return term

  def accuracy(scores, labels):
    return lambda outputs, batch: _right(outputs[scores], batch[labels], batch.get('weights'))

  return Task(
    losses={name: loss(name) for name in ('masked_lm_loss', 'next_sentence_loss')},
    metrics={
      OBJECTIVE: accuracy('prediction_scores', 'masked_lm_labels'),
      'contrast_accuracy': accuracy('seq_relationship_score', 'next_sentence_label'),
    },
    train_metrics=(OBJECTIVE, 'contrast_accuracy'),
  )


def _right(scores, labels, weights):
  """(weight of the labels whose class has the highest score, weight of all labels but -1).

  Args:
    scores: [B, ..., classes].
    labels: [B, ...] integers.
    weights: [B], or None for all ones.
  """
  labels = tf.reshape(tf.cast(labels, tf.int32), tf.shape(scores)[:-1])
  counted = tf.cast(labels != losses.IGNORED, tf.float32)
  if weights is not None:
    counted *= tf.reshape(weights, [-1] + [1] * (len(scores.shape) - 2))
  right = tf.cast(tf.argmax(scores, axis=-1, output_type=tf.int32) == labels, tf.float32)
  return tf.reduce_sum(right * counted), tf.reduce_sum(counted)
