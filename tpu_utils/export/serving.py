"""Inputs, outputs and signature names of our SavedModels."""
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tpu_utils.images import decoding

CLASS_NAMES = 'class_names'  # A signature without inputs, and its output.
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


def predictions(model: keras.Model, images: tf.Tensor) -> dict[str, tf.Tensor]:
  """Returns the outputs for `images`, float32 [batch, height, width, 3]."""
  logits = tf.cast(model(images, training=False), tf.float32)
  return {
    'classes': tf.argmax(logits, axis=-1, output_type=tf.int64),
    'probabilities': tf.nn.softmax(logits),
    'logits': logits,
  }


def decoder(
  preprocess: Callable[[tf.Tensor], tf.Tensor], shape: Sequence[int]
) -> Callable[[tf.Tensor], tf.Tensor]:
  """Returns a function from contents of image files, string [batch], to float32 [batch, *shape].

  Args:
    preprocess: function from one file's contents to float32 `shape`.
    shape: (height, width, 3).
  """
  checked = _checked(preprocess)
  # Traced here, as an error while map_fn traces would leave TensorFlow's variable scope unusable.
  checked.get_concrete_function()

  def decode(image_bytes):
    elements = (tf.range(tf.size(image_bytes)), image_bytes)
    images = tf.map_fn(checked, elements, fn_output_signature=tf.TensorSpec(shape, tf.float32))
    return tf.ensure_shape(images, [None, *shape])

  return decode


def _checked(preprocess):
  """Returns `preprocess` for (index in the request, bytes), with a check of the file's format.

  The decoder's own message does not name the wrong element, and the usual mistake is to send paths
  or base64 text instead of the bytes.
  """

  @tf.function(input_signature=[(tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.string))])
  def run(element):
    index, contents = element
    is_image = decoding.is_readable(contents)
    message = tf.strings.join([
      'image_bytes[', tf.strings.as_string(index),
      '] is no image: expected the contents of a JPEG, PNG, GIF or BMP file, found ',
      tf.strings.as_string(tf.strings.length(contents)),
      ' bytes of something else; send the contents of the file, not its path and not base64 text. '
      f'Images of other formats: {decoding.REMEDY}.',
    ])
    with tf.control_dependencies([tf.debugging.Assert(is_image, [message])]):
      return preprocess(tf.identity(contents))

  return run
