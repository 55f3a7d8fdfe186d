"""ImageNet preprocessing: encoded bytes in, a square float image on the 0..255 scale out.

The same numbers as tensorflow/tpu, models/official/efficientnet/preprocessing.py, with three differences:
any format that TensorFlow decodes is taken, not JPEG alone; randomness is stateless, so that an example's
crop depends on its seed and nothing else; images of a few pixels work.
"""
import tensorflow as tf

from tpu_utils.images import autoaugment, branches, torch_augmentation
from tpu_utils.images.spec import AUGMENTATIONS
from tpu_utils.names import check_name

IMAGE_SIZE = 224
CROP_FRACTION = 0.875

# Streams of randomness of one example; see `fold_in`. Mixing takes several, from MIX_STREAM on.
CROP_STREAM, FLIP_STREAM, AUGMENT_STREAM, ERASE_STREAM, MIX_STREAM = range(5)
PAD_STREAM, JITTER_STREAM, LIGHTING_STREAM = range(16, 19)


def preprocess_image(image_bytes, is_training=False, use_bfloat16=False, image_size=IMAGE_SIZE, **settings):
  """Preprocesses one image for training or evaluation.

  Args:
    image_bytes: string scalar or bytes, the encoded image; or uint8 [height, width, 3], which `decode` gave.
    is_training: which of `preprocess_for_train` and `preprocess_for_eval` does it.
    use_bfloat16: gives bfloat16 rather than float32.
    image_size: height and width of the result, in pixels.
    **settings: further arguments of that function.

  Returns:
    [image_size, image_size, 3] float32 or bfloat16 on the 0..255 scale. Bicubic interpolation overshoots
    it a little; as in the official code, that is not clipped.
  """
  preprocess = preprocess_for_train if is_training else preprocess_for_eval
  return preprocess(image_bytes, use_bfloat16, image_size, **settings)


def preprocess_for_train(
  image_bytes,
  use_bfloat16=False,
  image_size=IMAGE_SIZE,
  *,
  seed,
  resize_method=None,
  crop='official',
  area_range=(0.08, 1.0),
  aspect_ratio_range=(3 / 4, 4 / 3),
  flip=True,
  random_crop='tensorflow',
  padding=4,
  padding_color=(0.0, 0.0, 0.0),
  color_jitter=0.0,
  lighting=0.0,
  augment_name=None,
  randaug_num_layers=2,
  randaug_magnitude=10,
):
  """A random crop, resized, mirrored half of the time, and augmented.

  Args:
    image_bytes: see `preprocess_image`.
    use_bfloat16: see `preprocess_image`.
    image_size: see `preprocess_image`.
    seed: int64 [2]; equal seeds give equal images.
    resize_method: see `resize_image`.
    crop: the central crop that is taken when no random one fits; see `center_crop_window`.
    area_range: least and greatest share of the image's area that the crop takes.
    aspect_ratio_range: least and greatest width / height of the crop.
    flip: whether to mirror; False where left and right mean something, as in digits.
    random_crop: 'tensorflow', 'torch' or 'padded'; see `spec.Augmentation`.
    padding: 'padded': pixels on each side, after the resize.
    padding_color: 'padded': their colour.
    color_jitter: see `torch_augmentation.color_jitter`; 0 for none.
    lighting: see `torch_augmentation.lighting`; 0 for none.
    augment_name: 'autoaugment' (the policy v0), 'randaugment' or None; they work on whole numbers from 0 to
      255, so the image is cut off and rounded down to those.
    randaug_num_layers: see `autoaugment.distort_image_with_randaugment`.
    randaug_magnitude: see `autoaugment.distort_image_with_randaugment`.
  """
  dtype = tf.bfloat16 if use_bfloat16 else tf.float32

  def window(shape, seed):
    drawn, found = _random_window(
      random_crop, shape, fold_in(seed, CROP_STREAM), area_range, aspect_ratio_range
    )
    return tf.where(found, drawn, center_crop_window(shape, image_size, crop))

  image = resize_image(decode_and_crop(image_bytes, window, seed), image_size, resize_method)
  if not (color_jitter or lighting):
    # Mirrored only after the cast, when there are fewer bytes to move.
    image = to_uint8(image) if augment_name else tf.cast(image, dtype)
  if flip:
    image = _flip(image, fold_in(seed, FLIP_STREAM))
  if random_crop == 'padded':
    image = torch_augmentation.pad_and_crop(image, padding, padding_color, fold_in(seed, PAD_STREAM))
  if color_jitter:
    image = torch_augmentation.color_jitter(image, color_jitter, fold_in(seed, JITTER_STREAM))
  if lighting:
    image = torch_augmentation.lighting(image, lighting, fold_in(seed, LIGHTING_STREAM))
  if augment_name:
    augment_seed = fold_in(seed, AUGMENT_STREAM)
    image = _augment(image, augment_name, randaug_num_layers, randaug_magnitude, augment_seed)
  return tf.cast(image, dtype)


def _flip(image, seed):
  """Mirrors half of the images: those that tf.image.stateless_random_flip_left_right does."""
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


def to_uint8(image):
  """Cuts a float image off at 0 and 255 and rounds it down; leaves a uint8 image as it is."""
  if image.dtype == tf.uint8:
    return image
  return tf.cast(tf.clip_by_value(image, 0.0, 255.0), tf.uint8)


def _random_window(kind, shape, seed, area_range, aspect_ratio_range):
  """(The random crop of `kind`; whether there is one, or else the central crop is to be taken)."""
  if kind == 'torch':
    return torch_augmentation.crop_window(shape, seed, area_range, aspect_ratio_range)
  if kind == 'padded':
    return tf.concat([[0, 0], shape], axis=0), True
  drawn = random_crop_window(shape, seed, area_range, aspect_ratio_range)
  # The official code takes "the whole image" as the sign that no random crop was found.
  return drawn, tf.reduce_any(drawn[2:] != shape)


def preprocess_for_eval(
  image_bytes, use_bfloat16=False, image_size=IMAGE_SIZE, resize_method=None, *, crop='official'
):
  """The central crop, resized. Arguments as for `preprocess_for_train`."""
  image = decode_and_crop(image_bytes, lambda shape: center_crop_window(shape, image_size, crop))
  image = resize_image(image, image_size, resize_method)
  return tf.cast(image, tf.bfloat16 if use_bfloat16 else tf.float32)


def eval_function(spec):
  """The function from an encoded image to a model's input that evaluation and export apply.

  Args:
    spec: `PreprocessSpec`.

  Returns:
    function(string scalar) -> float32 [image_size, image_size, 3] on the 0..255 scale.
  """

  def preprocess(image_bytes):
    return preprocess_for_eval(
      image_bytes, image_size=spec.image_size, resize_method=spec.interpolation, crop=spec.crop
    )

  return preprocess


def fold_in(seed, purpose):
  """Returns the seed of one of the independent random draws (crop, flip, ...) that an example needs.

  Args:
    seed: int64 [2], the example's.
    purpose: number of the draw: `CROP_STREAM`, `FLIP_STREAM`, ...

  Returns:
    int64 [2].
  """
  # An odd constant with well-mixed bits keeps the streams of neighbouring seeds apart.
  return seed + tf.constant([purpose * 0x1E3779B97F4A7C15 % 2**62, 0], tf.int64)


def random_crop_window(shape, seed, area_range, aspect_ratio_range):
  """Draws a crop of random area and aspect ratio; the whole image if ten draws do not fit.

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


def center_crop_window(shape, image_size, crop='official'):
  """The central square that evaluation looks at.

  Args:
    shape: int32 [2], height and width of the image.
    image_size: size of the result after the resize, in pixels.
    crop: share of the shorter side to keep: 'official', 0.875 as nearly as whole pixels around the result
      allow; 'size_plus_32', image_size / (image_size + 32); 'whole', all of it.

  Returns:
    int32 [4]: y, x, height, width.
  """
  padding = {
    'official': round(image_size * (1 / CROP_FRACTION - 1)),
    'size_plus_32': 32,
    'whole': 0,
  }[crop]
  share = image_size / (image_size + padding)
  side = tf.cast(share * tf.cast(tf.reduce_min(shape), tf.float32), tf.int32)
  side = tf.maximum(side, 1)
  offset = (shape - side + 1) // 2
  return tf.concat([offset, tf.stack([side, side])], axis=0)


def decode(image_bytes):
  """The whole of an image: uint8 [height, width, 3].

  Args:
    image_bytes: string scalar; JPEG, PNG, BMP or GIF (its first frame). Grey images become RGB.
  """
  return tf.io.decode_image(image_bytes, channels=3, expand_animations=False)


def decode_and_crop(image_bytes, window, *inputs):
  """Decodes a window of an image: uint8 [height, width, 3]. Of a JPEG only that part is decoded.

  Args:
    image_bytes: as for `decode`; or what that gave, to be cropped.
    window: function(the image's shape, int32 [2]; *inputs) -> int32 [4]: y, x, height, width. Of the
      tensors around it, it may use `inputs` alone.
    *inputs: tensors.
  """

  def jpeg(image_bytes, *inputs):
    shape = tf.io.extract_jpeg_shape(image_bytes)[:2]
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


def resize_image(image, image_size, method=None):
  """Resizes to a square as the official code does.

  Args:
    image: [height, width, 3], any number type.
    image_size: height and width of the result.
    method: None or 'bicubic' for TF1's bicubic (pixels are points on a grid that begins at 0, and a
      = -0.75), which TF2's `tf.image.resize` does not have; otherwise a method of TF1's resize, e.g. 'bilinear'.

  Returns:
    float32 [image_size, image_size, 3], not clipped.
  """
  if method in (None, 'bicubic'):
    method = tf.image.ResizeMethod.BICUBIC
    image = tf.cast(image, tf.float32)  # The same numbers as from uint8, an eighth sooner.
  resized = tf.compat.v1.image.resize(image[tf.newaxis], [image_size, image_size], method)[0]
  return tf.ensure_shape(tf.cast(resized, tf.float32), [image_size, image_size, 3])
