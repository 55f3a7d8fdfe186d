"""Inputs, outputs and signature names of our SavedModels."""
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tpu_utils.images import decoding, headers

_AT_ONCE = 8  # Files that are decoded in parallel.
CLASS_NAMES = 'class_names'  # A signature without inputs, and its output.
OUTPUT = 'output'  # The official name, for an endpoint.
IMAGE_BYTES_SPEC = tf.TensorSpec([None], tf.string, 'image_bytes')


def images_spec(shape: Sequence[int]) -> tf.TensorSpec:
  """Returns the input `images` for images of `shape`, (height, width, 3)."""
  return tf.TensorSpec([None, *shape], tf.float32, 'images')


def signatures(served: Mapping[str, Any]) -> dict[str, Any]:
  """Adds default names to {'images': function, 'image_bytes': function}.

  Keras' TFSMLayer calls `serve` by default, with tensors; TensorFlow Serving's clients call
  `serving_default`, with files.
  """
  return {
    'serving_default': served['image_bytes'],
    'image_bytes': served['image_bytes'],
    'serve': served['images'],
    'images': served['images'],
  }


def predictions(
  model: keras.Model, images: tf.Tensor, endpoint: str | None = None
) -> dict[str, tf.Tensor]:
  """Returns the outputs for `images`, float32 [batch, height, width, 3].

  Args:
    model: model from images to logits, or to an endpoint.
    images: the images.
    endpoint: name of the endpoint; None for logits.
  """
  logits = tf.cast(model(images, training=False), tf.float32)
  if endpoint:
    return {OUTPUT: logits}
  return {
    'classes': tf.argmax(logits, axis=-1, output_type=tf.int64),
    'probabilities': tf.nn.softmax(logits),
    'logits': logits,
  }


def for_any_batch(infer: Callable[[tf.Tensor], Any], images: tf.Tensor) -> Any:
  """Returns `infer(images)`, also for an empty batch.

  TensorFlow's convolutions on CPUs answer an empty batch in another shape than they promise. So
  there is always an image, whose answer is cut off.

  Args:
    infer: function from images to a structure of tensors [batch, ...].
    images: float32 [batch, height, width, 3]; height and width are static.
  """
  count = tf.shape(images)[0]
  one = [1, *images.shape[1:]]
  at_least_one = tf.cond(count > 0, lambda: images, lambda: tf.zeros(one, images.dtype))
  return tf.nest.map_structure(lambda answers: answers[:count], infer(at_least_one))


def decoder(
  preprocess: Callable[[tf.Tensor], tf.Tensor], shape: Sequence[int]
) -> Callable[[tf.Tensor], tf.Tensor]:
  """Returns a function from contents of image files, string [batch], to float32 [batch, *shape].

  It fails for a batch with files that are not read, and says which is the first.

  Args:
    preprocess: function from one file's contents to float32 `shape`.
    shape: (height, width, 3).
  """
  checked = checked_preprocess(preprocess)
  # Traced here, as an error while a dataset traces would name that instead.
  checked.get_concrete_function()

  def decode(image_bytes):
    # Only datasets can go on after an error, and so find out which file it is.
    count = tf.size(image_bytes, tf.int64)
    decoded = tf.data.Dataset.from_tensor_slices((tf.range(count), image_bytes))
    decoded = decoded.map(lambda n, file: (n, checked(file)), _AT_ONCE).ignore_errors()
    nothing = tf.zeros([0], tf.int64), tf.zeros([0, *shape], tf.float32)
    numbers, images = _first(decoded.batch(tf.maximum(count, 1)), nothing)
    complete = tf.equal(tf.size(numbers, tf.int64), count)
    is_complete = tf.cond(complete, lambda: True, lambda: _fail(image_bytes, numbers))
    with tf.control_dependencies([is_complete]):
      return tf.ensure_shape(tf.identity(images), [None, *shape])

  return decode


def checked_preprocess(
  preprocess: Callable[[tf.Tensor], tf.Tensor],
) -> tf.types.experimental.PolymorphicFunction:
  """Returns `preprocess`, of one file's contents, with a check of the file's format and size."""

  @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
  def run(contents):
    width, height, _ = tf.unstack(decoding.first_picture(contents))
    checks = [tf.debugging.Assert(width > 0, [contents]), decoding.assert_fits(width, height)]
    with tf.control_dependencies(checks):
      return preprocess(tf.identity(contents))

  return run


def _first(dataset, default):
  """Returns the first element of a dataset, or `default` if there is none."""
  return dataset.concatenate(tf.data.Dataset.from_tensors(default)).take(1).get_single_element()


def _fail(image_bytes, numbers):
  """Fails with the cause for the first file that is missing in `numbers`; its type is bool."""
  # The usual mistake is to send paths or base64 text instead of the bytes.
  places = tf.range(tf.size(image_bytes, tf.int64))
  present = tf.reduce_any(tf.equal(places[:, tf.newaxis], numbers), axis=1)
  place = tf.argmin(tf.cast(present, tf.int32))
  contents = image_bytes[place]
  pictures = tf.data.Dataset.from_tensors(contents).map(decoding.first_picture).ignore_errors()
  width, height, _ = tf.unstack(_first(pictures, tf.zeros([3], tf.int64)))
  text = tf.strings.as_string
  cause = tf.where(
    width * height > headers.MAX_PIXELS,
    tf.strings.join([
      '] has ', text(width), ' x ', text(height), f' pixels, more than the {headers.MAX_PIXELS:,} '
      'that are read; scale it down.'
    ]),
    tf.strings.join([
      f'] is no image that can be decoded: expected the contents of a {decoding.READABLE} file, '
      'found ', text(tf.strings.length(contents)), ' bytes that are something else, damaged or cut '
      'off; send the whole file, not its path and not base64 text. '
      f'Images of other formats: {decoding.REMEDY}.',
    ]),
  )  # fmt: skip
  message = tf.strings.join(['image_bytes[', text(place), cause])
  with tf.control_dependencies([tf.debugging.Assert(False, [message])]):
    return tf.constant(False)
