"""Mixup, CutMix and random erasing of training images.

Mixup and CutMix combine a batch with itself in reverse order, as in tensorflow/tpu,
models/official/efficientnet/imagenet_input.py. Randomness is stateless: the result depends on the
seed alone.
"""
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tpu_utils.images import augment_ops
from tpu_utils.images.preprocessing import fold_in

# torchvision's defaults of random erasing: share of the image's area, and height / width.
ERASED_AREA = (0.02, 0.33)
ERASED_ASPECT_RATIO = (0.3, 3.3)
_ATTEMPTS = 10

_GAMMA_STREAM, _UNIFORM_STREAM, _PLACE_STREAM, _CHOICE_STREAM = range(4)


def mix_batch(
  images: tf.Tensor, labels: tf.Tensor, mixup_alpha: float, cutmix_alpha: float, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
  """Applies mixup or CutMix to a batch; if both are enabled, one of them with probability 1/2.

  Args:
    images: [batch, height, width, 3], float32 or bfloat16.
    labels: float32 [batch, classes].
    mixup_alpha: see `mixup`; 0 disables it.
    cutmix_alpha: see `cutmix`; 0 disables it.
    seed: int64 [2].

  Returns:
    (images, labels) of the same shapes and dtypes.
  """
  if not cutmix_alpha:
    return mixup(images, labels, mixup_alpha, seed) if mixup_alpha else (images, labels)
  if not mixup_alpha:
    return cutmix(images, labels, cutmix_alpha, seed)
  return tf.cond(
    tf.random.stateless_uniform([], fold_in(seed, _CHOICE_STREAM)) < 0.5,
    lambda: mixup(images, labels, mixup_alpha, seed),
    lambda: cutmix(images, labels, cutmix_alpha, seed),
  )


def mixup(
  images: tf.Tensor, labels: tf.Tensor, alpha: float, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
  """Applies mixup (https://arxiv.org/abs/1710.09412) with one weight per image.

  Args:
    images: see `mix_batch`.
    labels: see `mix_batch`.
    alpha: the weights are drawn from Beta(alpha, alpha).
    seed: int64 [2].
  """
  return mix(images, labels, sample_beta(alpha, [tf.shape(images)[0], 1], seed))


def mix(
  images: tf.Tensor, labels: tf.Tensor, weight: tf.Tensor | np.ndarray
) -> tuple[tf.Tensor, tf.Tensor]:
  """Mixes a batch with itself in reverse order; each image keeps the larger weight.

  Args:
    images: see `mix_batch`.
    labels: see `mix_batch`.
    weight: float32 [batch, 1], 0..1; w and 1 - w are equivalent.
  """
  weight = tf.maximum(weight, 1.0 - weight)
  image_weight = tf.cast(weight[:, :, tf.newaxis, tf.newaxis], images.dtype)
  mixed_images = images * image_weight + images[::-1] * (1 - image_weight)
  return mixed_images, labels * weight + labels[::-1] * (1.0 - weight)


def cutmix(
  images: tf.Tensor, labels: tf.Tensor, alpha: float, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
  """Applies CutMix (https://arxiv.org/abs/1905.04899) with one rectangle per image, not per batch.

  The rectangle has the image's aspect ratio and its centre may lie anywhere in the image. The
  labels are weighted by the area that remains after clipping at the borders.

  Args:
    images: see `mix_batch`.
    labels: see `mix_batch`.
    alpha: the rectangle's share of the area, before clipping, is drawn from Beta(alpha, alpha).
    seed: int64 [2].
  """
  batch, height, width = images.shape[0] or tf.shape(images)[0], images.shape[1], images.shape[2]
  share = sample_beta(alpha, [batch], seed)
  sizes = tf.constant([[height, width]], tf.float32)
  half = tf.cast(sizes * tf.sqrt(share)[:, tf.newaxis], tf.int32) // 2
  place = tf.random.stateless_uniform([batch, 2], fold_in(seed, _PLACE_STREAM))
  center = tf.cast(place * sizes, tf.int32)
  first = tf.maximum(center - half, 0)
  last = tf.minimum(center + half, [height, width])
  rows = (tf.range(height) >= first[:, :1]) & (tf.range(height) < last[:, :1])
  columns = (tf.range(width) >= first[:, 1:]) & (tf.range(width) < last[:, 1:])
  # As rows of width * channels, because tf.where takes twice as long if it broadcasts.
  channels = images.shape[3]
  inside = rows[:, :, tf.newaxis] & tf.repeat(columns, channels, axis=1)[:, tf.newaxis, :]
  flat = tf.reshape(images, [batch, height, width * channels])
  mixed = tf.reshape(tf.where(inside, flat[::-1], flat), tf.shape(images))
  area = tf.cast(tf.reduce_prod(last - first, axis=1, keepdims=True), tf.float32)
  weight = 1.0 - area / (height * width)
  return tf.ensure_shape(mixed, images.shape), labels * weight + labels[::-1] * (1.0 - weight)


def random_erasing(
  image: tf.Tensor, probability: float, color: Sequence[float], seed: tf.Tensor
) -> tf.Tensor:
  """Covers a random rectangle (random erasing, https://arxiv.org/abs/1708.04896).

  Args:
    image: [height, width, 3].
    probability: probability that the image is changed.
    color: three numbers in the image's units.
    seed: int64 [2].

  Returns:
    The image, unchanged if none of ten drawn rectangles fits into it.
  """
  height, width = image.shape[:2]
  draws = tf.random.stateless_uniform([1 + 4 * _ATTEMPTS], seed)
  area, ratio, y, x = tf.unstack(tf.reshape(draws[1:], [4, _ATTEMPTS]))
  area = height * width * _between(ERASED_AREA, area)
  ratio = tf.exp(_between(np.log(ERASED_ASPECT_RATIO), ratio))
  size = tf.stack([tf.sqrt(area * ratio), tf.sqrt(area / ratio)], axis=1)
  size = tf.cast(tf.round(size), tf.int32)
  fits = tf.reduce_all(size < [height, width], axis=1)
  first_fit = tf.argmax(tf.cast(fits, tf.int32))
  size = size[first_fit]
  free = tf.cast([height, width] - size + 1, tf.float32)
  top, left = tf.unstack(tf.cast(tf.stack([y[first_fit], x[first_fit]]) * free, tf.int32))

  def erased():
    covered = augment_ops.cover(image, top, left, top + size[0], left + size[1], color)
    return tf.ensure_shape(covered, image.shape)

  return tf.cond((draws[0] < probability) & fits[first_fit], erased, lambda: tf.identity(image))


def sample_beta(
  alpha: float, shape: Sequence[int | tf.Tensor] | tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
  """Draws from the distribution Beta(alpha, alpha).

  Args:
    alpha: above 0; may be tiny.
    shape: shape of the result.
    seed: int64 [2].

  Returns:
    float32 tensor of values from 0 to 1.
  """
  # Computes x / (x + y) for gamma variates x and y. With a small alpha both may be 0 in float32, so
  # this draws their logarithms: Gamma(alpha) is Gamma(alpha + 1) times u ** (1 / alpha).
  shape = tf.concat([[2], shape], axis=0)
  larger = tf.random.stateless_gamma(shape, fold_in(seed, _GAMMA_STREAM), alpha=alpha + 1.0)
  tiny = np.finfo(np.float32).tiny
  uniform = tf.random.stateless_uniform(shape, fold_in(seed, _UNIFORM_STREAM), tiny)
  x, y = tf.unstack(tf.math.log(larger) + tf.math.log(uniform) / alpha)
  return tf.sigmoid(x - y)


def _between(limits, share):
  low, high = limits
  return low + (high - low) * share
