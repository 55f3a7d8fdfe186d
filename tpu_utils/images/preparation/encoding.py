"""Conversion of image files to the format of official shards: decodable JPEGs, RGB or grey.

`decode` reads every format, by the rule of `decoding`: the first picture of a file, its pixels as
they lie there, without the orientation that EXIF gives, and none of more than `headers.MAX_PIXELS`
pixels. Levels of 16 bits keep their upper 8, in TIFF as in PNG.

Source: tensorflow/tpu, tools/datasets/imagenet_to_gcs.py. It has a list of ImageNet's exceptions
(one PNG and 22 CMYK JPEGs, all named .JPEG); here the format is recognised by the contents.
"""
import contextlib
import io
import warnings

import numpy as np
import tensorflow as tf

from tpu_utils.errors import first_line
from tpu_utils.images import decoding, headers
from tpu_utils.images.preparation import deep_pixels

# Errors of decoders for damaged files.
_DAMAGE = (tf.errors.InvalidArgumentError, OSError, ValueError, SyntaxError)
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
  pixels, kind = decode(data, deep)
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


def decode(data: bytes, deep: str = deep_pixels.REFUSE) -> tuple[np.ndarray, str]:
  """Decodes the first picture of an image file of any format that is read.

  Args:
    data: contents of the file: JPEG, PNG, GIF, BMP, WebP or TIFF.
    deep: one of `deep_pixels.CHOICES`: how to convert TIFFs of 32 bits, floats or signed numbers.

  Returns:
    (uint8 [height, width, 3], format such as 'CMYK JPEG').

  Raises:
    UnusableImageError: the picture cannot be decoded or has too many pixels.
  """
  kind = headers.kind_of(data)
  if kind is None:
    raise UnusableImageError(f'its {len(data)} bytes are no image of a known format')
  try:
    if _certain_size(data, kind):
      pixels, levels = decoding.decode(data).numpy(), ''
    else:
      pixels, levels = _decode_by_pillow(data, kind, deep)
    if kind == 'JPEG' and int(tf.io.extract_jpeg_shape(data)[2]) == 4:
      kind = 'CMYK JPEG'
  except _DAMAGE as e:
    raise _unusable(kind, e) from None
  return pixels, kind + levels


def size(data: bytes) -> tuple[int, int]:
  """Returns (width, height) of the picture that `decode` returns, from the file's header.

  Raises:
    UnusableImageError: the format is unknown, the header is damaged, or there are too many pixels.
  """
  kind = headers.kind_of(data)
  if kind is None:
    raise UnusableImageError(f'its {len(data)} bytes are no image of a known format')
  try:
    certain = _certain_size(data, kind)
    if certain is None:
      with _open(data) as image:
        return _stored_size(image)
    if min(certain) < 1:
      raise ValueError('its header is damaged')
    return certain
  except _DAMAGE as e:
    raise _unusable(kind, e) from None


def _unusable(kind, error):
  reason = first_line(error).split('[Op:')[0].split('}} ')[-1].strip()
  return UnusableImageError(f'{kind} that cannot be decoded ({reason})')


def _certain_size(data, kind):
  """Returns (width, height) of a file whose pixels TensorFlow decodes rightly, else None."""
  width, height, _ = decoding.first_picture(data).numpy().tolist()
  _check_size(width, height)
  # A JPEG or PNG with a damaged header is TensorFlow's, too: its message says so.
  return (width, height) if width > 0 or kind in ('JPEG', 'PNG') else None


def _decode_by_pillow(data, kind, deep):
  """Decodes an image to uint8 [height, width, 3]; returns it and a remark on its levels or ''."""
  with _open(data) as image:
    orientation = image.getexif().get(_ORIENTATION, 1)  # Loading the pixels deletes it.
    image.load()
    levels = deep_pixels.levels_of(image) if kind == 'TIFF' else None
    if levels is None:
      pixels, remark = np.asarray(image.convert('RGB')), ''
    else:
      pixels, remark = levels.to_uint8(deep)
  if kind == 'TIFF' and orientation in _AS_STORED:  # Pillow turns no other format.
    pixels = np.ascontiguousarray(_AS_STORED[orientation](pixels))
  return pixels, remark


@contextlib.contextmanager
def _open(data):
  """Yields the first picture of a file, of which Pillow has read no pixels yet."""
  from PIL import Image

  _check_size(*headers.size(data))  # Before opening, which allocates memory for a WebP.
  with warnings.catch_warnings(action='ignore'):
    try:
      image = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as e:
      raise ValueError(e) from None
    with image:
      _check_size(*image.size)
      yield image


def _stored_size(image):
  """Returns the size of the pixels as they lie in the file; Pillow gives that of a turned TIFF."""
  turned = image.format == 'TIFF' and image.getexif().get(_ORIENTATION, 1) >= 5
  return image.size[::-1] if turned else image.size


def _check_size(width, height):
  flaw = headers.too_large(width, height)
  if flaw:
    raise ValueError(flaw)
