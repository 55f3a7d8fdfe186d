"""Image classification as a `Task` of the trainer."""
import tensorflow as tf

from tpu_utils import losses, metrics
from tpu_utils.trainer import Task


def classification_task(model, *, label_smoothing=0.0, weight_decay=0.0, decay_batch_norm=False, transposed=False):
  """The `Task` of the official code: smoothed cross-entropy, weight decay, top-1 and top-5.

  Args:
    model: the classifier.
    label_smoothing: see `losses.softmax_cross_entropy`.
    weight_decay: coefficient of the L2 loss.
    decay_batch_norm: whether the L2 loss is on all trainable variables; otherwise those of batch norm are
      left out.
    transposed: whether images come as [height, width, channels, batch].
  """

  def cross_entropy(logits, batch, step):
    del step
    weights = _weights(batch)
    per_example = losses.softmax_cross_entropy(batch['labels'], logits, label_smoothing)
    return tf.reduce_sum(weights * per_example), tf.reduce_sum(weights)

  def accuracy(k):
    def top_k(logits, batch, step):
      del step
      sums = metrics.classification_sums(logits, batch['labels'], _weights(batch))
      return sums[f'top_{k}'], sums['count']

    return top_k

  def prepare(batch):
    if not transposed:
      return batch
    return {**batch, 'images': tf.transpose(batch['images'], [3, 0, 1, 2])}

  decayed = model.trainable_variables if decay_batch_norm else losses.non_batch_norm_variables(model)
  return Task(
    losses={'cross_entropy': cross_entropy},
    metrics={'top_1_accuracy': accuracy(1), 'top_5_accuracy': accuracy(5)},
    train_metrics=('top_1_accuracy',),
    regularization=lambda: losses.l2_weight_decay(decayed, weight_decay),
    prepare=prepare,
  )


def _weights(batch):
  """[batch] float32: 0 for the rows that only fill up an evaluation batch."""
  return batch['weights'] if 'weights' in batch else tf.ones(tf.shape(batch['labels'])[:1])
