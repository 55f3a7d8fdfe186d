"""The region features that OSCAR reads: the 2054 numbers of a region, checked and stored.

A region is 2048 numbers of appearance (the output of the detector's last pooling layer) followed by
six of geometry, all float32:

    x1 / W, y1 / H, x2 / W, y2 / H, (x2 - x1) / W, (y2 - y1) / H

for a box with corners (x1, y1), (x2, y2) in an image of W x H pixels. An image is an array
[regions, 2054]; in files it is base64 of the little-endian numbers, row after row.

Source: arXiv 2004.06165, section 3 (corners, then height and width; the paper does not give the
order of the last two) and the official data, whose order is width, height.
"""

import binascii
import contextlib
import itertools

import numpy as np
from numpy.typing import ArrayLike

APPEARANCE_DIM = 2048
GEOMETRY = ('x1', 'y1', 'x2', 'y2', 'width', 'height')
CONVERT = 'python -m oscar.region_features --convert=FILE --output=FOLDER'
REGION_DIM = APPEARANCE_DIM + len(GEOMETRY)

# Detectors round boxes to pixels of a resized image, so official boxes may slightly exceed theirs.
BOX_TOLERANCE = 0.01
_LARGEST = 6e4  # Of a plausible feature; float16 ends at 65,504.


def join(
  appearance: ArrayLike,
  boxes: ArrayLike,
  image_width: float,
  image_height: float,
  where: str = 'regions',
) -> np.ndarray:
  """Joins the appearance features and boxes of a detector to region features.

  Args:
    appearance: [regions, D] numbers, D = 2048 for the official checkpoints.
    boxes: [regions, 4] corners x1, y1, x2, y2 in pixels.
    image_width: pixels.
    image_height: pixels.
    where: name of the regions in an error.

  Returns:
    float32 [regions, D + 6].

  Raises:
    ValueError: counts differ, NaN, a box outside the image or with x2 < x1.
  """
  appearance = np.asarray(appearance, np.float32)
  boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
  if appearance.ndim != 2 or len(appearance) != len(boxes):
    raise ValueError(
      f'{where}: {len(boxes)} boxes, but appearance features of shape {appearance.shape}; expected '
      f'({len(boxes)}, features), one row per box.'
    )
  if not (image_width > 0 and image_height > 0):
    raise ValueError(
      f'{where}: an image of {image_width} x {image_height} pixels; expected both > 0.'
    )
  corners = boxes / np.array([image_width, image_height] * 2, np.float32)
  regions = np.concatenate([appearance, corners, corners[:, 2:] - corners[:, :2]], axis=1)
  check(regions, where, dim=regions.shape[1])
  return regions


def boxes(regions: ArrayLike, image_width: float, image_height: float) -> np.ndarray:
  """Returns float32 [regions, 4]: the corners x1, y1, x2, y2 of `join`, in pixels of the image."""
  scale = np.array([image_width, image_height] * 2, np.float32)
  return np.asarray(regions)[:, -len(GEOMETRY) : -2] * scale


def check(
  regions: np.ndarray,
  where: str = 'regions',
  dim: int | None = REGION_DIM,
  check_boxes: bool = True,
) -> None:
  """Raises ValueError, naming `where`, unless `regions` are float32 [regions, dim] as above.

  Args:
    regions: array.
    where: name of the regions in the error: file and key.
    dim: numbers a region; None admits any width.
    check_boxes: whether the last six numbers are geometry and must lie inside the image.
  """
  if regions.ndim != 2:
    raise ValueError(f'{where}: an array of shape {regions.shape}; expected (regions, {dim}).')
  if dim is not None and regions.shape[1] != dim:
    raise ValueError(
      f'{where}: regions are {regions.shape[1]} numbers wide, expected {dim} '
      f'({dim - len(GEOMETRY)} of appearance, then {", ".join(GEOMETRY)}){_advice(regions, dim)}.'
    )
  if regions.dtype != np.float32:
    raise ValueError(
      f'{where}: regions are {regions.dtype}, expected float32. Convert them: {CONVERT}'
    )
  if not np.isfinite(regions).all():
    row, column = np.argwhere(~np.isfinite(regions))[0]
    raise ValueError(
      f'{where}: region {row} holds {regions[row, column]} at number {column}; expected finite '
      'numbers only. Extract the features of this image again.'
    )
  if check_boxes:
    _check_geometry(regions[:, -len(GEOMETRY) :], where)


def _advice(regions, dim):
  is_bare = regions.shape[1] == dim - len(GEOMETRY)
  return '; oscar.datasets.features.join appends the geometry to bare features' if is_bare else ''


def _check_geometry(geometry, where):
  corners, size = geometry[:, :4], geometry[:, 4:]
  outside = (corners < -BOX_TOLERANCE) | (corners > 1 + BOX_TOLERANCE)
  inverted = corners[:, :2] > corners[:, 2:]
  for wrong, complaint in ((outside, 'outside the image'), (inverted, 'with x2 < x1 or y2 < y1')):
    if wrong.any():
      row = int(np.argwhere(wrong)[0, 0])
      raise ValueError(
        f'{where}: region {row} has a box {complaint}: x1, y1, x2, y2 = '
        f'{_rounded(corners[row])}; expected fractions of the image in [0, 1].'
      )
  difference = np.abs(size - (corners[:, 2:] - corners[:, :2]))
  if (difference > BOX_TOLERANCE).any():
    row = int(np.argwhere(difference > BOX_TOLERANCE)[0, 0])
    raise ValueError(
      f'{where}: region {row} ends in width, height = {_rounded(size[row])}, but its corners are '
      f'{_rounded(corners[row])}; expected {", ".join(GEOMETRY)}.'
    )


def _rounded(numbers):
  return np.round(numbers.astype(float), 4).tolist()


def encode(regions: ArrayLike) -> bytes:
  """Returns the base64 text of regions, as the official files hold it."""
  return binascii.b2a_base64(np.ascontiguousarray(regions, '<f4').tobytes(), newline=False)


def decode(
  text: bytes | str,
  num_boxes: int | str,
  where: str = 'regions',
  dim: int | None = REGION_DIM,
  check_boxes: bool = True,
) -> np.ndarray:
  """Decodes the base64 text of regions, the inverse of `encode`, and checks them.

  Args:
    text: bytes or str, base64 of little-endian float32.
    num_boxes: number of regions that the file states; int, or its text.
    where: name of the regions in an error: file and key.
    dim: numbers a region; None takes the width from the data.
    check_boxes: as in `check`.

  Returns:
    float32 [num_boxes, dim], read-only.

  Raises:
    ValueError: damaged base64, cut-off rows, numbers of another type, or regions that `check`
      refuses.
  """
  count = read_count(num_boxes, where)
  data = read_base64(text, where)
  width = dim
  if width is None or len(data) != count * width * 4:
    found = _other_type(data, count, dim, check_boxes)
    if found is not None:
      advice = f'convert them: {CONVERT}'
      if found.shape[1] != dim:
        advice = 'store them as float32, with the geometry (oscar.datasets.features.join)'
      raise ValueError(
        f'{where}: the features are {found.dtype}, {found.shape[1]} numbers a region; expected '
        f'float32, {dim} a region; {advice}'
      )
    width = _width(len(data), count, dim, where)
  regions = np.frombuffer(data, '<f4').reshape(count, width)
  check(regions, where, dim, check_boxes)
  return regions


def decode_any_type(
  text: bytes | str, num_boxes: int | str, where: str, dim: int = REGION_DIM
) -> np.ndarray:
  """Decodes the base64 text of regions that are float32, float16 or float64, and checks them.

  Args:
    text: as for `decode`.
    num_boxes: as for `decode`.
    where: as for `decode`.
    dim: numbers a region.

  Returns:
    float32 [num_boxes, dim].

  Raises:
    ValueError: as for `decode`.
  """
  count = read_count(num_boxes, where)
  found = _other_type(read_base64(text, where), count, dim, check_boxes=True)
  if found is None or found.shape[1] != dim:
    return decode(text, count, where, dim)
  regions = found.astype(np.float32)
  check(regions, where, dim)
  return regions


def read_count(num_boxes: int | str, where: str) -> int:
  """Returns a number of boxes that a file states as a number or as text.

  Raises:
    ValueError: it is not a whole number of at least 0.
  """
  try:
    count = int(num_boxes)
  except (TypeError, ValueError, OverflowError):
    count = -1
  if count < 0:
    raise ValueError(f'{where}: {num_boxes!r} is not a number of boxes; expected 0 or more.')
  return count


def read_base64(text: bytes | str, where: str) -> bytes:
  """Returns the bytes that a base64 text, which may have line breaks, stands for.

  Raises:
    ValueError: it is damaged, or no text.
  """
  if not isinstance(text, (bytes, str)):
    raise ValueError(f'{where}: the features are {text!r:.80}; expected base64 text.')
  if isinstance(text, str) and '\n' in text:  # As in MIME, from base64.encodebytes in JSON.
    text = text.replace('\r', '').replace('\n', '')
  try:
    return binascii.a2b_base64(text, strict_mode=True)
  except ValueError as error:
    raise ValueError(
      f'{where}: the features are damaged base64 ({error}); expected base64 of regions of '
      'float32. Get the file again.'
    ) from None


def _other_type(data, count, dim, check_boxes):
  """Returns float16 or float64 regions, with or without geometry, if `data` are such; else None."""
  if not count or dim is None:
    return None
  for kind, width in itertools.product(('<f2', '<f8'), (dim, dim - len(GEOMETRY))):
    if len(data) != count * width * np.dtype(kind).itemsize:
      continue
    numbers = np.frombuffer(data, kind).reshape(count, width)
    if not _is_plausible(numbers) or (
      # A file of float32 with a wrong number of boxes can have the same size.
      kind == '<f8' and _is_plausible(np.frombuffer(data, '<f4'))
    ):
      continue
    with contextlib.suppress(ValueError):
      if width == dim and check_boxes:
        _check_geometry(numbers[:, -len(GEOMETRY) :], '')
      return numbers
  return None


def _is_plausible(numbers):
  """Returns whether numbers may be features: bits of another type give senseless ones."""
  with np.errstate(invalid='ignore'):
    return bool((np.abs(numbers) < _LARGEST).all())  # False for NaN.


def _width(num_bytes, count, dim, where):
  """Returns the width that `num_bytes` for `count` regions imply; raises if they imply none."""
  if count == 0 and num_bytes == 0:
    return dim or 0
  if count and num_bytes and num_bytes % (4 * count) == 0:
    return num_bytes // (4 * count)
  need = (
    f'{count * dim * 4} bytes ({count} regions of {dim} float32)'
    if dim
    else (f'a multiple of {4 * count} bytes ({count} regions of float32)')
  )
  raise ValueError(
    f'{where}: the features are {num_bytes} bytes long, expected {need}; the row is cut off or '
    'its number of boxes is wrong.'
  )
