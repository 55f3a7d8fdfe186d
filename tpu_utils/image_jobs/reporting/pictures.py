"""Pictures for the report: the images of mistakes, and what augmentation makes of images."""
import io

import numpy as np
import tensorflow as tf
from PIL import Image

from tpu_utils.images import decoding
from tpu_utils.images.imagenet_input import ImageNetInput
from tpu_utils.images.sources.interface import Source

_SIDE = 192  # Pixels of a picture's longest side.
_SMALL = 64  # Smaller ones are enlarged, pixel by pixel, and kept without loss.
_GAP = 4


def original(source: Source, number: int) -> bytes:
  """Returns an image of a data set as a PNG or JPEG file of moderate size.

  Args:
    source: the source.
    number: of the example.

  Raises:
    ValueError: it cannot be read.
    tf.errors.OpError: it is not an image.
  """
  image, _ = source.parse(tf.constant(number, tf.int64), tf.constant(source.read_one(number)))
  return encoded(decoding.decode(image).numpy())


def encoded(pixels: np.ndarray) -> bytes:
  """Encodes pixels, uint8 [height, width, 3], scaled to moderate size."""
  height, width = pixels.shape[:2]
  picture = Image.fromarray(pixels)
  longest = max(height, width)
  if longest <= _SMALL:
    factor = max(1, _SIDE // 2 // longest)
    picture = picture.resize((width * factor, height * factor), Image.Resampling.NEAREST)
    return _file(picture, 'PNG')
  picture.thumbnail((_SIDE, _SIDE))
  return _file(picture, 'JPEG', quality=86)


def usable_numbers(source: Source, count: int) -> list[int] | None:
  """Returns the numbers of the examples that evaluation kept; None if that is not clear.

  Args:
    source: the evaluation's source.
    count: examples that evaluation kept; it leaves out those that cannot be read.
  """
  if count == len(source):
    return list(range(count))
  numbers = [number for number in range(len(source)) if _is_usable(source, number)]
  return numbers if len(numbers) == count else None


def _is_usable(source, number):
  try:
    original(source, number)
  except (ValueError, tf.errors.OpError):
    return False
  return True


def augmented(images: ImageNetInput, count: int = 5, draws: int = 5) -> np.ndarray | None:
  """Returns training images beside what augmentation makes of them.

  Args:
    images: the job's input.
    count: greatest number of images, evenly spread over the training set.
    draws: augmentations of each.

  Returns:
    uint8 [images, 1 + draws, size, size, 3]: first as evaluation prepares it. None if one of the
    images cannot be read.
  """
  total = images.num_train_images
  numbers = [n * total // min(count, total) for n in range(min(count, total))]
  try:
    found = images.sample(numbers, draws)
  except (ValueError, tf.errors.OpError):  # A bad record, which training leaves out.
    return None
  return np.clip(np.rint(found), 0, 255).astype(np.uint8)


def grid(rows: np.ndarray) -> bytes:
  """Joins pictures into one file.

  Args:
    rows: uint8 [rows, columns, height, width, 3].
  """
  side = rows.shape[2]
  tile = 128 if side > _SMALL else side * max(1, 96 // side)
  how = Image.Resampling.LANCZOS if side > _SMALL else Image.Resampling.NEAREST
  sheet = Image.new(
    'RGB',
    (rows.shape[1] * (tile + _GAP) - _GAP + 2 * _GAP, rows.shape[0] * (tile + _GAP) - _GAP),
    'white',
  )
  for y, row in enumerate(rows):
    for x, pixels in enumerate(row):
      picture = Image.fromarray(pixels).resize((tile, tile), how)
      # A wider gap after the first column.
      sheet.paste(picture, (x * (tile + _GAP) + (2 * _GAP if x else 0), y * (tile + _GAP)))
  return _file(sheet, 'JPEG', quality=88) if side > _SMALL else _file(sheet, 'PNG')


def _file(picture, kind, **options):
  content = io.BytesIO()
  picture.save(content, kind, **options)
  return content.getvalue()
