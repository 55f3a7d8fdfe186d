"""Region features by image key, from each official file format.

Each class is a read-only mapping {image key: float32 [regions, dim]} in file order. It holds only
keys and offsets: an image's features are read and checked on access.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from oscar.datasets import detector_files, features, records, tsv
from tpu_utils import files
from tpu_utils.local_copies import local_copy
from tpu_utils.weights import torch_tensors


class UnknownImageError(KeyError, ValueError):
  """An image that a text refers to has no features."""

  __str__ = ValueError.__str__  # KeyError would show its repr.


class RegionFile(Mapping[str, np.ndarray]):
  """Base class of the file formats: key order, unknown-key errors and feature checks.

  Attributes:
    path: the file.
    dim: numbers per region; None admits any width.
    check_boxes: whether the last six numbers must be the geometry of boxes inside the image.
  """

  def __init__(
    self,
    path: str | os.PathLike[str],
    places: Mapping[str, Any],
    dim: int | None,
    check_boxes: bool,
  ) -> None:
    """`places`: {image key: position in the file, as the subclass's `_read` takes it}."""
    self.path, self.dim, self.check_boxes = os.fspath(path), dim, check_boxes
    self._places = places

  def __len__(self) -> int:
    return len(self._places)

  def __iter__(self) -> Iterator[str]:
    return iter(self._places)

  def __contains__(self, key: object) -> bool:
    return key in self._places

  def __getitem__(self, key: str) -> np.ndarray:
    if key not in self._places:
      raise UnknownImageError(
        f'{self.path} has no features of image {key!r}; it has {len(self)} images.'
      )
    return self._read(key, self._places[key])

  def position(self, key: str) -> int:
    """Returns a number that sorts keys in file order; -1 for unknown keys."""
    place = self._places.get(key, -1)
    return place.offset if isinstance(place, torch_tensors.StoredTensor) else place

  def where(self, key: str) -> str:
    """Returns file and key, for an error."""
    return f'{self.path}, image {key!r}'

  def _read(self, key: str, place: Any) -> np.ndarray:
    """Returns the checked regions of an image."""
    raise NotImplementedError

  def _decode(self, key, num_boxes, text):
    return features.decode(text, num_boxes, self.where(key), self.dim, self.check_boxes)


class RegionTsv(RegionFile):
  """`features.tsv`: key, number of boxes, ..., base64 (retrieval, pre-training, VQA's TSV form).

  Args:
    path: the `.tsv` file.
    index: JSON file of {key: row}, the official `imageid2idx.json`; None reads the keys from the
      rows.
    offsets: JSON file of {key: byte offset}, the official `..._offset_map.json`; replaces `index`
      and the `.lineidx`.
    dim: numbers per region; None admits any width.
    check_boxes: as in `oscar.datasets.features.check`.
  """

  def __init__(
    self,
    path: str | os.PathLike[str],
    index: str | os.PathLike[str] | None = None,
    offsets: str | os.PathLike[str] | None = None,
    dim: int | None = features.REGION_DIM,
    check_boxes: bool = True,
  ) -> None:
    if offsets is not None:
      by_offset = records.read_index(offsets)
      keys = sorted(by_offset, key=by_offset.__getitem__)
      self._tsv = tsv.TsvFile(path, np.array([by_offset[key] for key in keys], np.int64))
      places = {key: row for row, key in enumerate(keys)}
    else:
      self._tsv = tsv.TsvFile(path)
      places = records.read_index(index) if index is not None else row_of_key(self._tsv)
    super().__init__(path, places, dim, check_boxes)

  def _read(self, key, row):
    columns = self._tsv[row]
    stored = columns[0].decode('utf-8', 'replace')
    if stored != key:
      raise ValueError(
        f'{self._tsv.where(row)} holds image {stored!r}, but its index says {key!r}; the index '
        'belongs to another file.'
      )
    if len(columns) != 3:  # The usual number.
      detector_files.check_kind(columns, detector_files.REGIONS, self.where(key))
    if len(columns) < 3:
      raise ValueError(
        f'{self.where(key)}: {len(columns)} columns, expected key, number of boxes, features; '
        'the row is cut off.'
      )
    return self._decode(key, columns[1].decode('ascii', 'replace'), columns[-1])


class CaptionRegionTsv(RegionFile):
  """`*.feature.tsv` of captioning: key, JSON {num_boxes, features}."""

  def __init__(
    self,
    path: str | os.PathLike[str],
    dim: int | None = features.REGION_DIM,
    check_boxes: bool = True,
  ) -> None:
    self._tsv = tsv.TsvFile(path)
    super().__init__(path, row_of_key(self._tsv), dim, check_boxes)

  def _read(self, key, row):
    columns = self._tsv[row]
    if len(columns) != 2:
      detector_files.check_kind(columns, detector_files.CAPTION, self.where(key))
    record = self._tsv.json(row)
    if not isinstance(record, dict) or not {'num_boxes', 'features'} <= set(record):
      detector_files.check_kind(columns, detector_files.CAPTION, self.where(key))
      raise ValueError(
        f'{self.where(key)}: expected JSON with num_boxes and features, found '
        f'{sorted(record) if isinstance(record, dict) else type(record).__name__}.'
      )
    return self._decode(key, record['num_boxes'], record['features'])


class RegionTensors(RegionFile):
  """`*_img_frcnn_feats.pt`: a torch file of {key: tensor [regions, dim]}; keys become str.

  Raises:
    ValueError: the file holds something else.
  """

  def __init__(
    self,
    path: str | os.PathLike[str],
    dim: int | None = features.REGION_DIM,
    check_boxes: bool = True,
  ) -> None:
    records.require_file(path)
    with local_copy(path) as place:
      tensors = torch_tensors.load(place)
    if not isinstance(tensors, dict):
      raise ValueError(
        f'{path} holds a {type(tensors).__name__}; expected a dictionary {{image key: tensor}}.'
      )
    super().__init__(path, {str(key): value for key, value in tensors.items()}, dim, check_boxes)

  def _read(self, key, tensor):
    if not isinstance(tensor, torch_tensors.StoredTensor):
      raise ValueError(f'{self.where(key)}: a {type(tensor).__name__}; expected a tensor.')
    regions = tensor.read()
    features.check(regions, self.where(key), self.dim, self.check_boxes)
    return regions


def open_regions(stem: str, dim: int | None = features.REGION_DIM) -> RegionFile:
  """Opens the regions in `STEM.tsv` if that file exists, else in `STEM.pt`.

  Args:
    stem: path without ending, such as '.../train_img_frcnn_feats'.
    dim: numbers per region; None admits any width.

  Raises:
    FileNotFoundError: neither file exists.
    ValueError: damaged offsets, keys or torch file.
  """
  if not files.exists(stem + '.tsv'):
    return RegionTensors(stem + '.pt', dim=dim)
  offsets = stem + '_offset_map.json'
  return RegionTsv(stem + '.tsv', offsets=offsets if files.exists(offsets) else None, dim=dim)


def is_caption_file(path: str) -> bool:
  """Returns whether a TSV file is of the kind of `CaptionRegionTsv`, by its first row.

  Raises:
    FileNotFoundError: the file does not exist.
  """
  file = tsv.TsvFile(path)
  return len(file) > 0 and detector_files.kind_of(file[0]) == detector_files.CAPTION


def row_of_key(file: tsv.TsvFile) -> dict[str, int]:
  """Returns {key: row} from the first column of a TSV file.

  Raises:
    ValueError: a key occurs twice.
  """
  rows: dict[str, int] = {}
  for row in range(len(file)):
    key = file.key(row)
    if key in rows:
      raise ValueError(f'{file.where(row)}: key {key!r} occurs again; row {rows[key]} has it too.')
    rows[key] = row
  return rows
