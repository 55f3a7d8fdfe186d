"""The image operations of AutoAugment and RandAugment.

Source: tensorflow/tpu, models/official/efficientnet/autoaugment.py. The pixels are the same to the
bit, in a third of the time, with TensorFlow alone: sampling of pixels replaces tf.contrib.image.
Unless stated otherwise each function takes and returns a uint8 tensor [height, width, 3] of any
size from 1x1 up; its other arguments may be numbers or scalar tensors.
"""
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

REPLACE = 128  # Grey level of pixels that an operation leaves blank.

# The largest float32 below 1/2. floor(x + _HALF) equals C's round(x) for every x inside an image,
# ties and -1/2 included; floor(x + 1/2) and tf.round do not.
_HALF = np.float32(0.49999997)
_ONE = np.float32(1)
_GRAY = np.array([[0.2989], [0.5870], [0.1140]], np.float32)  # As in tf.image.rgb_to_grayscale.


def blend(
  image1: float | tf.Tensor, image2: tf.Tensor, factor: float | tf.Tensor
) -> tf.Tensor:
  """Returns image1 + factor * (image2 - image1), clipped to 0..255 and rounded down to uint8.

  Args:
    image1: float32 tensor of whole numbers, or one number for all pixels.
    image2: float32 tensor of whole numbers.
    factor: above 0; factors above 1 exaggerate the difference.
  """
  blended = image1 + factor * (image2 - image1)
  return tf.cast(tf.clip_by_value(blended, 0.0, 255.0), tf.uint8)


def invert(image: tf.Tensor) -> tf.Tensor:
  """Subtracts each value from 255."""
  return 255 - image


def posterize(image: tf.Tensor, bits: float | tf.Tensor) -> tf.Tensor:
  """Keeps the highest `bits` bits of each value.

  As in the official code, the shift by 8 - bits is computed in uint8, wraps around below 0, and is
  at most 7: `bits` of 0 or above 8 (a RandAugment magnitude of 23 or more) keep one bit.
  """
  shift = tf.minimum(tf.math.floormod(8 - tf.cast(bits, tf.int32), 256), 7)
  mask = tf.cast(tf.bitwise.left_shift(255, shift) & 255, tf.uint8)
  return tf.bitwise.bitwise_and(image, mask)


def solarize(image: tf.Tensor, threshold: float | tf.Tensor = 128) -> tf.Tensor:
  """Inverts the values that are at least `threshold`.

  As in the official code, a threshold of 256 (level 10) wraps around to 0.
  """
  threshold = tf.cast(tf.math.floormod(tf.cast(threshold, tf.int32), 256), tf.uint8)
  # XOR with 255 inverts; tf.where on uint8 takes six times as long.
  return tf.bitwise.bitwise_xor(image, 255 * tf.cast(image >= threshold, tf.uint8))


def solarize_add(
  image: tf.Tensor, addition: float | tf.Tensor = 0, threshold: float | tf.Tensor = 128
) -> tf.Tensor:
  """Adds to the values below a threshold and clips the sums to 0..255.

  Args:
    image: uint8 [height, width, 3].
    addition: whole number; may be negative.
    threshold: whole number, 0..255.
  """
  addition = tf.cast(addition, tf.int32)
  up = tf.cast(tf.clip_by_value(addition, 0, 255), tf.uint8)
  down = tf.cast(tf.clip_by_value(-addition, 0, 255), tf.uint8)
  added = tf.maximum(tf.minimum(image, 255 - up) + up, down) - down
  # The uint8 difference may wrap around; the sum wraps back.
  return image + (added - image) * tf.cast(image < tf.cast(threshold, tf.uint8), tf.uint8)


def brightness(image: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
  """Blends black with the image; see `blend`."""
  return blend(0.0, tf.cast(image, tf.float32), factor)


def contrast(image: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
  """Blends a uniform grey level with the image; see `blend`.

  The official code intends the mean grey level, but computes pixels / 256 (it sums the histogram,
  not the values). Images of more than 255x256 pixels therefore get 255.
  """
  height, width = _size(image)
  level = tf.minimum(tf.cast(height * width, tf.float32) / 256.0, 255.0)
  return blend(tf.floor(level), tf.cast(image, tf.float32), factor)


def color(image: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
  """Blends the greyscale image with the image; see `blend`."""
  pixels = tf.reshape(tf.cast(image, tf.float32), [-1, 3])
  # tf.image.rgb_to_grayscale, rounding included; the product with ones copies it to 3 channels.
  gray = tf.floor(tf.matmul(pixels * (1.0 / 255.0), _GRAY) * 255.5)
  gray = tf.matmul(gray, tf.ones([1, 3]))
  return tf.reshape(blend(gray, pixels, factor), tf.shape(image))


def sharpness(image: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
  """Blends the image smoothed by PIL's SMOOTH filter with the image; keeps the outermost pixels."""
  height, width = (tf.maximum(size - 2, 0) for size in _size(image))
  pixels = tf.cast(image, tf.float32)
  outer, middle = pixels * -(_ONE / 13), pixels * -(5 * _ONE / 13)
  # Sums row by row and rounds at each step, like TensorFlow's own depthwise convolution. oneDNN's
  # does not, and rounding down can turn its tiny difference into a grey level. (Negative terms are
  # subtracted because Grappler may reorder additions.)
  smooth = 0.0
  for y in range(3):
    for x in range(3):
      smooth -= (middle if y == x == 1 else outer)[y : y + height, x : x + width]
  inner = blend(tf.floor(smooth), pixels[1:-1, 1:-1], factor)
  # [1:][-1:] is the last row or column, or nothing if there is only one.
  rows = image[1:-1]
  rows = tf.concat([rows[:, :1], inner, rows[:, 1:][:, -1:]], axis=1)
  return tf.concat([image[:1], rows, image[1:][-1:]], axis=0)


def autocontrast(image: tf.Tensor) -> tf.Tensor:
  """Stretches each channel so that its minimum becomes 0 and its maximum 255."""
  rows, width = _rows(image)
  low = tf.reduce_min(_per_channel(_fold(rows, tf.minimum)), axis=0)
  high = tf.reduce_max(_per_channel(_fold(rows, tf.maximum)), axis=0)
  varies = high > low
  low, high = tf.cast(low, tf.float32), tf.cast(high, tf.float32)
  scale = tf.where(varies, 255.0 / (high - low), 1.0)
  offset = tf.where(varies, -low * scale, 0.0)
  stretched = tf.cast(rows, tf.float32) * tf.tile(scale, [width]) + tf.tile(offset, [width])
  return tf.reshape(tf.cast(tf.clip_by_value(stretched, 0.0, 255.0), tf.uint8), tf.shape(image))


def equalize(image: tf.Tensor) -> tf.Tensor:
  """Equalizes the histogram of each channel with a lookup table."""
  rows, width = _rows(image)
  # Indices into one histogram, and one lookup table, of 256 entries for each of three channels.
  entries = tf.cast(rows, tf.int32) + tf.tile([0, 256, 512], [width])
  # tf.math.bincount would compute the maximum first.
  histogram = tf.raw_ops.DenseBincount(
    input=tf.reshape(entries, [-1]), size=768, weights=tf.zeros([0], tf.int32)
  )
  table = _equalization(tf.reshape(histogram, [3, 256]))
  table = tf.reshape(tf.cast(table, tf.uint8), [-1])
  return tf.gather(table, tf.reshape(entries, tf.shape(image)))


def _equalization(histogram):
  """Returns the lookup tables of `equalize`, int32 [3, 256], for histograms, int32 [3, 256]."""
  greatest = 255 - tf.argmax(tf.reverse(histogram > 0, [1]), axis=1, output_type=tf.int32)
  others = tf.reduce_sum(histogram, axis=1) - tf.gather(histogram, greatest, batch_dims=1)
  step = others[:, tf.newaxis] // 255
  table = (tf.cumsum(histogram, axis=1) + step // 2) // tf.maximum(step, 1)
  table = tf.pad(table[:, :-1], [[0, 0], [1, 0]])
  return tf.where(step > 0, tf.minimum(table, 255), tf.range(256))


def translate_x(
  image: tf.Tensor, pixels: float | tf.Tensor, replace: int | tf.Tensor = REPLACE
) -> tf.Tensor:
  """Moves the content to the left by `pixels`, which may be fractional."""
  return _move(image, pixels, 1, replace)


def translate_y(
  image: tf.Tensor, pixels: float | tf.Tensor, replace: int | tf.Tensor = REPLACE
) -> tf.Tensor:
  """Moves the content up by `pixels`, which may be fractional."""
  return _move(image, pixels, 0, replace)


def shear_x(
  image: tf.Tensor, level: float | tf.Tensor, replace: int | tf.Tensor = REPLACE
) -> tf.Tensor:
  """Moves row y to the left by level * y pixels."""
  y, x = _coordinates(image)
  return _sample(image, y, x + level * y, replace)


def shear_y(
  image: tf.Tensor, level: float | tf.Tensor, replace: int | tf.Tensor = REPLACE
) -> tf.Tensor:
  """Moves column x up by level * x pixels."""
  y, x = _coordinates(image)
  return _sample(image, level * x + y, x, replace)


def rotate(
  image: tf.Tensor, degrees: float | tf.Tensor, replace: int | tf.Tensor = REPLACE
) -> tf.Tensor:
  """Rotates the content anticlockwise about the centre of the image."""
  y, x = _coordinates(image)
  bottom, right = (tf.cast(size, tf.float32) - 1 for size in _size(image))
  radians = tf.cast(degrees, tf.float32) * (math.pi / 180.0)
  cos, sin, minus_cos = tf.cos(radians), tf.sin(radians), -tf.cos(radians)
  # The last bit decides ties, so operations come in the order of TensorFlow's
  # ImageProjectiveTransform; only differences, because Grappler may reorder additions.
  x_back = ((cos * right - sin * bottom) - right) / 2.0
  y_back = ((sin * right - minus_cos * bottom) - bottom) / 2.0
  return _sample(image, (sin * x - minus_cos * y) - y_back, (cos * x - sin * y) - x_back, replace)


def cutout(
  image: tf.Tensor,
  pad_size: int | tf.Tensor,
  center: Sequence[int] | tf.Tensor,
  replace: int | tf.Tensor = REPLACE,
) -> tf.Tensor:
  """Covers the part of a square that lies in the image.

  Args:
    image: uint8 [height, width, 3].
    pad_size: half of the square's side, in pixels.
    center: int32 [2], y and x of the square's centre, which lies in the image.
    replace: grey level of the square.
  """
  size, center = tf.stack(_size(image)), tf.convert_to_tensor(center)
  top, left = tf.unstack(tf.maximum(center - pad_size, 0))
  bottom, right = tf.unstack(tf.minimum(center + pad_size, size))
  return cover(image, top, left, bottom, right, replace)


def cover(
  image: tf.Tensor,
  top: tf.Tensor,
  left: tf.Tensor,
  bottom: tf.Tensor,
  right: tf.Tensor,
  color: float | Sequence[float] | tf.Tensor,
) -> tf.Tensor:
  """Fills a rectangle with one colour.

  Args:
    image: [height, width, 3] of any dtype.
    top: int32 scalar, first row.
    left: int32 scalar, first column.
    bottom: int32 scalar, row after the last.
    right: int32 scalar, column after the last.
    color: one value or three, in the image's units.
  """
  rectangle = tf.broadcast_to(tf.cast(color, image.dtype), [bottom - top, right - left, 3])
  rows = image[top:bottom]
  middle = tf.concat([rows[:, :left], rectangle, rows[:, right:]], axis=1)
  return tf.reshape(tf.concat([image[:top], middle, image[bottom:]], axis=0), tf.shape(image))


def _size(image):
  """Returns height and width: ints where known statically, else tensors."""
  known, size = image.shape[:2], tf.shape(image)
  return tuple(size[i] if known[i] is None else known[i] for i in range(2))


def _rows(image):
  """Returns the image as [height, width * 3], to process whole rows at once, and its width."""
  height, width = _size(image)
  return tf.reshape(image, [height, width * 3]), width


def _per_channel(rows):
  return tf.reshape(rows, [-1, 3])


def _fold(rows, function):
  """Combines the lower half of the rows with the upper, three times, to speed up a reduction."""
  for _ in range(3):
    half = (tf.shape(rows)[0] + 1) // 2
    rows = function(rows[:half], rows[-half:])
  return rows


def _coordinates(image):
  """Returns the pixels' coordinates y [height, 1] and x [width], float32."""
  height, width = _size(image)
  return tf.range(tf.cast(height, tf.float32))[:, tf.newaxis], tf.range(tf.cast(width, tf.float32))


def _nearest(coordinate, size):
  """Returns indices of the nearest pixels, counted from 1; 0 and size + 1 lie outside the image."""
  # Clipping first keeps Grappler from adding _HALF to a term of the coordinate's sum.
  coordinate = tf.clip_by_value(coordinate, -1.0, tf.cast(size, tf.float32))
  return tf.cast(tf.floor(coordinate + _HALF), tf.int32) + 1


def _bordered(image, paddings, replace):
  return tf.pad(image, [*paddings, [0, 0]], constant_values=tf.cast(replace, tf.uint8))


def _sample(image, y, x, replace):
  """Returns the image's pixels nearest to (y, x), float32 that broadcast to [height, width]."""
  height, width = _size(image)
  pixels = tf.reshape(_bordered(image, [[1, 1], [1, 1]], replace), [-1, 3])
  return tf.gather(pixels, _nearest(y, height) * (width + 2) + _nearest(x, width))


def _move(image, pixels, axis, replace):
  size = _size(image)[axis]
  paddings = [[0, 0], [0, 0]]
  paddings[axis] = [1, 1]
  source = tf.range(tf.cast(size, tf.float32)) + tf.cast(pixels, tf.float32)
  return tf.gather(_bordered(image, paddings, replace), _nearest(source, size), axis=axis)
