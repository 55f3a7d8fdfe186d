"""Conversion of image files to the format of official shards: decodable JPEGs, RGB or grey.

Pixels are stored as they lie in the file: the orientation that EXIF gives is ignored in all
formats, as by TensorFlow's decoders. Levels of 16 bits keep their upper 8, in TIFF as in PNG.

Source: tensorflow/tpu, tools/datasets/imagenet_to_gcs.py. It has a list of ImageNet's exceptions
(one PNG and 22 CMYK JPEGs, all named .JPEG); here the format is recognised by the contents.
"""
import io
import warnings

import numpy as np
import tensorflow as tf

from tpu_utils.errors import first_line
from tpu_utils.images import decoding
from tpu_utils.images.preparation import deep_pixels

_QUALITY = 100  # JPEG quality of the official converter.
_ORIENTATION = 0x0112  # Number of the EXIF tag.
# Functions that undo what Pillow does for each orientation.
_AS_STORED = {
  2: np.fliplr,
  3: lambda pixels: np.rot90(pixels, 2),
  4: np.flipud,
  5: lambda pixels: pixels.swapaxes(0, 1),
  6: np.rot90,
  7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
  8: lambda pixels: np.rot90(pixels, -1),
}


class UnusableImageError(ValueError):
  """An image that cannot be stored in a shard; the message is the cause."""


def official(
  data: bytes, keep_png: bool = False, deep: str = deep_pixels.REFUSE
) -> tuple[bytes, int, int, str | None]:
  """Converts an image to the form that a record contains.

  Args:
    data: contents of an image file.
    keep_png: whether to keep PNG unchanged; the official code reads only JPEG, this project both.
    deep: one of `deep_pixels.CHOICES`: how to convert TIFFs of 32 bits, floats or signed numbers.

  Returns:
    (encoded image, height, width, original format: 'CMYK JPEG', 'PNG', ..., or None if unchanged).

  Raises:
    UnusableImageError: the image cannot be decoded.
  """
  kind = _kind(data)
  if kind is None:
    raise UnusableImageError(f'its {len(data)} bytes are no image of a known format')
  try:
    pixels, levels = _decode(data, kind, deep)
    if kind == 'JPEG' and int(tf.io.extract_jpeg_shape(data)[2]) == 4:
      kind = 'CMYK JPEG'
  except (tf.errors.InvalidArgumentError, OSError, ValueError, SyntaxError) as e:
    message = first_line(e).split('[Op:')[0].split('}} ')[-1]
    raise UnusableImageError(f'{kind} that cannot be decoded ({message.strip()})') from None
  kind += levels
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


def _decode(data, kind, deep):
  """Decodes an image to uint8 [height, width, 3]; returns it and a remark on its levels or ''."""
  if kind not in ('WebP', 'TIFF', 'BMP'):
    return decoding.decode(data).numpy(), ''
  from PIL import Image

  try:
    with warnings.catch_warnings(action='ignore'), Image.open(io.BytesIO(data)) as image:
      orientation = image.getexif().get(_ORIENTATION, 1)  # Loading the pixels deletes it.
      image.load()
      levels = deep_pixels.levels_of(image) if kind == 'TIFF' else None
      if levels is None:
        pixels, remark = np.asarray(image.convert('RGB')), ''
      else:
        pixels, remark = levels.to_uint8(deep)
  except Image.DecompressionBombError as e:
    raise ValueError(e) from None
  if kind == 'TIFF' and orientation in _AS_STORED:  # Pillow turns no other format.
    pixels = np.ascontiguousarray(_AS_STORED[orientation](pixels))
  return pixels, remark
