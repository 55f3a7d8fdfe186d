"""Extracts region features and tags from images, and writes them in the official files' layout.

The folder that `write` fills holds, as the official retrieval files do:

    features.tsv, features.lineidx     image, number of regions, base64 of float32 [regions, 2054]
    predictions.tsv, .lineidx          image, JSON {image_h, image_w, num_boxes, objects}; an object
                                       is {class, conf, rect}
    imageid2idx.json                   {image: row in both files}
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from oscar.datasets import features, tsv
from tpu_utils import files

_BATCH_SIZE = 64  # Crops per call of the model.
_IMAGES_AT_ONCE = 100  # Images with crops held in memory.


@dataclasses.dataclass(frozen=True)
class Regions:
  """The regions of one image, as from a detector.

  Attributes:
    features: float32 [n, D + 6], see `oscar.datasets.features`.
    tags: n class names.
    scores: float32 [n], the probabilities of these classes.
    width, height: size of the image in pixels.
  """

  features: np.ndarray
  tags: tuple[str, ...]
  scores: np.ndarray
  width: float
  height: float

  def objects(self) -> list[dict[str, Any]]:
    """Returns [{class, conf, rect}] as in the official label files."""
    boxes = features.boxes(self.features, self.width, self.height)
    return [
      {'class': tag, 'conf': round(float(score), 4), 'rect': [round(float(v), 2) for v in box]}
      for tag, score, box in zip(self.tags, self.scores, boxes, strict=True)
    ]


def crop(
  image: np.ndarray, boxes: Sequence | np.ndarray, size: int, where: str = 'regions'
) -> np.ndarray:
  """Cuts boxes out of an image and stretches each to a square, as R-CNN warps its regions.

  Args:
    image: uint8 [height, width, 3].
    boxes: [n, 4] corners x1, y1, x2, y2 in pixels.
    size: side of the squares in pixels.
    where: name of the boxes in error messages.

  Returns:
    uint8 [n, size, size, 3].

  Raises:
    ValueError: a box outside the image, or without area.
  """
  check_boxes(boxes, image.shape[1], image.shape[0], where)
  return np.stack([_stretch(image, box, size) for box in boxes])


def _stretch(image, box, size):
  """Returns one box of an image as a square."""
  # Cut first: the resizing filter would read pixels beyond the box's edges.
  x, y = (int(np.floor(corner)) for corner in box[:2])
  right, bottom = (int(np.ceil(corner)) for corner in box[2:])
  part = Image.fromarray(np.ascontiguousarray(image[y:bottom, x:right]))
  inside = tuple(float(corner) - start for corner, start in zip(box, (x, y, x, y), strict=True))
  return np.asarray(part.resize((size, size), Image.Resampling.BILINEAR, box=inside))


def check_boxes(boxes: Any, width: int, height: int, where: str) -> None:
  """Checks that boxes are rows of x1, y1, x2, y2 with an area, inside the image.

  Args:
    boxes: [n, 4] in pixels, or anything else that a file held in their place.
    width: of the image in pixels.
    height: of the image in pixels.
    where: name of the boxes in error messages.

  Raises:
    ValueError: they are not.
  """
  if not len(boxes):
    raise ValueError(f'{where}: no boxes; an image needs at least one region.')
  try:
    array = np.asarray(boxes, np.float64)
  except (TypeError, ValueError):
    array = np.zeros(0)
  if array.ndim != 2 or array.shape[1] != 4:
    raise ValueError(f'{where}: {str(boxes)[:80]}; expected a list of [x1, y1, x2, y2] in pixels.')
  for number, (x1, y1, x2, y2) in enumerate(array.tolist()):
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):  # NaN fails as well.
      raise ValueError(
        f'{where}: box {number} is {[x1, y1, x2, y2]}; expected 0 <= x1 < x2 <= {width} and '
        f'0 <= y1 < y2 <= {height}, the size of the image in pixels.'
      )


def grid_boxes(width: int, height: int, parts: int = 0) -> np.ndarray:
  """Returns the box of the whole image, then `parts` x `parts` equal ones: float64 [n, 4]."""
  boxes = [(0, 0, width, height)]
  edges = np.arange(parts + 1) / max(parts, 1)
  boxes += [
    (edges[i] * width, edges[j] * height, edges[i + 1] * width, edges[j + 1] * height)
    for j in range(parts) for i in range(parts)
  ]  # fmt: skip
  return np.array(boxes, np.float64)


def extract(
  items: Iterable[tuple[str, np.ndarray, Any]], model: Any, labels: Sequence[str]
) -> Iterator[Regions]:
  """Computes features and tags of the regions of images.

  Args:
    items: (where, image, boxes): name of the image in error messages; uint8 [height, width, 3];
      [n, 4] corners x1, y1, x2, y2 in pixels.
    model: callable from float32 [n, size, size, 3] in [0, 255] to (appearance [n, D], probabilities
      [n, classes]), with an attribute `image_size`, such as a `RegionNetwork`.
    labels: names of the classes.

  Yields:
    `Regions` of each image, in the order of its boxes.

  Raises:
    ValueError: a box outside the image, features that are not finite, or a number of labels that
      differs from the number of classes.
  """
  # Of an image only the crops and the size are kept.
  cropped = (
    (where, image.shape[:2], boxes, crop(image, boxes, model.image_size, where))
    for where, image, boxes in items
  )
  while group := list(itertools.islice(cropped, _IMAGES_AT_ONCE)):
    crops = [item[-1] for item in group]
    appearance, probabilities = _apply(model, np.concatenate(crops).astype(np.float32))
    if probabilities.shape[1] != len(labels):
      raise ValueError(
        f'{len(labels)} labels, but the classifier has {probabilities.shape[1]} classes; give one '
        'label per class.'
      )
    ends = np.cumsum([len(c) for c in crops])[:-1]
    parts = zip(group, np.split(appearance, ends), np.split(probabilities, ends), strict=True)
    for (where, (height, width), boxes, _), appearance, probabilities in parts:
      yield Regions(
        features=features.join(appearance, boxes, width, height, where),
        tags=tuple(labels[i] for i in probabilities.argmax(axis=1)),
        scores=probabilities.max(axis=1).astype(np.float32),
        width=width,
        height=height,
      )


def _apply(model, crops):
  """Applies `model` to any number of crops in equal batches, so that one shape is compiled."""
  size = min(len(crops), _BATCH_SIZE)
  missing = -len(crops) % size
  padded = np.concatenate([crops, crops[:1].repeat(missing, axis=0)])
  outputs = [model(padded[i : i + size]) for i in range(0, len(padded), size)]
  return tuple(np.concatenate(parts)[: len(crops)] for parts in zip(*outputs, strict=True))


class RegionNetwork:
  """A ResNeXt for the features, and a classifier for the tags, by default the same network.

  Attributes:
    image_size: side of the regions in pixels. Another classifier gets them resized to its own size.
  """

  def __init__(
    self,
    model_name: str,
    weights: str | None,
    num_classes: int,
    image_size: int | None = None,
    tag_model_name: str | None = None,
    tag_weights: str | None = None,
    tag_classes: int | None = None,
  ) -> None:
    """Builds the networks and loads their checkpoints.

    Args:
      model_name: a name that `resnext.build_model` knows, with 2048 channels in its last stage.
      weights: its checkpoint.
      num_classes: classes of the checkpoint.
      image_size: side of the regions in pixels; None for the model's own.
      tag_model_name: an EfficientNet or ResNeXt for the tags; None for the same as `model_name`.
      tag_weights: its checkpoint.
      tag_classes: its classes.

    Raises:
      ValueError: an unknown model, a checkpoint that does not fit, a model of another width.
    """
    import keras  # Only now, so that --help and checks of files are quick.

    import efficientnet
    import resnext

    model = resnext.feature_extractor(
      model_name, ['avgpool', 'fc'], image_size, weights, num_classes=num_classes
    )
    width = model.output['avgpool'].shape[-1]
    if width != features.APPEARANCE_DIM:
      raise ValueError(
        f'--model_name={model_name} gives {width} numbers per region, expected '
        f'{features.APPEARANCE_DIM}; choose a model with {features.APPEARANCE_DIM} channels in its '
        'last stage, such as resnext-50-32x4d.'
      )
    self.image_size = model.input.shape[1]
    appearance, logits = model.output['avgpool'], model.output['fc']
    if tag_model_name is not None:
      package = efficientnet if tag_model_name.startswith('efficientnet') else resnext
      tagger = package.build_model(tag_model_name, num_classes=tag_classes, weights=tag_weights)
      resize = keras.layers.Resizing(*tagger.input.shape[1:3], name='resize')
      logits = tagger(resize(model.input))
    probabilities = keras.layers.Softmax(name='probabilities', dtype='float32')(logits)
    self._model = keras.Model(model.input, (appearance, probabilities), name='regions')

  def __call__(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
    """Maps float32 [n, size, size, 3] to (appearance [n, 2048], probabilities [n, classes])."""
    return tuple(output.numpy() for output in self._model(images, training=False))


def write(
  folder: str | os.PathLike[str], images: Iterable[tuple[str, Regions]], tags: bool = True
) -> dict[str, int]:
  """Writes features and tags in the official layout; see the top of this file.

  Args:
    folder: created if absent; files of the same names are replaced.
    images: (key, `Regions`) of each image.
    tags: whether the regions have tags; if not, `predictions.tsv` is not written.

  Returns:
    {key: row}

  Raises:
    ValueError: a key comes twice; neither TSV file is written then.
  """
  os.makedirs(folder, exist_ok=True)
  rows: dict[str, int] = {}
  labels_file = os.path.join(folder, 'predictions.tsv')
  with (
    tsv.TsvWriter(os.path.join(folder, 'features.tsv')) as regions,
    tsv.TsvWriter(labels_file) if tags else contextlib.nullcontext() as labels,
  ):
    for key, image in images:
      if key in rows:
        raise ValueError(f'{folder}: image {key!r} comes twice; images are named by their files.')
      rows[key] = len(rows)
      regions.write(key, len(image.features), features.encode(image.features))
      if labels is not None:
        size = {'image_h': image.height, 'image_w': image.width, 'num_boxes': len(image.features)}
        labels.write(key, json.dumps({**size, 'objects': image.objects()}))
  files.write_json(os.path.join(folder, 'imageid2idx.json'), rows, indent=None)
  return rows
