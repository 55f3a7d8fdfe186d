"""Turns an image, in any form that a caller may have it, into regions with features and tags.

An image is one of

    'cat.png'                              a picture; needs a detector
    uint8 [height, width, 3]               its pixels
    (features, tags)                       float [n, 2054] and names of objects
    float [n, 2054]                        features, for models that read no tags
    `ImageRegions`, `region_extraction.Regions`
    {'image': 'cat.png', 'boxes': [[x1, y1, x2, y2], ...]}     or 'grid': 3
    {'image_id': '42'}                     a row of the feature files of a folder
    {'features': base64 or numbers, 'num_boxes': 3, 'tags': [...] or 'objects': [{'class'}, ...]}

where the last three are the fields of JSON lines as well.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from oscar.datasets import features, records, region_extraction, region_files, tsv
from oscar.predicting import parts
from oscar.predicting.detectors import Detector, read_picture
from tpu_utils import files
from tpu_utils.errors import printable
from tpu_utils.names import check_name

SOURCES = ('image', 'image_id', 'features')  # A record has one of these.
FIELDS = (*SOURCES, 'boxes', 'grid', 'num_boxes', 'tags', 'objects')
_LOSSY = ('JPEG', 'WebP')


@dataclasses.dataclass(frozen=True)
class ImageRegions:
  """The regions of an image, as a model reads them.

  Attributes:
    features: float32 [n, dim].
    tags: text of the tags; None if unknown.
    origin: where the regions come from, in words.
  """

  features: np.ndarray
  tags: str | None
  origin: str


class FeatureFolder:
  """Features and tags by image, from the files that `oscar.region_features` writes.

  Args:
    folder: has features.tsv, and predictions.tsv if the images have tags.
    dim: numbers per region.

  Raises:
    FileNotFoundError: there is no features.tsv.
    ValueError: a file is damaged.
  """

  def __init__(self, folder: str, dim: int = features.REGION_DIM) -> None:
    index = os.path.join(folder, 'imageid2idx.json')
    self._regions = region_files.RegionTsv(
      os.path.join(folder, 'features.tsv'),
      index if files.is_file(index) else None,
      dim=dim,
      check_boxes=_has_boxes(dim),
    )
    labels = os.path.join(folder, 'predictions.tsv')
    self._labels = tsv.TsvFile(labels) if files.is_file(labels) else None
    self._rows = region_files.row_of_key(self._labels) if self._labels else {}

  def __getitem__(self, image_id: str) -> ImageRegions:
    """Returns the regions of an image.

    Raises:
      UnknownImageError: the files do not have it.
      ValueError: its row is damaged.
    """
    found = self._regions[image_id]
    return ImageRegions(found, self._tags(image_id), self._regions.where(image_id))

  def _tags(self, image_id):
    if self._labels is None:
      return None
    if image_id not in self._rows:
      raise region_files.UnknownImageError(
        f'{self._labels.path} has no tags for image {image_id!r}.'
      )
    row = self._rows[image_id]
    where = f'{self._labels.where(row)}, key {image_id!r}'
    value = self._labels.json(row)
    objects = records.field(value, 'objects', list, where) if isinstance(value, dict) else value
    return records.tags(objects, where)


class ImageReader:
  """Reads images for a model.

  Args:
    dim: numbers per region that the model takes.
    needs_tags: whether the model reads tags.
    separated: whether ';' separates tags in a text, as in the files of VQA and GQA.
    detector: for pictures, or None.
    folder: for image ids, or None.
  """

  def __init__(
    self,
    dim: int,
    needs_tags: bool,
    separated: bool,
    detector: Detector | None = None,
    folder: FeatureFolder | None = None,
  ) -> None:
    self._dim, self._needs_tags, self._separated = dim, needs_tags, separated
    self._detector, self._folder = detector, folder

  def read(self, image: Any, where: str = 'image') -> ImageRegions:
    """Returns the regions of an image in one of the forms above.

    Args:
      image: the image.
      where: its name in errors.

    Raises:
      ValueError: it has another form, width or tags than the model needs, or needs a detector.
      OSError: a file cannot be read.
    """
    found = self._read(image, where)
    if len(found.features) == 0:
      raise ValueError(f'{where}: no regions; an image needs at least one.')
    if self._needs_tags and found.tags is None:
      raise ValueError(
        f"{where}: the model reads tags, and there are none; give 'tags': [name, ...] with the "
        'features, or [] for an image without objects.'
      )
    return found

  def _read(self, image, where):
    if isinstance(image, ImageRegions):
      return self._given(image.features, image.tags, where, image.origin)
    if isinstance(image, region_extraction.Regions):
      return self._given(image.features, image.tags, where)
    if isinstance(image, Mapping):
      return self._record(image, where)
    if isinstance(image, (str, os.PathLike)):
      return self._picture(image, None, None, where)
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3:
      return self._detect(image, None, None, parts.LOSSLESS, where)
    if isinstance(image, tuple) and len(image) == 2:
      return self._given(*image, where)
    return self._given(image, None, where)

  def _record(self, record, where):
    for name in record:
      check_name(f'field in {where}', name, FIELDS)
    given = [name for name in SOURCES if name in record]
    if len(given) != 1:
      raise ValueError(f'{where}: expected one of {", ".join(SOURCES)}, found {given or "none"}.')
    admitted = {
      'image': ('boxes', 'grid'), 'image_id': (), 'features': ('num_boxes', 'tags', 'objects'),
    }[given[0]]  # fmt: skip
    for name in record:
      if name not in (*given, *admitted):
        raise ValueError(f'{where}: {name!r} does not go with {given[0]!r}; leave it out.')
    if 'image' in record:
      grid = record.get('grid')
      if grid is not None and (type(grid) is not int or not 0 <= grid <= 100):
        raise ValueError(f"{where}: 'grid' is {grid!r:.40}, expected parts per side, 0 to 100.")
      return self._picture(record['image'], record.get('boxes'), grid, where)
    if 'image_id' in record:
      if self._folder is None:
        raise ValueError(
          f'{where}: an image_id needs the folder of the feature files; give features= '
          '(--features).'
        )
      found = self._folder[str(record['image_id'])]
      return self._given(found.features, found.tags, where, found.origin)
    tags = record.get('tags')
    if 'objects' in record:
      tags = records.tags(record['objects'], f"{where}, 'objects'")
    content = record['features']
    if isinstance(content, (str, bytes)):
      count = record.get('num_boxes')
      if count is None:
        raise ValueError(f"{where}: base64 'features' need 'num_boxes', their number of regions.")
      content = features.decode(content, count, where, self._dim, _has_boxes(self._dim))
    return self._given(content, tags, where)

  def _given(self, content, tags, where, origin='features given'):
    try:
      array = np.asarray(content)
      numeric = array.dtype.kind in 'fiu'
    except ValueError:  # Rows of different lengths.
      array, numeric = np.zeros(0), False
    if not numeric:
      raise ValueError(
        f'{where}: {type(content).__name__} is no image; expected the path of a picture, its '
        f'pixels (uint8 [height, width, 3]) or features [n, {self._dim}].'
      )
    array = array.astype(np.float32)
    features.check(array, where, self._dim, _has_boxes(self._dim))
    return ImageRegions(array, self._tag_text(tags, where), origin)

  def _tag_text(self, tags, where):
    if tags is None:
      return None
    if isinstance(tags, Sequence) and not isinstance(tags, str):
      if not all(isinstance(tag, str) for tag in tags):
        raise ValueError(f'{where}: the tags are {tags!r:.60}, expected names of objects.')
      tags = ' '.join(tags)
    if not isinstance(tags, str):
      raise ValueError(f'{where}: the tags are {tags!r:.60}, expected names of objects.')
    return tags.replace(';', ' ').strip() if self._separated else tags

  def _picture(self, path, boxes, grid, where):
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
      raise ValueError(f'{where}: the picture is {path!r:.40}, expected the path of a file.')
    self._check_detector(where)
    pixels, kind, remark = read_picture(os.fspath(path))
    lossy = any(name in kind for name in _LOSSY)
    tolerance = parts.COMPRESSED if lossy else parts.LOSSLESS
    return self._detect(pixels, boxes, grid, tolerance, printable(os.fspath(path)), remark)

  def _detect(self, pixels, boxes, grid, tolerance, where, remark=''):
    self._check_detector(where)
    found, origin = self._detector.detect(pixels, boxes, grid, tolerance, where)
    return self._given(found.features, found.tags, where, f'{origin}{remark}')

  def _check_detector(self, where):
    if self._detector is None:
      raise ValueError(
        f'{where}: a picture needs a detector, for its features and tags; give detector= '
        '(--detector), such as the folder of the scenes, or give features.'
      )


def _has_boxes(dim):
  return dim != features.APPEARANCE_DIM  # Bare features have no geometry to check.
