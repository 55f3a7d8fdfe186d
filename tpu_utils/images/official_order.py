"""The official training input in its own order of operations, as a reference for tests and timing.

Training does not use it. It follows tensorflow/tpu, models/official/efficientnet: preprocessing.py,
autoaugment.py and imagenet_input.py. It runs the same TensorFlow operations in the same order, with
random numbers from the same stateful generators; the transformations of tf.contrib.image are
replaced by the operation that they wrap, ImageProjectiveTransform.
"""
import math
from collections.abc import Callable

import tensorflow as tf

from tpu_utils.images import autoaugment

_REPLACE = [128, 128, 128]  # RGB colour of pixels outside the image.


def preprocess_for_train(
  image_bytes: tf.Tensor,
  image_size: int,
  use_bfloat16: bool = False,
  augment: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> tf.Tensor:
  """Preprocesses a training image as the official function of this name, for JPEG and bicubic only.

  Args:
    image_bytes: string scalar.
    image_size: height and width of the result in pixels.
    use_bfloat16: whether to return bfloat16 instead of float32.
    augment: function from uint8 to uint8 images, or None.

  Returns:
    [image_size, image_size, 3] image, values in [0, 255].
  """
  image = decode_and_resize(image_bytes, image_size)
  image = tf.image.random_flip_left_right(image)
  if augment:
    image = tf.cast(tf.clip_by_value(image, 0.0, 255.0), tf.uint8)
    image = tf.cast(augment(image), tf.float32)
  return tf.image.convert_image_dtype(image, tf.bfloat16 if use_bfloat16 else tf.float32)


def decode_and_resize(image_bytes: tf.Tensor, image_size: int) -> tf.Tensor:
  """Decodes a random crop of a JPEG and resizes it bicubically, which every training input does.

  Args:
    image_bytes: string scalar.
    image_size: height and width of the result in pixels.

  Returns:
    float32 [image_size, image_size, 3], values about [0, 255].
  """
  shape = tf.io.extract_jpeg_shape(image_bytes)
  begin, size, _ = tf.compat.v1.image.sample_distorted_bounding_box(
    shape,
    bounding_boxes=tf.constant([0.0, 0.0, 1.0, 1.0], shape=[1, 1, 4]),
    min_object_covered=0.1,
    aspect_ratio_range=(3 / 4, 4 / 3),
    area_range=(0.08, 1.0),
    max_attempts=10,
    use_image_if_no_bounding_boxes=True,
  )
  y, x, _ = tf.unstack(begin)
  height, width, _ = tf.unstack(size)
  image = tf.io.decode_and_crop_jpeg(image_bytes, tf.stack([y, x, height, width]), channels=3)
  same = tf.equal(tf.io.extract_jpeg_shape(image_bytes), tf.shape(image))
  image = tf.cond(
    tf.reduce_sum(tf.cast(same, tf.int32)) >= 3,
    lambda: _center_crop(image_bytes, image_size),
    lambda: _resize(image, image_size),
  )
  return tf.reshape(image, [image_size, image_size, 3])


def _center_crop(image_bytes, image_size):
  shape = tf.io.extract_jpeg_shape(image_bytes)
  share = image_size / (image_size + round(image_size * (1 / 0.875 - 1)))
  side = tf.cast(share * tf.cast(tf.minimum(shape[0], shape[1]), tf.float32), tf.int32)
  window = tf.stack([(shape[0] - side + 1) // 2, (shape[1] - side + 1) // 2, side, side])
  return _resize(tf.io.decode_and_crop_jpeg(image_bytes, window, channels=3), image_size)


def _resize(image, image_size):
  return tf.compat.v1.image.resize_bicubic([image], [image_size, image_size])[0]


def train_dataset(
  data_dir: str,
  image_size: int,
  batch_size: int,
  use_bfloat16: bool,
  transpose_input: bool,
  parallel_calls: int,
  augment: Callable[[tf.Tensor], tf.Tensor] | None = None,
  mixup_alpha: float = 0.0,
  resize_only: bool = False,
) -> tf.data.Dataset:
  """Returns the official training dataset of (images, one-hot labels), for a single host.

  Args:
    data_dir: folder of TFRecord shards named train-*.
    image_size: height and width of the images in pixels.
    batch_size: images in a batch.
    use_bfloat16: whether images are bfloat16 instead of float32.
    transpose_input: whether a batch is [height, width, 3, batch].
    parallel_calls: number of images prepared in parallel.
    augment: function from uint8 to uint8 images, or None.
    mixup_alpha: parameter of the Beta distribution of the mixing weights; 0 for no mixup.
    resize_only: whether images are only decoded and resized, as float32: the least that an input
      with these numbers does.
  """
  features = {
    'image/encoded': tf.io.FixedLenFeature([], tf.string, ''),
    'image/class/label': tf.io.FixedLenFeature([], tf.int64, -1),
  }

  def parse(record):
    parsed = tf.io.parse_single_example(record, features)
    image_bytes = tf.reshape(parsed['image/encoded'], [])
    if resize_only:
      image = decode_and_resize(image_bytes, image_size)
    else:
      image = preprocess_for_train(image_bytes, image_size, use_bfloat16, augment)
    label = tf.cast(tf.reshape(parsed['image/class/label'], []), tf.int32) - 1
    return image, tf.one_hot(label, 1000)

  dataset = tf.data.Dataset.list_files(f'{data_dir}/train-*', shuffle=False).shard(1, 0).repeat()
  dataset = dataset.interleave(
    lambda name: tf.data.TFRecordDataset(name, buffer_size=8 * 2**20),
    cycle_length=parallel_calls,
    num_parallel_calls=parallel_calls,
    deterministic=False,
  )
  dataset = dataset.shuffle(1024)
  parse = tf.autograph.experimental.do_not_convert(parse)
  dataset = dataset.map(parse, parallel_calls).batch(batch_size, drop_remainder=True)
  if mixup_alpha:
    dataset = dataset.map(
      lambda images, labels: _mixup(images, labels, mixup_alpha), parallel_calls
    )
  if transpose_input:
    dataset = dataset.map(
      lambda images, labels: (tf.transpose(images, [1, 2, 3, 0]), labels), parallel_calls
    )
  options = tf.data.Options()
  options.deterministic = False
  options.threading.max_intra_op_parallelism = 1
  return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)


def _mixup(images, labels, alpha):
  gammas = tf.random.gamma([2, tf.shape(images)[0], 1], alpha)
  weight = gammas[0] / tf.reduce_sum(gammas, axis=0)
  weight = tf.maximum(weight, 1.0 - weight)
  of_image = tf.cast(weight[:, :, tf.newaxis, tf.newaxis], images.dtype)
  mixed = images * of_image + images[::-1] * (1.0 - of_image)
  return mixed, labels * weight + labels[::-1] * (1.0 - weight)


def randaugment(image: tf.Tensor, num_layers: int, magnitude: float) -> tf.Tensor:
  """Applies RandAugment to a uint8 image, as the official `distort_image_with_randaugment`."""
  constants = autoaugment.RANDAUGMENT_CONSTANTS
  for _ in range(num_layers):
    chosen = tf.random.uniform([], maxval=len(autoaugment.RANDAUGMENT_OPS), dtype=tf.int32)
    for i, name in enumerate(autoaugment.RANDAUGMENT_OPS):
      tf.random.uniform([], 0.2, 0.8)  # The official code draws a probability that it doesn't use.
      argument = _drawn_argument(name, float(magnitude), constants)
      image = tf.cond(
        tf.equal(i, chosen),
        lambda image=image, name=name, argument=argument: OPERATIONS[name](image, argument),
        lambda image=image: image,
      )
  return image


def autoaugment_v0(image: tf.Tensor) -> tf.Tensor:
  """Applies policy v0 to a uint8 image, as the official `distort_image_with_autoaugment`."""
  policy = autoaugment.POLICIES['v0']
  chosen = tf.random.uniform([], maxval=len(policy), dtype=tf.int32)
  for i, sub_policy in enumerate(policy):

    def apply(image=image, sub_policy=sub_policy):
      for name, probability, level in sub_policy:
        argument = _drawn_argument(name, level, autoaugment.AUTOAUGMENT_CONSTANTS)
        image = tf.cond(
          tf.cast(tf.floor(tf.random.uniform([]) + probability), tf.bool),
          lambda image=image, name=name, argument=argument: OPERATIONS[name](image, argument),
          lambda image=image: image,
        )
      return image

    image = tf.cond(tf.equal(i, chosen), apply, lambda image=image: image)
  return image


def _drawn_argument(name, level, constants):
  argument = autoaugment.level_to_argument(name, level, **constants)
  if name not in autoaugment.NEGATED_OPS:
    return argument
  keep = tf.cast(tf.floor(tf.random.uniform([]) + 0.5), tf.bool)
  return tf.cond(keep, lambda: argument, lambda: -argument)


def _blend(image1, image2, factor):
  if factor in (0.0, 1.0):
    return image2 if factor else image1
  image1, image2 = tf.cast(image1, tf.float32), tf.cast(image2, tf.float32)
  blended = image1 + factor * (image2 - image1)
  if not 0.0 < factor < 1.0:
    blended = tf.clip_by_value(blended, 0.0, 255.0)
  return tf.cast(blended, tf.uint8)


def _contrast(image, factor):
  gray = tf.cast(tf.image.rgb_to_grayscale(image), tf.int32)
  histogram = tf.histogram_fixed_width(gray, [0, 255], nbins=256)
  mean = tf.reduce_sum(tf.cast(histogram, tf.float32)) / 256.0
  gray = tf.clip_by_value(tf.ones_like(gray, tf.float32) * mean, 0.0, 255.0)
  return _blend(tf.image.grayscale_to_rgb(tf.cast(gray, tf.uint8)), image, factor)


def _color(image, factor):
  return _blend(tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(image)), image, factor)


def _sharpness(image, factor):
  kernel = tf.constant([[1, 1, 1], [1, 5, 1], [1, 1, 1]], tf.float32, [3, 3, 1, 1]) / 13.0
  kernel = tf.tile(kernel, [1, 1, 3, 1])
  pixels = tf.cast(image, tf.float32)[tf.newaxis]
  smooth = tf.nn.depthwise_conv2d(pixels, kernel, [1, 1, 1, 1], 'VALID')
  smooth = tf.squeeze(tf.cast(tf.clip_by_value(smooth, 0.0, 255.0), tf.uint8), [0])
  frame = [[1, 1], [1, 1], [0, 0]]
  is_inner = tf.equal(tf.pad(tf.ones_like(smooth), frame), 1)
  return _blend(tf.compat.v1.where(is_inner, tf.pad(smooth, frame), image), image, factor)


def _autocontrast(image):
  def channel(values):
    low, high = (tf.cast(f(values), tf.float32) for f in (tf.reduce_min, tf.reduce_max))

    def stretch():
      scale = 255.0 / (high - low)
      stretched = tf.cast(values, tf.float32) * scale + -low * scale
      return tf.cast(tf.clip_by_value(stretched, 0.0, 255.0), tf.uint8)

    return tf.cond(high > low, stretch, lambda: values)

  return tf.stack([channel(image[:, :, c]) for c in range(3)], axis=2)


def _equalize(image):
  def channel(values):
    values = tf.cast(values, tf.int32)
    histogram = tf.histogram_fixed_width(values, [0, 255], nbins=256)
    present = tf.reshape(tf.gather(histogram, tf.where(tf.not_equal(histogram, 0))), [-1])
    step = (tf.reduce_sum(present) - present[-1]) // 255

    def look_up():
      table = (tf.cumsum(histogram) + step // 2) // step
      table = tf.concat([[0], table[:-1]], 0)
      return tf.gather(tf.clip_by_value(table, 0, 255), values)

    return tf.cast(tf.cond(tf.equal(step, 0), lambda: values, look_up), tf.uint8)

  return tf.stack([channel(image[:, :, c]) for c in range(3)], axis=2)


def _solarize(image, threshold):
  threshold = tf.constant(int(threshold) % 256, tf.uint8)
  return tf.compat.v1.where(image < threshold, image, 255 - image)


def _solarize_add(image, addition):
  added = tf.clip_by_value(tf.cast(image, tf.int64) + int(addition), 0, 255)
  return tf.compat.v1.where(image < 128, tf.cast(added, tf.uint8), image)


def _posterize(image, bits):
  shift = tf.constant((8 - int(bits)) % 256, tf.uint8)
  return tf.bitwise.left_shift(tf.bitwise.right_shift(image, shift), shift)


def _cutout(image, pad_size, center=None):
  pad_size = int(pad_size)
  height, width = tf.shape(image)[0], tf.shape(image)[1]
  if center is None:
    center = [tf.random.uniform([], 0, size, tf.int32) for size in (height, width)]
  above, below = tf.maximum(0, center[0] - pad_size), tf.maximum(0, height - center[0] - pad_size)
  left, right = tf.maximum(0, center[1] - pad_size), tf.maximum(0, width - center[1] - pad_size)
  hole = tf.zeros([height - (above + below), width - (left + right)], image.dtype)
  mask = tf.pad(hole, [[above, below], [left, right]], constant_values=1)
  mask = tf.tile(mask[:, :, tf.newaxis], [1, 1, 3])
  gray = tf.ones_like(image) * tf.constant(_REPLACE, tf.uint8)
  return tf.compat.v1.where(tf.equal(mask, 0), gray, image)


def _transform(image, matrix):
  """Transforms the image with a fourth channel of ones; fills with grey where that becomes 0."""
  size = tf.shape(image)
  image = tf.concat([image, tf.ones([size[0], size[1], 1], image.dtype)], 2)
  matrix = tf.reshape(tf.stack([tf.cast(m, tf.float32) for m in matrix]), [1, 8])
  image = tf.raw_ops.ImageProjectiveTransformV3(
    images=image[tf.newaxis], transforms=matrix, output_shape=size[:2], fill_value=0.0,
    interpolation='NEAREST', fill_mode='CONSTANT',
  )[0]  # fmt: skip
  flat = tf.reshape(image, [-1, 4])
  gray = tf.ones_like(flat) * tf.constant([*_REPLACE, 1], tf.uint8)
  is_empty = tf.equal(flat[:, 3], 0)
  flat = tf.compat.v1.where(is_empty, gray, flat)
  return tf.reshape(flat, [size[0], size[1], 4])[:, :, :3]


def _rotate(image, degrees):
  angle = degrees * (math.pi / 180.0)
  bottom, right = (tf.cast(tf.shape(image)[i], tf.float32) - 1 for i in range(2))
  x_offset = (right - (tf.cos(angle) * right - tf.sin(angle) * bottom)) / 2.0
  y_offset = (bottom - (tf.sin(angle) * right + tf.cos(angle) * bottom)) / 2.0
  cos, sin = tf.cos(angle), tf.sin(angle)
  return _transform(image, [cos, -sin, x_offset, sin, cos, y_offset, 0, 0])


# Called as function(image, argument).
OPERATIONS = {
  'AutoContrast': lambda image, _: _autocontrast(image),
  'Equalize': lambda image, _: _equalize(image),
  'Invert': lambda image, _: 255 - image,
  'Rotate': _rotate,
  'Posterize': _posterize,
  'Solarize': _solarize,
  'SolarizeAdd': _solarize_add,
  'Color': _color,
  'Contrast': _contrast,
  'Brightness': lambda image, factor: _blend(tf.zeros_like(image), image, factor),
  'Sharpness': _sharpness,
  'ShearX': lambda image, level: _transform(image, [1, level, 0, 0, 1, 0, 0, 0]),
  'ShearY': lambda image, level: _transform(image, [1, 0, 0, level, 1, 0, 0, 0]),
  'TranslateX': lambda image, pixels: _transform(image, [1, 0, pixels, 0, 1, 0, 0, 0]),
  'TranslateY': lambda image, pixels: _transform(image, [1, 0, 0, 0, 1, pixels, 0, 0]),
  'Cutout': _cutout,
}
