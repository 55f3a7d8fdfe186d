"""The official losses of pre-training and of the tasks.

Each is a scalar: the mean over the batch it is given, as the official code takes it on one device. With
several replicas the official code averages the devices' means; averaging these does the same.

Source: microsoft/Oscar, `oscar/modeling/modeling_bert.py`.
"""
from keras import ops

from tpu_utils import suggest

IGNORED = -1  # Label of positions that are not to be predicted.


def pretrain_losses(outputs, masked_lm_labels, next_sentence_label):
  """The losses of pre-training.

  Args:
    outputs: of an OSCAR pre-training model.
    masked_lm_labels: [B, N] integers, the original words at the positions that `prediction_scores`
      are for; -1 is left out.
    next_sentence_label: [B] or [B, 1] integers, the contrast class.

  Returns:
    A dict of float32 scalars: `masked_lm_loss`, `next_sentence_loss` and their sum `loss`.
  """
  masked_lm = cross_entropy(outputs['prediction_scores'], masked_lm_labels)
  contrast = cross_entropy(outputs['seq_relationship_score'], next_sentence_label)
  return {
    'loss': masked_lm + contrast,
    'masked_lm_loss': masked_lm,
    'next_sentence_loss': contrast,
  }


def cross_entropy(logits, labels):
  """Mean softmax cross-entropy over the labels that are not -1.

  Without any such label it is 0; the official code gives NaN, which one replica without a masked word
  would spread to all.

  Args:
    logits: [..., classes].
    labels: integers, as many as there are rows of logits.

  Returns:
    A float32 scalar.
  """
  classes = logits.shape[-1]
  logits = ops.cast(ops.reshape(logits, (-1, classes)), 'float32')
  labels = ops.cast(ops.reshape(labels, (-1,)), 'int32')
  valid = labels != IGNORED
  losses = ops.sparse_categorical_crossentropy(ops.where(valid, labels, 0), logits, from_logits=True)
  valid = ops.cast(valid, 'float32')
  return ops.sum(losses * valid) / ops.maximum(ops.sum(valid), 1.0)


def classification_loss(logits, labels, loss_type):
  """The loss of VQA, GQA, NLVR2 and retrieval, as the official models choose it.

  Args:
    logits: [B, num_labels].
    labels: [B, num_labels] scores for 'bce' and 'kl'; [B] or [B, 1] classes otherwise, or numbers if
      num_labels is 1 (regression: mean squared error, whatever the loss type).
    loss_type: 'bce', 'kl', or one of the names of softmax cross-entropy: 'xe', 'sfmx', 'bxe'.
  """
  suggest.check('loss_type', loss_type, ('bce', 'kl', 'xe', 'sfmx', 'bxe'))
  logits = ops.cast(logits, 'float32')
  if logits.shape[-1] == 1:
    return ops.mean(ops.square(ops.reshape(logits, (-1,)) - _floats(ops.reshape(labels, (-1,)))))
  if loss_type == 'bce':
    return binary_cross_entropy(logits, labels)
  if loss_type == 'kl':
    return kl_divergence(logits, labels)
  return cross_entropy(logits, labels)


def binary_cross_entropy(logits, targets):
  """Sigmoid cross-entropy, summed over the labels and averaged over the batch."""
  losses = ops.binary_crossentropy(_floats(targets), logits, from_logits=True)
  return ops.mean(losses) * logits.shape[-1]


def kl_divergence(logits, targets):
  """Mean over examples of the sum of t (log t - log softmax); targets t need not sum to 1."""
  targets = _floats(targets)
  positive = targets > 0
  own = ops.where(positive, targets * ops.log(ops.where(positive, targets, 1.0)), 0.0)
  losses = ops.sum(own - targets * ops.log_softmax(logits), axis=-1)
  return ops.mean(losses)


def caption_loss(
  logits,
  masked_ids,
  label_smoothing=0.0,
  drop_worst_ratio=0.0,
  drop_worst_after=0,
  forward_passes=1,
):
  """The loss of captioning: the KL divergence from smoothed labels, without the worst words.

  Args:
    logits: [..., vocabulary] at the masked positions.
    masked_ids: integers, as many as there are rows of logits; 0 is padding and left out.
    label_smoothing: share of the probability spread evenly over the other words. The entropy of the
      smoothed labels stays in the loss.
    drop_worst_ratio: share of the n masked words of the batch left out for their high loss;
      int(n * (1 - ratio)) words stay.
    drop_worst_after: number of forward passes before any is left out.
    forward_passes: integer or scalar tensor, the number of this forward pass of training, from 1.

  Returns:
    A float32 scalar; 0 if there is no masked word.
  """
  vocabulary = logits.shape[-1]
  logits = ops.cast(ops.reshape(logits, (-1, vocabulary)), 'float32')
  masked_ids = ops.cast(ops.reshape(masked_ids, (-1,)), 'int32')
  losses = ops.sparse_categorical_crossentropy(masked_ids, logits, from_logits=True)
  if label_smoothing:
    losses = _smooth(losses, logits, label_smoothing)
  valid = masked_ids != 0
  total = ops.sum(ops.cast(valid, 'int32'))
  if not drop_worst_ratio:
    losses = ops.where(valid, losses, 0.0)
    return ops.sum(losses) / ops.maximum(ops.cast(total, 'float32'), 1.0)
  # The official Python arithmetic, tabulated: float32 would round some of these the other way.
  kept = [int(n * (1 - drop_worst_ratio)) for n in range(losses.shape[0] + 1)]
  dropping = ops.convert_to_tensor(forward_passes) > drop_worst_after
  keep = ops.where(dropping, ops.take(ops.convert_to_tensor(kept, 'int32'), total), total)
  ascending = ops.sort(ops.where(valid, losses, float('inf')))
  lowest = ops.where(ops.arange(losses.shape[0]) < keep, ascending, 0.0)
  return ops.sum(lowest) / ops.maximum(ops.cast(keep, 'float32'), 1.0)


def _smooth(losses, logits, smoothing):
  """Turns cross-entropies into the divergences from labels smoothed by `smoothing`."""
  vocabulary = logits.shape[-1]
  others = smoothing / (vocabulary - 1)
  entropy = ops.log(1 - smoothing) * (1 - smoothing) + ops.log(others) * smoothing
  log_sum = ops.logsumexp(logits, axis=-1)
  sum_of_log_probabilities = ops.sum(logits, axis=-1) - vocabulary * log_sum
  return entropy + (1 - smoothing - others) * losses - others * sum_of_log_probabilities


def _floats(x):
  return ops.cast(x, 'float32')
