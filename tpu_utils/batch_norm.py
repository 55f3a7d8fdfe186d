"""Batch normalization with training statistics over one replica or a group of replicas.

Source: tensorflow/tpu, models/official/efficientnet/utils.py, `TpuBatchNormalization` (group size
from the number of replicas) and `DistributedBatchNormalization` (from `--batch_norm_batch_size`).
"""
from __future__ import annotations

from typing import Any

import keras
from keras import ops


def official_replicas_per_group(num_replicas: int) -> int:
  """Returns the official TPU group size: 1 for up to 8 replicas, else max(8, replicas // 8)."""
  return 1 if num_replicas <= 8 else max(8, num_replicas // 8)


def lars_replicas_per_group(
  num_replicas: int, train_batch_size: int, batch_norm_batch_size: int
) -> int:
  """Returns the official group size with LARS.

  Up to 8 replicas form one group. Of more, a group has as many as together hold
  `batch_norm_batch_size` examples of the global `train_batch_size`, and at least one.
  """
  if num_replicas <= 8:
    return num_replicas
  return max(1, int(batch_norm_batch_size / (train_batch_size / num_replicas)))


@keras.saving.register_keras_serializable('tpu_utils')
class BatchNormalization(keras.layers.BatchNormalization):
  """`keras.layers.BatchNormalization` with statistics over groups of replicas.

  The moving variance follows the biased batch variance, as in the official (unfused) layer.
  `replicas_per_group` belongs to a training job, not to the model: it is 1 until the trainer sets
  it before tracing (`set_replicas_per_group`), and it is not saved.

  On TensorFlow, channels-last images use its fused kernel: on a CPU that takes less than half the
  time of Keras' separate operations, and 16-bit images need no float32 copy. In training on a TPU,
  batch norm behind a widening 1x1 convolution is computed together with it (`pointwise_norm`),
  which has the same values and gradients and moves fewer bytes.
  """

  def __init__(self, *args: Any, **kwargs: Any):
    super().__init__(*args, **kwargs)
    self.replicas_per_group = 1

  def builtin(self) -> keras.layers.BatchNormalization:
    """Returns a Keras layer equal to this one on one replica; see `export.with_builtin_layers`."""
    return keras.layers.BatchNormalization.from_config(self.get_config())

  def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
    """Normalizes [batch, ..., channels] inputs; see `keras.layers.BatchNormalization.call`."""
    training = bool(training and self.trainable)
    if mask is None and not (training and self.replicas_per_group > 1) and self._fusable(inputs):
      return self._fused_call(inputs, training)
    return super().call(inputs, training=training, mask=mask)

  def _fusable(self, inputs):
    return (
      keras.backend.backend() == 'tensorflow'
      and len(inputs.shape) == 4
      and self.axis in (-1, 3)
      and self.scale
      and self.center
      and not (self.renorm or self.synchronized)
      and keras.backend.standardize_dtype(inputs.dtype) in ('float32', 'bfloat16', 'float16')
    )

  def _fused_call(self, inputs, training):
    import tensorflow as tf  # `_fusable` excludes the other backends.

    gamma, beta = tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
    convolution = _widening_convolution(inputs) if training else None
    if convolution is not None:
      from tpu_utils import pointwise_norm

      outputs, mean, variance = pointwise_norm.normalized(*convolution, gamma, beta, self.epsilon)
    else:
      statistics = [] if training else [self.moving_mean, self.moving_variance]
      mean, variance = [tf.convert_to_tensor(s) for s in statistics] or [tf.zeros([0])] * 2
      outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=gamma,
        offset=beta,
        mean=mean,
        variance=variance,
        epsilon=self.epsilon,
        is_training=training,
      )
    if training:
      # The kernel returns the unbiased variance, divided by n - 1.
      count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), tf.float32)
      variance *= tf.maximum(count - 1.0, 1.0) / count
      self._update(self.moving_mean, mean)
      self._update(self.moving_variance, variance)
    return outputs

  def _update(self, moving, statistic):
    moving.assign(moving * self.momentum + statistic * (1.0 - self.momentum))

  def _moments(self, inputs, mask):
    mean, variance = super()._moments(inputs, mask)
    if self.replicas_per_group == 1:
      return mean, variance
    # Var[x] = E[x^2] - E[x]^2 over the group.
    mean_of_square = variance + ops.square(mean)
    average = _group_average(ops.stack([mean, mean_of_square]), self.replicas_per_group)
    mean, mean_of_square = average[0], average[1]
    return mean, mean_of_square - ops.square(mean)


def set_replicas_per_group(model: keras.Model, replicas_per_group: int) -> None:
  """Sets the group size of every `BatchNormalization` in `model`; call before tracing the step."""
  for layer in model._flatten_layers():
    if isinstance(layer, BatchNormalization):
      layer.replicas_per_group = replicas_per_group


def _widening_convolution(features):
  """Returns (inputs, kernel) of the convolution before batch norm, if that is to be one with it.

  Only on TPUs: on other devices `pointwise_norm` saves nothing.
  """
  from tpu_utils import distribute, pointwise_norm  # `_fusable` excludes the other backends.

  return pointwise_norm.convolution_of(features) if distribute.device_types() == {'tpu'} else None


def _group_average(x, replicas_per_group):
  """Replica context: returns the mean of `x` over this replica's group of neighbouring replicas.

  All-reduces a [groups, ...] tensor in which each replica fills its group's row. This needs no
  group assignment, so it works on every strategy; the statistics are small.
  """
  import tensorflow as tf  # Only distributed TensorFlow jobs have groups.

  context = tf.distribute.get_replica_context()
  if context is None or context.num_replicas_in_sync == 1:
    return x
  replicas = context.num_replicas_in_sync
  if replicas % replicas_per_group:
    raise ValueError(
      f'Batch norm groups of {replicas_per_group} replicas do not divide the {replicas} replicas '
      'of this job; choose a batch_norm_batch_size that gives groups that do.'
    )
  group = context.replica_id_in_sync_group // replicas_per_group
  row = tf.one_hot(group, replicas // replicas_per_group, dtype=x.dtype)
  row = tf.reshape(row, [-1] + [1] * x.shape.rank)
  total = context.all_reduce(tf.distribute.ReduceOp.SUM, row * x[tf.newaxis])
  return tf.reduce_sum(row * total, axis=0) / replicas_per_group
