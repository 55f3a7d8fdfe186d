"""Detectors for pictures: regions found, their features and their tags.

A detector here classifies boxes that come from elsewhere: given, a grid, or (scenes) the parts that
stand out from a plain background. The result says which.
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from oscar.datasets import features, region_extraction, tsv
from oscar.predicting import parts
from tpu_utils import files
from tpu_utils.errors import printable
from tpu_utils.reading import reading

# Files of a folder of scenes, see `oscar.scenes.world`.
_WORLD, _WEIGHTS = 'world.json', 'detector.weights.h5'
_FEATURES = 'official/features/features.tsv'
_GRID = 3  # Parts per side of a picture without boxes, for networks for photographs.


@dataclasses.dataclass(frozen=True)
class Detector:
  """A network for the regions of pictures, and the rule by which they get boxes.

  Attributes:
    name: for messages.
    model: as for `region_extraction.extract`.
    labels: names of its classes, the tags.
    grid: parts per side of a picture without boxes; None to find connected parts.
    by_score: whether regions are sorted by falling score, as detectors return them; otherwise they
      keep the order of the boxes, as in `oscar.region_features`.
    canvas: levels [3] of the plain background on which the network has seen things; things on
      another plain background are laid on it. None to take pictures as they are.
  """

  name: str
  model: Any
  labels: Sequence[str]
  grid: int | None = None
  by_score: bool = True
  canvas: np.ndarray | None = None

  def detect(
    self,
    pixels: np.ndarray,
    boxes: Any = None,
    grid: int | None = None,
    tolerance: int = parts.LOSSLESS,
    where: str = 'the picture',
  ) -> tuple[region_extraction.Regions, str]:
    """Computes the regions of a picture.

    Args:
      pixels: uint8 [height, width, 3].
      boxes: [n, 4] corners x1, y1, x2, y2 in pixels, or None.
      grid: without boxes, parts per side beside the whole picture; None for the detector's rule.
      tolerance: as for `parts.find_boxes`.
      where: name of the picture in an error.

    Returns:
      (regions, the origin of their boxes in words).

    Raises:
      ValueError: a box outside the picture, or no parts to find.
    """
    height, width = pixels.shape[:2]
    grid = self.grid if grid is None else grid
    if boxes is not None:
      origin = 'boxes given'
      region_extraction.check_boxes(boxes, width, height, where)
    elif grid is not None:
      origin = f'the whole picture and a grid of {grid} x {grid}' if grid else 'the whole picture'
      boxes = region_extraction.grid_boxes(width, height, grid)
    else:
      origin = 'connected parts on a plain background'
      boxes = parts.find_boxes(pixels, tolerance, where)
    if self.canvas is not None and grid is None and parts.is_plain(pixels, tolerance):
      pixels = parts.on_canvas(pixels, boxes, self.canvas)
    (found,) = region_extraction.extract([(where, pixels, boxes)], self.model, self.labels)
    return _by_score(found) if self.by_score else found, origin


def _by_score(regions):
  order = np.argsort(-regions.scores, kind='stable')
  return dataclasses.replace(
    regions,
    features=regions.features[order],
    tags=tuple(regions.tags[i] for i in order),
    scores=regions.scores[order],
  )


def open_detector(
  name: str,
  weights: str | None = None,
  labels: Sequence[str] | None = None,
  image_size: int | None = None,
) -> Detector:
  """Opens the detector of a folder of scenes, or a ResNeXt.

  Args:
    name: folder that `python -m oscar.scenes` wrote; or the name of a ResNeXt with 2048 channels in
      its last stage, such as resnext-50-32x4d.
    weights: the ResNeXt's checkpoint.
    labels: names of its classes.
    image_size: side in pixels to which it takes regions; None for its own.

  Raises:
    ValueError: neither, the checkpoint does not fit, or it is missing.
    OSError: a file cannot be read.
  """
  if files.is_file(os.path.join(name, _WORLD)):
    return _of_scenes(name)
  if files.exists(name):
    raise ValueError(
      f'{name} has no {_WORLD}: expected a folder that `python -m oscar.scenes` wrote, or the name '
      'of a ResNeXt.'
    )
  if weights is None or labels is None:
    raise ValueError(
      f'The detector {name!r} is no folder; a ResNeXt of this name needs its checkpoint and the '
      'names of its classes, too (--detector_weights, --detector_labels).'
    )
  network = region_extraction.RegionNetwork(name, weights, len(labels), image_size)
  return Detector(name, network, labels, grid=_GRID, by_score=False)


def read_picture(path: str) -> tuple[np.ndarray, str, str]:
  """Reads a picture as `oscar.region_features` does.

  Returns:
    (uint8 [height, width, 3], format, remark in words or '').

  Raises:
    ValueError: it is no image, or cannot be decoded.
    OSError: it cannot be read.
  """
  from tpu_utils.images import headers
  from tpu_utils.images.preparation import encoding
  from tpu_utils.images.sources import picture_files

  data = picture_files.read(path)
  try:
    pixels, kind = encoding.decode(data)
  except encoding.UnusableImageError as e:
    raise ValueError(f'{printable(path)}: {e}.') from None
  several = headers.has_several_pictures(data)
  return pixels, kind, ', in the first of several pictures' if several else ''


def _of_scenes(folder):
  from oscar.scenes import world

  path = os.path.join(folder, _WEIGHTS)
  if not files.is_file(path):
    raise ValueError(f'{path} does not exist; build the scenes again (python -m oscar.scenes).')
  kind = world.kind_of(folder)
  with reading(path, "weights of the scenes' detector", foreign=True):
    network = world.load_detector(path, kind)
  opened = Detector(f'the detector of {folder}', network, network.labels)
  if not files.is_file(os.path.join(folder, _FEATURES)):
    return opened
  pixels = _check_features(folder, opened)
  return dataclasses.replace(opened, canvas=parts.background(pixels))


def _check_features(folder, opened):
  """Checks that the detector gives the features in the folder's files, on which models learnt.

  Returns:
    the picture of the features that were compared.
  """
  path = os.path.join(folder, _FEATURES)
  key, count, content = tsv.TsvFile(path)[0]
  where = f'{path}, image {key.decode()!r}'
  stored = features.decode(content, count.decode(), where)
  picture = os.path.join(folder, 'images', f'{key.decode()}.png')
  pixels, *_ = read_picture(picture)
  boxes = features.boxes(stored, pixels.shape[1], pixels.shape[0]).round()
  (found,) = region_extraction.extract([(picture, pixels, boxes)], opened.model, opened.labels)
  if not np.allclose(found.features, stored, rtol=0.01, atol=0.01):
    raise ValueError(
      f'{where}: the features are not those that the detector gives for {picture}: another version '
      'of the code built the scenes. Build them again (python -m oscar.scenes), and train on them.'
    )
  return pixels
