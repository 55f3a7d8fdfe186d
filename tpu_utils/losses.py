"""Losses per example, and weight decay; float32 whatever dtype the model computes in."""
from collections.abc import Sequence

import keras
import tensorflow as tf


def softmax_cross_entropy(
  labels: tf.Tensor, logits: tf.Tensor, label_smoothing: float = 0.0
) -> tf.Tensor:
  """Computes each example's cross-entropy, with labels smoothed as in tf.losses (TensorFlow 1).

  Args:
    labels: [batch, classes] probabilities: one-hot, or mixtures of several classes.
    logits: [batch, classes], any floating-point type.
    label_smoothing: s in labels * (1 - s) + s / classes.

  Returns:
    [batch] float32; the trainer weights and sums it.

  Raises:
    ValueError: `label_smoothing` is out of range, or the numbers of classes differ.
  """
  if not 0 <= label_smoothing < 1:
    raise ValueError(f'label_smoothing must be at least 0 and below 1, got {label_smoothing!r}.')
  labels, logits = tf.cast(labels, tf.float32), tf.cast(logits, tf.float32)
  if labels.shape[-1] != logits.shape[-1]:
    raise ValueError(
      f'Labels have {labels.shape[-1]} classes and logits {logits.shape[-1]}; give the model and '
      'the input the same num_classes.'
    )
  if label_smoothing:
    labels = labels * (1.0 - label_smoothing) + label_smoothing / logits.shape[-1]
  return tf.nn.softmax_cross_entropy_with_logits(labels, logits)


def l2_weight_decay(variables: Sequence[keras.Variable], weight_decay: float) -> tf.Tensor:
  """Computes weight_decay * sum over variables of sum(v^2) / 2, a float32 scalar.

  If the loss is summed over replicas, divide this by their number.
  """
  if not weight_decay or not variables:
    return tf.zeros([])
  squares = [tf.nn.l2_loss(tf.cast(v.value, tf.float32)) for v in variables]
  return weight_decay * tf.add_n(squares)


def non_batch_norm_variables(model: keras.Model) -> list[keras.Variable]:
  """Returns the trainable variables that weight decay applies to: all but those of batch norm.

  Biases are included, as in the official code.
  """
  batch_norm_ids = {
    id(variable)
    for layer in model._flatten_layers()
    if isinstance(layer, keras.layers.BatchNormalization)
    for variable in layer.variables
  }
  return [v for v in model.trainable_variables if id(v) not in batch_norm_ids]
