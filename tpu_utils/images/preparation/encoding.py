"""Conversion of image files to the format of official shards: decodable JPEGs, RGB or grey.

Source: tensorflow/tpu, tools/datasets/imagenet_to_gcs.py. It has a list of ImageNet's exceptions
(one PNG and 22 CMYK JPEGs, all named .JPEG); here the format is recognised by the contents.
"""
import io
import warnings

import numpy as np
import tensorflow as tf

from tpu_utils.errors import first_line

_QUALITY = 100  # JPEG quality of the official converter.


class UnusableImageError(ValueError):
  """An image that cannot be stored in a shard; the message is the cause."""


def official(data: bytes, keep_png: bool = False) -> tuple[bytes, int, int, str | None]:
  """Converts an image to the form that a record contains.

  Args:
    data: contents of an image file.
    keep_png: whether to keep PNG unchanged; the official code reads only JPEG, this project both.

  Returns:
    (encoded image, height, width, original format: 'CMYK JPEG', 'PNG', ..., or None if unchanged).

  Raises:
    UnusableImageError: the image cannot be decoded.
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
  except tf.errors.OpError:  # More than 65,500 pixels a side, most likely from a damaged header.
    raise UnusableImageError(
      f'{kind} of {width} x {height} pixels, which no JPEG can hold'
    ) from None
  return encoded.numpy(), height, width, kind


def _kind(data):
  """Recognises the format by the first bytes; None if it is unknown."""
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
  kinds = (kind for signature, kind in signatures.items() if data.startswith(signature))
  return next(kinds, None)


def _decode(data, kind):
  """Decodes an image to uint8 [height, width, 3]."""
  if kind in ('WebP', 'TIFF', 'BMP'):  # TensorFlow decodes only some kinds of BMP.
    from PIL import Image

    try:
      with warnings.catch_warnings(action='ignore'), Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert('RGB'))
    except Image.DecompressionBombError as e:
      raise ValueError(e) from None
  return tf.io.decode_image(data, channels=3, expand_animations=False).numpy()
