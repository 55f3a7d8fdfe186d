"""Makes of any image file what the official shards hold: a JPEG in RGB or grey that can be decoded.

Source: tensorflow/tpu, tools/datasets/imagenet_to_gcs.py, which knows the exceptions of ImageNet by name (one PNG
and 22 CMYK JPEGs, all called .JPEG); here the bytes decide.
"""
import io
import warnings

import numpy as np
import tensorflow as tf

from tpu_utils.errors import first_line

_QUALITY = 100  # As the official converter.


class UnusableImageError(ValueError):
  """An image is not to go into a shard; says why."""


def official(data, keep_png=False):
  """The image as it goes into a record.

  Args:
    data: bytes of an image file.
    keep_png: leave PNG as it is; the official code reads JPEG alone, this project's input both.

  Returns:
    (bytes, height, width, what was converted: 'CMYK JPEG', 'PNG', ..., or None).

  Raises:
    UnusableImageError: it cannot be decoded.
  """
  kind = _kind(data)
  if kind is None:
    raise UnusableImageError(f'its {len(data)} bytes are no image of a known format')
  try:
    pixels = _decode(data, kind)
    if kind == 'JPEG' and int(tf.io.extract_jpeg_shape(data)[2]) == 4:
      kind = 'CMYK JPEG'
  except (tf.errors.InvalidArgumentError, OSError, ValueError, SyntaxError) as e:
    message = first_line(e).split('[Op:')[0].split('}} ')[-1]
    raise UnusableImageError(f'{kind} that cannot be decoded ({message.strip()})') from None
  height, width = pixels.shape[:2]
  if kind == 'JPEG' or (kind == 'PNG' and keep_png):
    return data, height, width, None
  try:
    encoded = tf.io.encode_jpeg(pixels, 'rgb', _QUALITY, chroma_downsampling=False)
  except tf.errors.OpError:  # More than 65,500 pixels a side: a damaged header, most likely.
    raise UnusableImageError(f'{kind} of {width} x {height} pixels, which no JPEG can hold') from None
  return encoded.numpy(), height, width, kind


def _kind(data):
  """The format by the first bytes; None if it is none of those that can be read."""
  if data[:4] == b'RIFF' and data[8:12] == b'WEBP':
    return 'WebP'
  signatures = {
    b'\xff\xd8\xff': 'JPEG',
    b'\x89PNG\r\n\x1a\n': 'PNG',
    b'GIF8': 'GIF',
    b'BM': 'BMP',
    b'II*\0': 'TIFF',
    b'MM\0*': 'TIFF',
  }
  return next((kind for signature, kind in signatures.items() if data.startswith(signature)), None)


def _decode(data, kind):
  """uint8 [height, width, 3]."""
  if kind in ('WebP', 'TIFF', 'BMP'):  # TensorFlow lacks the first two, and some kinds of the third.
    from PIL import Image

    try:
      with warnings.catch_warnings(action='ignore'), Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert('RGB'))
    except Image.DecompressionBombError as e:
      raise ValueError(e) from None
  return tf.io.decode_image(data, channels=3, expand_animations=False).numpy()
