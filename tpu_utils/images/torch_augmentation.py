"""The augmentation of fb.resnet.torch, used by ResNeXt's official code, as stateless functions.

Source: facebookresearch/ResNeXt, datasets/transforms.lua, imagenet.lua, cifar10.lua. Colours are
float32 on the 0..255 scale (0..1 in the source) and, as in the source, not clipped.
"""
from collections.abc import Sequence

import tensorflow as tf

from tpu_utils.images import branches

_ATTEMPTS = 10
_GREY = (0.299, 0.587, 0.114)
# Principal components of ImageNet's RGB values on the 0..1 scale: imagenet.lua, `pca`.
_EIGENVALUES = (0.2175, 0.0188, 0.0045)
_EIGENVECTORS = (
  (-0.5675, 0.7192, 0.4009),
  (-0.5808, -0.0045, -0.8140),
  (-0.5836, -0.6948, 0.4203),
)


def crop_window(
  shape: tf.Tensor,
  seed: tf.Tensor,
  area_range: tuple[float, float] = (0.08, 1.0),
  aspect_ratio_range: tuple[float, float] = (3 / 4, 4 / 3),
) -> tuple[tf.Tensor, tf.Tensor]:
  """Draws a crop of random area and aspect ratio; swaps its sides with probability 1/2.

  Args:
    shape: int32 [2], height and width of the image.
    seed: int64 [2].
    area_range: least and greatest share of the image's area.
    aspect_ratio_range: least and greatest width / height, before the swap.

  Returns:
    (int32 [4]: y, x, height, width of the first of ten draws that fits; bool scalar: whether any
    fits).
  """
  draws = tf.random.stateless_uniform([_ATTEMPTS, 5], seed)
  share, ratio, turn, y, x = tf.unstack(draws, axis=1)
  area = _between(share, area_range) * tf.cast(tf.reduce_prod(shape), tf.float32)
  ratio = _between(ratio, aspect_ratio_range)
  # Rounds halves up, as Torch does; tf.round rounds them to even.
  sides = [tf.floor(tf.sqrt(s) + 0.5) for s in (area / ratio, area * ratio)]
  sizes = tf.cast(tf.stack(sides, axis=1), tf.int32)
  sizes = tf.where(turn[:, tf.newaxis] < 0.5, sizes[:, ::-1], sizes)
  fits = tf.reduce_all((sizes <= shape) & (sizes > 0), axis=1)
  first = tf.argmax(fits)
  size = sizes[first]
  begin = _integer(tf.stack([y[first], x[first]]), shape - size)
  return tf.concat([begin, size], axis=0), tf.reduce_any(fits)


def pad_and_crop(
  image: tf.Tensor, padding: int, color: Sequence[float], seed: tf.Tensor
) -> tf.Tensor:
  """Pads an image and draws a random crop of the original size.

  Args:
    image: float or uint8 [height, width, 3].
    padding: width of the border in pixels.
    color: three floats, the colour of the border. The official code pads normalised images with
      zeros, which is the mean colour.
    seed: int64 [2].
  """
  border = tf.cast(tf.constant(color), image.dtype)
  # A uint8 difference may wrap around; the sum wraps back.
  padded = tf.pad(image - border, [[padding, padding], [padding, padding], [0, 0]]) + border
  y, x = tf.unstack(_integer(tf.random.stateless_uniform([2], seed), 2 * padding))
  height, width, _ = image.shape
  return tf.ensure_shape(padded[y : y + height, x : x + width], image.shape)


def color_jitter(image: tf.Tensor, strength: float, seed: tf.Tensor) -> tf.Tensor:
  """Changes brightness, contrast and saturation in random order.

  Each step blends the image with another: brightness with black, contrast with the mean grey level,
  saturation with the greyscale image.

  Args:
    image: float32 [height, width, 3].
    strength: the image's shares are drawn from 1 - strength to 1 + strength; 0.4 in the official
      code.
    seed: int64 [2].
  """
  draws = tf.random.stateless_uniform([6], seed)
  shares = _between(draws[:3], (1 - strength, 1 + strength))
  blends = [
    lambda image, shares: _blend(image, 0.0, shares[0]),
    lambda image, shares: _blend(image, tf.reduce_mean(_grey(image)), shares[1]),
    lambda image, shares: _blend(image, _grey(image), shares[2]),
  ]
  order = tf.argsort(draws[3:])
  for place in range(len(blends)):
    image = branches.switch_case(order[place], blends, [image, shares])
  return image


def lighting(image: tf.Tensor, stddev: float, seed: tf.Tensor) -> tf.Tensor:
  """Shifts all pixels by one random combination of ImageNet's principal colour components.

  Args:
    image: float32 [height, width, 3].
    stddev: standard deviation of the components' normal weights; 0.1 in the official code.
    seed: int64 [2].
  """
  weights = tf.random.stateless_normal([3], seed, stddev=stddev)
  components = tf.constant(_EIGENVECTORS) * tf.constant(_EIGENVALUES)
  return image + 255.0 * tf.linalg.matvec(components, weights)


def _blend(image, other, share):
  return share * image + (1.0 - share) * other


def _grey(image):
  return tf.tensordot(image, tf.constant(_GREY), 1)[..., tf.newaxis]


def _between(uniform, limits):
  low, high = limits
  return low + (high - low) * uniform


def _integer(uniform, largest):
  """Maps numbers in [0, 1) to integers from 0 to `largest` inclusive."""
  largest = tf.cast(largest, tf.float32)
  # Rounding can make the product reach the next integer.
  return tf.cast(tf.minimum(tf.floor(uniform * (largest + 1)), largest), tf.int32)
