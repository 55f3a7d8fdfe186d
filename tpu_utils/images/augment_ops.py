"""The operations that AutoAugment and RandAugment are made of, on one uint8 image each.

Source: tensorflow/tpu, models/official/efficientnet/autoaugment.py: the same pixels, to the bit, in a
third of the time, from TensorFlow alone. Where that code calls tf.contrib.image the images are sampled here.
Each function takes and returns a uint8 tensor [height, width, 3] of any size from 1x1 up, and its other
arguments may be numbers or scalar tensors.
"""
import math

import numpy as np
import tensorflow as tf

REPLACE = 128  # Grey level of the pixels that an operation leaves empty.

# The largest float32 under 1/2: floor(x + this) is C's round(x) for every x that lands in an image, ties
# and -1/2 included, where floor(x + 1/2) and tf.round are not.
_HALF = np.float32(0.49999997)
_ONE = np.float32(1)
_GRAY = np.array([[0.2989], [0.5870], [0.1140]], np.float32)  # Those of tf.image.rgb_to_grayscale.


def blend(image1, image2, factor):
  """image1 + factor * (image2 - image1), cut off at 0 and 255, rounded down to uint8.

  Args:
    image1: float32, whole numbers.
    image2: as image1.
    factor: over 0; beyond 1 the difference is exaggerated.
  """
  blended = image1 + factor * (image2 - image1)
  return tf.cast(tf.clip_by_value(blended, 0.0, 255.0), tf.uint8)


def invert(image):
  """255 less each value."""
  return 255 - image


def posterize(image, bits):
  """Keeps the highest bits of each value.

  The shift by 8 - bits is in uint8, so it wraps around below 0, and it is at most 7: bits of 0 and of over
  8 (a RandAugment magnitude of 23 or more) leave one bit. So does the official code.
  """
  shift = tf.minimum(tf.math.floormod(8 - tf.cast(bits, tf.int32), 256), 7)
  mask = tf.cast(tf.bitwise.left_shift(255, shift) & 255, tf.uint8)
  return tf.bitwise.bitwise_and(image, mask)


def solarize(image, threshold=128):
  """Inverts the values from the threshold on; as in the official code, 256 (level 10) wraps around to 0."""
  threshold = tf.cast(tf.math.floormod(tf.cast(threshold, tf.int32), 256), tf.uint8)
  # An exclusive or with 255 inverts; tf.where on uint8 takes six times as long.
  return tf.bitwise.bitwise_xor(image, 255 * tf.cast(image >= threshold, tf.uint8))


def solarize_add(image, addition=0, threshold=128):
  """Adds to the values under the threshold, as far as 0 and 255.

  Args:
    image: see above.
    addition: whole number.
    threshold: whole number, 0..255.
  """
  addition = tf.cast(addition, tf.int32)
  up = tf.cast(tf.clip_by_value(addition, 0, 255), tf.uint8)
  down = tf.cast(tf.clip_by_value(-addition, 0, 255), tf.uint8)
  added = tf.maximum(tf.minimum(image, 255 - up) + up, down) - down
  # uint8 wraps around in the difference, and back in the sum.
  return image + (added - image) * tf.cast(image < tf.cast(threshold, tf.uint8), tf.uint8)


def brightness(image, factor):
  """Blends black with the image."""
  return blend(0.0, tf.cast(image, tf.float32), factor)


def contrast(image, factor):
  """Blends a grey image with the image.

  The official code means to take the mean grey level; what it computes is pixels / 256 (the sum of the
  histogram, not of the values), so that any image over 255x256 pixels gets 255.
  """
  height, width = _size(image)
  level = tf.minimum(tf.cast(height * width, tf.float32) / 256.0, 255.0)
  return blend(tf.floor(level), tf.cast(image, tf.float32), factor)


def color(image, factor):
  """Blends the image in grey with the image."""
  pixels = tf.reshape(tf.cast(image, tf.float32), [-1, 3])
  # tf.image.rgb_to_grayscale, rounding included; a product with ones gives it to all three channels.
  gray = tf.floor(tf.matmul(pixels * (1.0 / 255.0), _GRAY) * 255.5)
  gray = tf.matmul(gray, tf.ones([1, 3]))
  return tf.reshape(blend(gray, pixels, factor), tf.shape(image))


def sharpness(image, factor):
  """Blends the image, smoothed by PIL's SMOOTH filter, with the image; its outermost pixels stay."""
  height, width = (tf.maximum(size - 2, 0) for size in _size(image))
  pixels = tf.cast(image, tf.float32)
  outer, middle = pixels * -(_ONE / 13), pixels * -(5 * _ONE / 13)
  # The sum goes row by row and rounds at each step: so does TensorFlow's own depthwise convolution, but not
  # the one that oneDNN puts in its place, and rounding down makes a grey level of the difference. (It
  # subtracts what is negative because Grappler may add in another order.)
  smooth = 0.0
  for y in range(3):
    for x in range(3):
      smooth -= (middle if y == x == 1 else outer)[y : y + height, x : x + width]
  inner = blend(tf.floor(smooth), pixels[1:-1, 1:-1], factor)
  # [1:][-1:] is the last row or column, unless that is the first too.
  rows = image[1:-1]
  rows = tf.concat([rows[:, :1], inner, rows[:, 1:][:, -1:]], axis=1)
  return tf.concat([image[:1], rows, image[1:][-1:]], axis=0)


def autocontrast(image):
  """Stretches each channel so that its least value becomes 0 and its greatest 255."""
  rows, width = _rows(image)
  low = tf.reduce_min(_per_channel(_fold(rows, tf.minimum)), axis=0)
  high = tf.reduce_max(_per_channel(_fold(rows, tf.maximum)), axis=0)
  varies = high > low
  low, high = tf.cast(low, tf.float32), tf.cast(high, tf.float32)
  scale = tf.where(varies, 255.0 / (high - low), 1.0)
  offset = tf.where(varies, -low * scale, 0.0)
  stretched = tf.cast(rows, tf.float32) * tf.tile(scale, [width]) + tf.tile(offset, [width])
  return tf.reshape(tf.cast(tf.clip_by_value(stretched, 0.0, 255.0), tf.uint8), tf.shape(image))


def equalize(image):
  """Makes the histogram of each channel as flat as a lookup table can."""
  rows, width = _rows(image)
  # Entries of one histogram, and of one lookup table, for all three channels: 256 each.
  entries = tf.cast(rows, tf.int32) + tf.tile([0, 256, 512], [width])
  # tf.math.bincount would look for the greatest value first.
  histogram = tf.raw_ops.DenseBincount(
    input=tf.reshape(entries, [-1]), size=768, weights=tf.zeros([0], tf.int32)
  )
  table = _equalization(tf.reshape(histogram, [3, 256]))
  table = tf.reshape(tf.cast(table, tf.uint8), [-1])
  return tf.gather(table, tf.reshape(entries, tf.shape(image)))


def _equalization(histogram):
  """The lookup tables of `equalize`, int32 [3, 256], from the histograms, int32 [3, 256]."""
  greatest = 255 - tf.argmax(tf.reverse(histogram > 0, [1]), axis=1, output_type=tf.int32)
  others = tf.reduce_sum(histogram, axis=1) - tf.gather(histogram, greatest, batch_dims=1)
  step = others[:, tf.newaxis] // 255
  table = (tf.cumsum(histogram, axis=1) + step // 2) // tf.maximum(step, 1)
  table = tf.pad(table[:, :-1], [[0, 0], [1, 0]])
  return tf.where(step > 0, tf.minimum(table, 255), tf.range(256))


def translate_x(image, pixels, replace=REPLACE):
  """Moves the content to the left by a number of pixels, whole or not."""
  return _move(image, pixels, 1, replace)


def translate_y(image, pixels, replace=REPLACE):
  """Moves the content up by a number of pixels, whole or not."""
  return _move(image, pixels, 0, replace)


def shear_x(image, level, replace=REPLACE):
  """Moves row y to the left by level * y pixels."""
  y, x = _coordinates(image)
  return _sample(image, y, x + level * y, replace)


def shear_y(image, level, replace=REPLACE):
  """Moves column x up by level * x pixels."""
  y, x = _coordinates(image)
  return _sample(image, level * x + y, x, replace)


def rotate(image, degrees, replace=REPLACE):
  """Turns the content anticlockwise about the centre of the image."""
  y, x = _coordinates(image)
  bottom, right = (tf.cast(size, tf.float32) - 1 for size in _size(image))
  radians = tf.cast(degrees, tf.float32) * (math.pi / 180.0)
  cos, sin, minus_cos = tf.cos(radians), tf.sin(radians), -tf.cos(radians)
  # The last bit decides about ties, so the order is that of TensorFlow's ImageProjectiveTransform; and there
  # are differences only, because Grappler may add in another order.
  x_back = ((cos * right - sin * bottom) - right) / 2.0
  y_back = ((sin * right - minus_cos * bottom) - bottom) / 2.0
  return _sample(image, (sin * x - minus_cos * y) - y_back, (cos * x - sin * y) - x_back, replace)


def cutout(image, pad_size, center, replace=REPLACE):
  """Covers a square, the part of it that is in the image.

  Args:
    image: see above.
    pad_size: half of the square's side, in pixels.
    center: int32 [2], y and x of the square's centre, in the image.
    replace: grey level of the square.
  """
  size, center = tf.stack(_size(image)), tf.convert_to_tensor(center)
  top, left = tf.unstack(tf.maximum(center - pad_size, 0))
  bottom, right = tf.unstack(tf.minimum(center + pad_size, size))
  return cover(image, top, left, bottom, right, replace)


def cover(image, top, left, bottom, right, color):
  """Gives a rectangle one colour: rows top to bottom - 1, columns left to right - 1.

  Args:
    image: [height, width, 3] of any type, not uint8 alone.
    top: int32 scalar, as the next three.
    left: see top.
    bottom: see top.
    right: see top.
    color: one value or three.
  """
  rectangle = tf.broadcast_to(tf.cast(color, image.dtype), [bottom - top, right - left, 3])
  beside = image[top:bottom]
  middle = tf.concat([beside[:, :left], rectangle, beside[:, right:]], axis=1)
  return tf.reshape(tf.concat([image[:top], middle, image[bottom:]], axis=0), tf.shape(image))


def _size(image):
  """Height and width: ints if they are known, else tensors."""
  known, size = image.shape[:2], tf.shape(image)
  return tuple(size[i] if known[i] is None else known[i] for i in range(2))


def _rows(image):
  """The image as [height, width * 3], in which whole rows can be worked on at once; and its width."""
  height, width = _size(image)
  return tf.reshape(image, [height, width * 3]), width


def _per_channel(rows):
  return tf.reshape(rows, [-1, 3])


def _fold(rows, function):
  """Lays the lower half of the rows on the upper, three times; what is left is reduced the sooner."""
  for _ in range(3):
    half = (tf.shape(rows)[0] + 1) // 2
    rows = function(rows[:half], rows[-half:])
  return rows


def _coordinates(image):
  """The pixels' y [height, 1] and x [width], float32."""
  height, width = _size(image)
  return tf.range(tf.cast(height, tf.float32))[:, tf.newaxis], tf.range(tf.cast(width, tf.float32))


def _nearest(coordinate, size):
  """Numbers of the nearest pixels, from 1; those beside the image have 0 or size + 1."""
  # Cut off first: Grappler would add _HALF to what the coordinate is the sum of.
  coordinate = tf.clip_by_value(coordinate, -1.0, tf.cast(size, tf.float32))
  return tf.cast(tf.floor(coordinate + _HALF), tf.int32) + 1


def _framed(image, paddings, replace):
  return tf.pad(image, [*paddings, [0, 0]], constant_values=tf.cast(replace, tf.uint8))


def _sample(image, y, x, replace):
  """For each pixel of the result the image's pixel nearest to (y, x), float32 [height, width] together."""
  height, width = _size(image)
  pixels = tf.reshape(_framed(image, [[1, 1], [1, 1]], replace), [-1, 3])
  return tf.gather(pixels, _nearest(y, height) * (width + 2) + _nearest(x, width))


def _move(image, pixels, axis, replace):
  size = _size(image)[axis]
  paddings = [[0, 0], [0, 0]]
  paddings[axis] = [1, 1]
  source = tf.range(tf.cast(size, tf.float32)) + tf.cast(pixels, tf.float32)
  return tf.gather(_framed(image, paddings, replace), _nearest(source, size), axis=axis)
