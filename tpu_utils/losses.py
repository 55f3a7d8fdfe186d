"""Losses for one example each, and weight decay; float32 whatever the model computes in."""
import keras
import tensorflow as tf


def softmax_cross_entropy(labels, logits, label_smoothing=0.0):
  """Cross-entropy of each example, with labels smoothed as tf.losses.softmax_cross_entropy does.

  Args:
    labels: [batch, classes] probabilities, one-hot or mixed up.
    logits: [batch, classes], any floating-point type.
    label_smoothing: s in labels * (1 - s) + s / classes.

  Returns:
    [batch] float32. The trainer weighs and sums it.
  """
  if not 0 <= label_smoothing < 1:
    raise ValueError(f'label_smoothing must be at least 0 and below 1, got {label_smoothing!r}.')
  labels, logits = tf.cast(labels, tf.float32), tf.cast(logits, tf.float32)
  if labels.shape[-1] != logits.shape[-1]:
    raise ValueError(
      f'Labels have {labels.shape[-1]} classes and logits {logits.shape[-1]}; give the model and the '
      'input the same num_classes.'
    )
  if label_smoothing:
    labels = labels * (1.0 - label_smoothing) + label_smoothing / logits.shape[-1]
  return tf.nn.softmax_cross_entropy_with_logits(labels, logits)


def l2_weight_decay(variables, weight_decay):
  """weight_decay * sum over variables of sum(v^2) / 2: float32 scalar.

  In a loss that is summed over replicas, divide it by their number.
  """
  if not weight_decay or not variables:
    return tf.zeros([])
  squares = [tf.nn.l2_loss(tf.cast(v.value, tf.float32)) for v in variables]
  return weight_decay * tf.add_n(squares)


def non_batch_norm_variables(model):
  """The trainable variables that weight decay applies to: all but those of batch norm layers.

  Biases are among them, as in the official code.
  """
  of_batch_norm = {
    id(variable)
    for layer in model._flatten_layers()
    if isinstance(layer, keras.layers.BatchNormalization)
    for variable in layer.variables
  }
  return [v for v in model.trainable_variables if id(v) not in of_batch_norm]
