"""The official "null" input: black images of label 0, to time everything but the reading of data.

Source: tensorflow/tpu, models/official/efficientnet/imagenet_input.py, `_get_null_input`.
"""
from __future__ import annotations

import tensorflow as tf

from tpu_utils.images.spec import PreprocessSpec


class FakeInput:
  """Replacement of `ImageNetInput` that needs no data.

  Args:
    spec: preprocessing of the model; only its image size is used.
    train_batch_size: over all replicas.
    eval_batch_size: over all replicas.
    num_eval_images: images in an evaluation, over all hosts.
    num_label_classes: width of the one-hot labels.
    use_bfloat16: images in bfloat16 rather than float32.
    transpose_input: images as [height, width, 3, batch].
  """

  def __init__(
    self,
    spec: PreprocessSpec,
    *,
    train_batch_size: int,
    eval_batch_size: int,
    num_eval_images: int,
    num_label_classes: int,
    use_bfloat16: bool = False,
    transpose_input: bool = False,
  ):
    self._spec = spec
    self._train_batch_size = train_batch_size
    self._eval_batch_size = eval_batch_size
    self._num_eval_images = num_eval_images
    self._num_label_classes = num_label_classes
    self._dtype = tf.bfloat16 if use_bfloat16 else tf.float32
    self._transpose_input = transpose_input

  @property
  def num_eval_batches(self) -> int:
    """Number of batches in an evaluation, over all replicas."""
    return -(-self._num_eval_images // self._eval_batch_size)

  def train_dataset(
    self, context: tf.distribute.InputContext | None = None, start_example: int = 0
  ) -> tf.data.Dataset:
    """Returns an endless repetition of one batch; see `ImageNetInput.train_dataset`."""
    del start_example
    context = context or tf.distribute.InputContext()
    return self._batches(context.get_per_replica_batch_size(self._train_batch_size)).repeat()

  def eval_dataset(self, context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
    """Returns as many batches as real images would fill; see `ImageNetInput.eval_dataset`."""
    context = context or tf.distribute.InputContext()
    size = context.get_per_replica_batch_size(self._eval_batch_size)
    replicas = context.num_replicas_in_sync // context.num_input_pipelines
    share = -(-self._num_eval_images // context.num_input_pipelines)
    batches = self._batches(size).map(lambda batch: batch | {'weights': tf.ones([size])})
    return batches.repeat(-(-share // (size * replicas)) * replicas)

  def explain(self, error: Exception) -> None:
    """Returns None: this input causes no errors."""
    del error

  def _batches(self, size):
    side = self._spec.image_size
    shape = [side, side, 3, size] if self._transpose_input else [size, side, side, 3]
    return tf.data.Dataset.from_tensors(
      {
        'images': tf.zeros(shape, self._dtype),
        'labels': tf.one_hot(tf.zeros([size], tf.int32), self._num_label_classes),
      }
    )
