"""ImageNet preprocessing from encoded bytes to a square float image on the 0..255 scale.

Gives the same numbers as tensorflow/tpu, models/official/efficientnet/preprocessing.py, with three
differences: it takes the formats of `decoding`, not only JPEG; its randomness is
stateless, so an example's crop depends on its seed alone; images of a few pixels work.
"""
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tpu_utils.images import autoaugment, branches, decoding, torch_augmentation
from tpu_utils.images.spec import AUGMENTATIONS, PreprocessSpec, crop_share
from tpu_utils.names import check_name

IMAGE_SIZE = 224

# Numbers of an example's independent random draws; see `fold_in`. Mixing draws from MIX_STREAM on,
# so later numbers begin at 16.
CROP_STREAM, FLIP_STREAM, AUGMENT_STREAM, ERASE_STREAM, MIX_STREAM = range(5)
PAD_STREAM, JITTER_STREAM, LIGHTING_STREAM = range(16, 19)


def preprocess_image(
  image_bytes: bytes | tf.Tensor,
  is_training: bool = False,
  use_bfloat16: bool = False,
  image_size: int = IMAGE_SIZE,
  **settings: Any,
) -> tf.Tensor:
  """Preprocesses one image for training or evaluation.

  Args:
    image_bytes: string scalar or bytes, the encoded image; or the uint8 [height, width, 3] that
      `decode` returns.
    is_training: whether to apply `preprocess_for_train` rather than `preprocess_for_eval`.
    use_bfloat16: return bfloat16 rather than float32.
    image_size: height and width of the result, in pixels.
    **settings: further arguments of the applied function.

  Returns:
    [image_size, image_size, 3] float32 or bfloat16 on the 0..255 scale. Bicubic interpolation
    overshoots that range slightly; as in the official code, the values are not clipped.
  """
  preprocess = preprocess_for_train if is_training else preprocess_for_eval
  return preprocess(image_bytes, use_bfloat16, image_size, **settings)


def preprocess_for_train(
  image_bytes: bytes | tf.Tensor,
  use_bfloat16: bool = False,
  image_size: int = IMAGE_SIZE,
  *,
  seed: tf.Tensor,
  resize_method: str | None = None,
  crop: str = 'official',
  area_range: tuple[float, float] = (0.08, 1.0),
  aspect_ratio_range: tuple[float, float] = (3 / 4, 4 / 3),
  flip: bool = True,
  random_crop: str = 'tensorflow',
  padding: int = 4,
  padding_color: Sequence[float] = (0.0, 0.0, 0.0),
  color_jitter: float = 0.0,
  lighting: float = 0.0,
  augment_name: str | None = None,
  randaug_num_layers: int = 2,
  randaug_magnitude: float = 10,
) -> tf.Tensor:
  """Draws a random crop, resizes it, mirrors it with probability 1/2, and augments it.

  Args:
    image_bytes: see `preprocess_image`.
    use_bfloat16: see `preprocess_image`.
    image_size: see `preprocess_image`.
    seed: int64 [2]; equal seeds give equal images.
    resize_method: see `resize_image`.
    crop: the central crop to take when no random one fits; see `center_crop_window`.
    area_range: least and greatest share of the image's area that the crop takes.
    aspect_ratio_range: least and greatest width / height of the crop.
    flip: whether to mirror; False for images in which left and right differ, such as digits.
    random_crop: 'tensorflow', 'torch' or 'padded'; see `spec.Augmentation`.
    padding: for 'padded', pixels to add on each side after the resize.
    padding_color: for 'padded', the colour of these pixels.
    color_jitter: see `torch_augmentation.color_jitter`; 0 disables it.
    lighting: see `torch_augmentation.lighting`; 0 disables it.
    augment_name: 'autoaugment' (the policy v0), 'randaugment' or None. Both work on uint8, so the
      image is clipped and rounded down first.
    randaug_num_layers: see `autoaugment.distort_image_with_randaugment`.
    randaug_magnitude: see `autoaugment.distort_image_with_randaugment`.

  Returns:
    See `preprocess_image`.

  Raises:
    ValueError: `augment_name` is unknown.
  """
  dtype = tf.bfloat16 if use_bfloat16 else tf.float32

  def window(shape, seed):
    drawn, fits = _random_window(
      random_crop, shape, fold_in(seed, CROP_STREAM), area_range, aspect_ratio_range
    )
    return tf.where(fits, drawn, center_crop_window(shape, image_size, crop))

  image = resize_image(decode_and_crop(image_bytes, window, seed), image_size, resize_method)
  if not (color_jitter or lighting):
    # Casting before the mirroring leaves fewer bytes to move.
    image = to_uint8(image) if augment_name else tf.cast(image, dtype)
  if flip:
    image = _flip(image, fold_in(seed, FLIP_STREAM))
  if random_crop == 'padded':
    pad_seed = fold_in(seed, PAD_STREAM)
    image = torch_augmentation.pad_and_crop(image, padding, padding_color, pad_seed)
  if color_jitter:
    image = torch_augmentation.color_jitter(image, color_jitter, fold_in(seed, JITTER_STREAM))
  if lighting:
    image = torch_augmentation.lighting(image, lighting, fold_in(seed, LIGHTING_STREAM))
  if augment_name:
    augment_seed = fold_in(seed, AUGMENT_STREAM)
    image = _augment(image, augment_name, randaug_num_layers, randaug_magnitude, augment_seed)
  return tf.cast(image, dtype)


def _flip(image, seed):
  """Mirrors an image for the same seeds as tf.image.stateless_random_flip_left_right."""
  mirrored = tf.random.stateless_uniform([], seed) < 0.5
  return branches.cond(mirrored, lambda image: tf.reverse(image, [1]), tf.identity, [image])


def _augment(image, augment_name, randaug_num_layers, randaug_magnitude, seed):
  check_name('augment_name', augment_name, AUGMENTATIONS)
  image = to_uint8(image)
  if augment_name == 'autoaugment':
    return autoaugment.distort_image_with_autoaugment(image, 'v0', seed=seed)
  return autoaugment.distort_image_with_randaugment(
    image, randaug_num_layers, randaug_magnitude, seed=seed
  )


def to_uint8(image: tf.Tensor) -> tf.Tensor:
  """Clips a float image to 0..255 and rounds it down; returns a uint8 image unchanged."""
  if image.dtype == tf.uint8:
    return image
  return tf.cast(tf.clip_by_value(image, 0.0, 255.0), tf.uint8)


def _random_window(kind, shape, seed, area_range, aspect_ratio_range):
  """Returns the random crop of `kind` and whether one fits; otherwise take the central crop."""
  if kind == 'torch':
    return torch_augmentation.crop_window(shape, seed, area_range, aspect_ratio_range)
  if kind == 'padded':
    return tf.concat([[0, 0], shape], axis=0), True
  drawn = random_crop_window(shape, seed, area_range, aspect_ratio_range)
  # The official code interprets "the whole image" as a failure to draw a crop.
  return drawn, tf.reduce_any(drawn[2:] != shape)


def preprocess_for_eval(
  image_bytes: bytes | tf.Tensor,
  use_bfloat16: bool = False,
  image_size: int = IMAGE_SIZE,
  resize_method: str | None = None,
  *,
  crop: str = 'official',
) -> tf.Tensor:
  """Takes the central crop and resizes it; see `preprocess_for_train` for the arguments."""
  image = decode_and_crop(image_bytes, lambda shape: center_crop_window(shape, image_size, crop))
  image = resize_image(image, image_size, resize_method)
  return tf.cast(image, tf.bfloat16 if use_bfloat16 else tf.float32)


def eval_function(spec: PreprocessSpec) -> Callable[[tf.Tensor], tf.Tensor]:
  """Returns the function that turns an encoded image into a model's input for evaluation or export.

  Args:
    spec: preprocessing of the model.

  Returns:
    Called with a string scalar; returns float32 [image_size, image_size, 3] on the 0..255 scale.
  """

  def preprocess(image_bytes):
    return preprocess_for_eval(
      image_bytes, image_size=spec.image_size, resize_method=spec.interpolation, crop=spec.crop
    )

  return preprocess


def fold_in(seed: tf.Tensor, purpose: int) -> tf.Tensor:
  """Returns the seed of one of an example's independent random draws (crop, flip, ...).

  Args:
    seed: int64 [2], the example's.
    purpose: number of the draw: `CROP_STREAM`, `FLIP_STREAM`, ...

  Returns:
    int64 [2].
  """
  # An odd constant with well-mixed bits keeps the streams of neighbouring seeds apart.
  return seed + tf.constant([purpose * 0x1E3779B97F4A7C15 % 2**62, 0], tf.int64)


def random_crop_window(
  shape: tf.Tensor,
  seed: tf.Tensor,
  area_range: tuple[float, float],
  aspect_ratio_range: tuple[float, float],
) -> tf.Tensor:
  """Draws a crop of random area and aspect ratio; returns the whole image if ten draws fail.

  Args:
    shape: int32 [2], height and width.
    seed: int64 [2].
    area_range: see `preprocess_for_train`.
    aspect_ratio_range: see `preprocess_for_train`.

  Returns:
    int32 [4]: y, x, height, width.
  """
  begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
    tf.concat([shape, [3]], axis=0),
    bounding_boxes=tf.constant([0.0, 0.0, 1.0, 1.0], shape=[1, 1, 4]),
    seed=seed,
    min_object_covered=0.1,
    aspect_ratio_range=aspect_ratio_range,
    area_range=area_range,
    max_attempts=10,
    use_image_if_no_bounding_boxes=True,
  )
  return tf.concat([begin[:2], size[:2]], axis=0)


def center_crop_window(shape: tf.Tensor, image_size: int, crop: str = 'official') -> tf.Tensor:
  """Returns the central square that evaluation uses.

  Args:
    shape: int32 [2], height and width of the image.
    image_size: size of the result after the resize, in pixels.
    crop: share of the shorter side to keep; see `PreprocessSpec`. 'official' is rounded so that the
      padding around the result is a whole number of pixels.

  Returns:
    int32 [4]: y, x, height, width.
  """
  share = crop_share(crop, image_size)
  side = tf.cast(share * tf.cast(tf.reduce_min(shape), tf.float32), tf.int32)
  side = tf.maximum(side, 1)
  offset = (shape - side + 1) // 2
  return tf.concat([offset, tf.stack([side, side])], axis=0)


def decode(image_bytes: bytes | tf.Tensor) -> tf.Tensor:
  """Decodes a whole image to uint8 [height, width, 3]; see `decoding.decode`."""
  return decoding.decode(image_bytes)


def decode_and_crop(
  image_bytes: bytes | tf.Tensor, window: Callable[..., tf.Tensor], *inputs: tf.Tensor
) -> tf.Tensor:
  """Decodes a window of an image to uint8 [height, width, 3]; skips the rest of a JPEG.

  Args:
    image_bytes: see `decode`; a decoded image is only cropped.
    window: called with the image's shape, int32 [2], and `inputs`; returns int32 [4]: y, x, height,
      width. It must not capture other tensors.
    *inputs: tensors to pass to `window`.
  """

  def jpeg(image_bytes, *inputs):
    shape = tf.io.extract_jpeg_shape(image_bytes)[:2]
    with tf.control_dependencies([decoding.assert_fits(shape[1], shape[0])]):
      return tf.io.decode_and_crop_jpeg(image_bytes, window(shape, *inputs), channels=3)

  def other(image_bytes, *inputs):
    return decoded(decode(image_bytes), *inputs)

  def decoded(image, *inputs):
    y, x, height, width = tf.unstack(window(tf.shape(image)[:2], *inputs))
    return tf.ensure_shape(image[y : y + height, x : x + width], [None, None, 3])

  image_bytes = tf.convert_to_tensor(image_bytes)
  if image_bytes.dtype != tf.string:
    return decoded(image_bytes, *inputs)
  return branches.cond(tf.io.is_jpeg(image_bytes), jpeg, other, [image_bytes, *inputs])


def resize_image(image: tf.Tensor, image_size: int, method: str | None = None) -> tf.Tensor:
  """Resizes an image to a square as the official code does.

  Args:
    image: [height, width, 3], any numeric dtype.
    image_size: height and width of the result, in pixels.
    method: None or 'bicubic' for TF1's bicubic interpolation (pixels are points on a grid that
      begins at 0; a = -0.75), which TF2's `tf.image.resize` lacks; or another method of TF1's
      resize, such as 'bilinear'.

  Returns:
    float32 [image_size, image_size, 3], not clipped.
  """
  if method in (None, 'bicubic'):
    method = tf.image.ResizeMethod.BICUBIC
    image = tf.cast(image, tf.float32)  # Same numbers as from uint8, in 7/8 of the time.
  resized = tf.compat.v1.image.resize(image[tf.newaxis], [image_size, image_size], method)[0]
  return tf.ensure_shape(tf.cast(resized, tf.float32), [image_size, image_size, 3])
