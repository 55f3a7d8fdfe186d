"""The official losses of pre-training and of the tasks.

Each returns (sum, weight) for the trainer: the loss is the sum over the global batch divided by the
weight over the global batch, for any number of replicas. On one device that is the official mean;
on several, the official code averages the devices' means instead.

Source: microsoft/Oscar, `oscar/modeling/modeling_bert.py`.
"""
from collections.abc import Mapping
from typing import Any

from keras import ops

from tpu_utils.names import check_name

IGNORED = -1  # Label of positions without a prediction.
LOSS_TYPES = ('bce', 'kl', 'xe', 'sfmx', 'bxe', 'x2')  # The last four mean the same.


def mean(sum_and_weight: tuple[Any, Any]) -> Any:
  """Returns the loss of a single batch; 0 if the weight is 0."""
  total, weight = sum_and_weight
  return total / ops.maximum(weight, 1e-12)


def pretraining(
  outputs: Mapping[str, Any], masked_lm_labels: Any, next_sentence_label: Any, weights: Any = None
) -> dict[str, tuple[Any, Any]]:
  """Computes the two terms of the pre-training loss, which is the sum of their means.

  Args:
    outputs: outputs of an OSCAR pre-training model.
    masked_lm_labels: [B, N] integers, the original words at the positions of `prediction_scores`;
      -1 is ignored.
    next_sentence_label: [B] or [B, 1] integers, the contrast class.
    weights: [B], 0 for rows that only fill up a batch; None for all ones.

  Returns:
    {'masked_lm_loss': (sum, words), 'next_sentence_loss': (sum, examples)}.
  """
  return {
    'masked_lm_loss': cross_entropy(outputs['prediction_scores'], masked_lm_labels, weights),
    'next_sentence_loss': cross_entropy(
      outputs['seq_relationship_score'], next_sentence_label, weights
    ),
  }


def classification(
  logits: Any, labels: Any, loss_type: str, weights: Any = None
) -> tuple[Any, Any]:
  """Computes the loss of VQA, GQA, NLVR2 and retrieval, as the official models do.

  Args:
    logits: [B, num_labels].
    labels: [B, num_labels] scores for 'bce' and 'kl'; else [B] or [B, 1] classes, or numbers if
      num_labels is 1 (regression: squared error for every loss type).
    loss_type: 'bce', 'kl', or one of the official names of softmax cross-entropy: 'xe', 'sfmx',
      'bxe', 'x2'. With classes as labels 'kl' is cross-entropy too, as in the NLVR2 pair model.
    weights: [B], 0 for rows that only fill up a batch; None for all ones.

  Returns:
    (sum, examples).

  Raises:
    ValueError: an unknown loss type.
  """
  check_name('loss_type', loss_type, LOSS_TYPES)
  if logits.shape[-1] == 1:
    errors = ops.reshape(_floats(logits), (-1,)) - ops.reshape(_floats(labels), (-1,))
    return _weighted(ops.square(errors), weights)
  if loss_type == 'bce':
    return binary_cross_entropy(logits, labels, weights)
  are_scores = len(labels.shape) == 2 and labels.shape[1] == logits.shape[1]
  if loss_type == 'kl' and are_scores:
    return kl_divergence(logits, labels, weights)
  return cross_entropy(logits, labels, weights)


def cross_entropy(logits: Any, labels: Any, weights: Any = None) -> tuple[Any, Any]:
  """Computes the softmax cross-entropy of the labels that are not -1.

  For a batch without such a label the official code returns NaN; here sum and count are 0.

  Args:
    logits: [B, ..., classes].
    labels: integers, one for each row of logits.
    weights: [B], 0 for rows that only fill up a batch; None for all ones.

  Returns:
    (sum, labels counted).
  """
  classes = logits.shape[-1]
  logits = ops.reshape(_floats(logits), (-1, classes))
  rows = ops.shape(labels)[0]
  labels = ops.reshape(ops.cast(labels, 'int32'), (-1,))
  counted = ops.cast(labels != IGNORED, 'float32')
  losses = ops.sparse_categorical_crossentropy(ops.maximum(labels, 0), logits, from_logits=True)
  if weights is not None:
    counted = ops.reshape(counted, (rows, -1)) * _floats(weights)[:, None]
  return ops.sum(losses * ops.reshape(counted, (-1,))), ops.sum(counted)


def binary_cross_entropy(logits: Any, targets: Any, weights: Any = None) -> tuple[Any, Any]:
  """Returns (sigmoid cross-entropy summed over labels and examples, number of examples)."""
  losses = ops.binary_crossentropy(_floats(targets), _floats(logits), from_logits=True)
  return _weighted(ops.sum(losses, axis=-1), weights)


def kl_divergence(logits: Any, targets: Any, weights: Any = None) -> tuple[Any, Any]:
  """Returns (sum of t (log t - log softmax), examples); targets t need not sum to 1."""
  targets = _floats(targets)
  positive = targets > 0
  own = ops.where(positive, targets * ops.log(ops.where(positive, targets, 1.0)), 0.0)
  return _weighted(ops.sum(own - targets * ops.log_softmax(_floats(logits)), axis=-1), weights)


def captioning(
  logits: Any,
  masked_ids: Any,
  label_smoothing: float = 0.0,
  drop_worst_ratio: float = 0.0,
  drop_worst_after: int = 0,
  forward_passes: Any = 1,
) -> tuple[Any, Any]:
  """Computes the captioning loss: the KL divergence from smoothed labels, without the worst words.

  Args:
    logits: [..., vocabulary] at the masked positions.
    masked_ids: integers, one for each row of logits; 0 is padding and ignored.
    label_smoothing: share of the probability spread evenly over the other words. The entropy of the
      smoothed labels stays in the loss.
    drop_worst_ratio: share of the n masked words of this (replica's) batch dropped for their high
      loss; int(n * (1 - ratio)) words stay.
    drop_worst_after: forward passes before words are dropped.
    forward_passes: integer or scalar tensor, number of this forward pass of training, from 1.

  Returns:
    (sum, words kept).
  """
  vocabulary = logits.shape[-1]
  logits = ops.reshape(_floats(logits), (-1, vocabulary))
  masked_ids = ops.reshape(ops.cast(masked_ids, 'int32'), (-1,))
  losses = ops.sparse_categorical_crossentropy(masked_ids, logits, from_logits=True)
  if label_smoothing:
    losses = _smooth(losses, logits, label_smoothing)
  valid = masked_ids != 0
  total = ops.sum(ops.cast(valid, 'int32'))
  if not drop_worst_ratio:
    return ops.sum(ops.where(valid, losses, 0.0)), _floats(total)
  # The official Python arithmetic as a table: float32 would round some of these differently.
  kept = [int(n * (1 - drop_worst_ratio)) for n in range(losses.shape[0] + 1)]
  dropping = ops.convert_to_tensor(forward_passes) > drop_worst_after
  keep = ops.where(dropping, ops.take(ops.convert_to_tensor(kept, 'int32'), total), total)
  ascending = ops.sort(ops.where(valid, losses, float('inf')))
  lowest = ops.where(ops.arange(losses.shape[0]) < keep, ascending, 0.0)
  return ops.sum(lowest), _floats(keep)


def _smooth(losses, logits, smoothing):
  """Converts cross-entropies to divergences from labels smoothed by `smoothing`."""
  vocabulary = logits.shape[-1]
  others = smoothing / (vocabulary - 1)
  entropy = ops.log(1 - smoothing) * (1 - smoothing) + ops.log(others) * smoothing
  log_sum = ops.logsumexp(logits, axis=-1)
  sum_of_log_probabilities = ops.sum(logits, axis=-1) - vocabulary * log_sum
  return entropy + (1 - smoothing - others) * losses - others * sum_of_log_probabilities


def _weighted(losses, weights):
  weights = ops.ones_like(losses) if weights is None else _floats(weights)
  return ops.sum(losses * weights), ops.sum(weights)


def _floats(x):
  return ops.cast(x, 'float32')
