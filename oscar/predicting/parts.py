"""Finds the things in a picture with a plain background: connected parts and their boxes."""

import numpy as np

LOSSLESS, COMPRESSED = 1, 24  # Levels (of 255) by which a pixel of the background may differ.
_PLAIN = 0.7  # Share of the picture's edge that must be background.
_GAP = 1  # Pixels of background inside a thing, such as between the strokes of a digit.
_LEAST = 3  # Sides in pixels below which a part is noise.
_MOST_PARTS = 1000
_VISIBLE = 64  # Levels by which a thing must differ from what it lies on to be seen.


def foreground(pixels: np.ndarray, tolerance: int = LOSSLESS) -> np.ndarray:
  """Returns bool [height, width]: the pixels that differ from the background.

  Args:
    pixels: uint8 [height, width, 3].
    tolerance: levels by which a pixel of the background may differ.
  """
  return _differ(pixels, background(pixels), tolerance)


def _differ(pixels, colour, tolerance):
  return (np.abs(pixels.astype(np.int16) - colour) > tolerance).any(axis=-1)


def background(pixels: np.ndarray) -> np.ndarray:
  """Returns the most frequent colour along a picture's edge: int16 [3]."""
  colours, counts = np.unique(_edge(pixels), axis=0, return_counts=True)
  return colours[counts.argmax()].astype(np.int16)


def is_plain(pixels: np.ndarray, tolerance: int = LOSSLESS) -> bool:
  """Returns whether most of a picture's edge is its background; arguments as for `foreground`."""
  return bool(np.mean(_differ(_edge(pixels), background(pixels), tolerance)) <= 1 - _PLAIN)


def on_canvas(pixels: np.ndarray, boxes: np.ndarray, canvas: np.ndarray) -> np.ndarray:
  """Lays things of a picture with a plain background on another colour, such as that of scenes.

  In each box the pixel that differs most from the background is wholly the thing's; a pixel at a
  third of that difference is a third of the thing and two thirds of background, which the canvas
  replaces. Things in the canvas' own colour, such as black ink for a black canvas, would vanish;
  in their boxes light and dark are exchanged instead.

  Args:
    pixels: uint8 [height, width, 3].
    boxes: [n, 4] corners x1, y1, x2, y2 in pixels.
    canvas: [3], levels of the new background.

  Returns:
    uint8 [height, width, 3]; `pixels` if its background is the canvas, within `COMPRESSED` levels.
  """
  behind, canvas = background(pixels).astype(np.float32), np.asarray(canvas, np.float32)
  if np.abs(behind - canvas).max() <= COMPRESSED:
    return pixels
  laid = pixels.copy()
  corners = np.concatenate([np.floor(boxes)[:, :2], np.ceil(boxes)[:, 2:]], axis=1)
  for x1, y1, x2, y2 in corners.astype(np.int64):
    part = pixels[y1:y2, x1:x2].astype(np.float32)
    difference = np.abs(part - behind).max(-1, keepdims=True)
    share = difference / max(difference.max(), 1)
    ink = part.reshape(-1, 3)[difference.argmax()]
    if np.abs(ink - canvas).max() < _VISIBLE:
      part = 255 - part
    else:
      part += (1 - share) * (canvas - behind)
    laid[y1:y2, x1:x2] = part.round().clip(0, 255)
  return laid


def _edge(array):
  """Returns the first and last rows and columns, one after the other."""
  return np.concatenate([array[0], array[-1], array[:, 0], array[:, -1]])


def find_boxes(
  pixels: np.ndarray, tolerance: int = LOSSLESS, where: str = 'the picture'
) -> np.ndarray:
  """Finds the boxes of the parts that stand out from a plain background.

  Pixels of the `foreground` that touch, also diagonally, are a part; parts with boxes that overlap
  or lie a pixel apart are one.

  Args:
    pixels: uint8 [height, width, 3].
    tolerance: levels by which a pixel of the background may differ: `COMPRESSED` for JPEG, where
      boxes are a few pixels too large or small.
    where: name of the picture in an error.

  Returns:
    int64 [n, 4]: x1, y1, x2, y2 in pixels, x2 and y2 exclusive, from top to bottom.

  Raises:
    ValueError: the background is not plain, or nothing stands out from it.
  """
  if not is_plain(pixels, tolerance):
    raise ValueError(
      f'{where}: no parts can be found, as its background is not plain; give boxes, or a grid.'
    )
  found = _boxes_of_parts(foreground(pixels, tolerance))
  if len(found) > _MOST_PARTS:
    raise ValueError(
      f'{where}: {len(found)} parts stand out from the background, expected a few things; give '
      'boxes, or a grid.'
    )
  joined = _joined(found)
  large = [box for box in joined if min(box[2] - box[0], box[3] - box[1]) >= _LEAST]
  if not large:
    raise ValueError(
      f'{where}: nothing of at least {_LEAST} x {_LEAST} pixels stands out from the background; '
      'give boxes, or a grid.'
    )
  return np.array(sorted(large, key=lambda box: (box[1], box[0])), np.int64)


def _boxes_of_parts(mask: np.ndarray) -> list[tuple[int, int, int, int]]:
  """Returns [(x1, y1, x2, y2)] of the 8-connected parts of a bool [height, width] mask."""
  parent: list[int] = []
  boxes: list[tuple[int, int, int, int]] = []

  def root(number):
    while parent[number] != number:
      parent[number] = parent[parent[number]]
      number = parent[number]
    return number

  above: list[tuple[int, int, int]] = []
  for y in np.flatnonzero(mask.any(axis=1)).tolist():
    above = [run for run in above if boxes[run[2]][3] == y]  # Only those of the row before.
    runs: list[tuple[int, int, int]] = []
    first = 0
    for start, end in _runs(mask[y]):
      number = len(parent)
      parent.append(number)
      boxes.append((start, y, end, y + 1))
      while first < len(above) and above[first][1] < start:
        first += 1
      for other in above[first:]:
        if other[0] > end:
          break
        parent[root(other[2])] = root(number)
      runs.append((start, end, number))
    above = runs
  merged: dict[int, tuple[int, int, int, int]] = {}
  for number, box in enumerate(boxes):
    merged[root(number)] = _around(merged.get(root(number), box), box)
  return list(merged.values())


def _runs(row):
  """Returns [(start, end)] of the stretches of True in a row."""
  edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(np.int8)))
  return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _joined(boxes):
  """Joins boxes until any two are more than `_GAP` pixels apart on an axis."""
  left, apart = list(boxes), []
  while left:
    box = left.pop()
    near = [other for other in left + apart if _are_near(box, other)]
    if near:
      left = [other for other in left if other not in near]
      apart = [other for other in apart if other not in near]
      for other in near:
        box = _around(box, other)
      left.append(box)
    else:
      apart.append(box)
  return apart


def _are_near(a, b):
  return all(
    max(a[axis], b[axis]) - min(a[axis + 2], b[axis + 2]) <= _GAP for axis in (0, 1)
  )


def _around(a, b):
  return (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))
