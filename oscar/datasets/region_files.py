"""Region features by image key, from the official kinds of file.

Each class is a read-only mapping {image key: float32 [regions, dim]} in the order of its file. It
holds keys and offsets only: an image's features are read, and checked, when they are asked for.
"""

import os
from collections.abc import Mapping

import numpy as np

from oscar.datasets import features, records, tsv
from tpu_utils.weights import torch_tensors


class UnknownImageError(KeyError, ValueError):
  """An image that a text speaks of has no features."""

  __str__ = ValueError.__str__  # KeyError would print the quoted form.


class RegionFile(Mapping):
  """What the kinds of file share: keys in order, a clear error for an unknown one, the checks.

  Attributes:
    path: the file.
    dim: numbers a region; None admits any width.
    check_boxes: whether the last six numbers must be the geometry of boxes inside the image.
  """

  def __init__(self, path, places, dim, check_boxes):
    self.path, self.dim, self.check_boxes = os.fspath(path), dim, check_boxes
    self._places = places

  def __len__(self):
    return len(self._places)

  def __iter__(self):
    return iter(self._places)

  def __contains__(self, key):
    return key in self._places

  def __getitem__(self, key):
    if key not in self._places:
      raise UnknownImageError(
        f'{self.path} has no features of image {key!r}; it has {len(self)} images.'
      )
    return self._read(key, self._places[key])

  def position(self, key):
    """Something to sort keys by: where the image lies in the file; -1 for unknown ones."""
    place = self._places.get(key, -1)
    return place.offset if isinstance(place, torch_tensors.StoredTensor) else place

  def where(self, key):
    """str: file and key, for an error."""
    return f'{self.path}, image {key!r}'

  def _decode(self, key, num_boxes, text):
    return features.decode(text, num_boxes, self.where(key), self.dim, self.check_boxes)


class RegionTsv(RegionFile):
  """`features.tsv`: key, number of boxes, ..., base64 (retrieval, pre-training, VQA's TSV form).

  Args:
    path: the `.tsv` file.
    index: the JSON file of {key: row}, the official `imageid2idx.json`; None reads the keys from
      the rows.
    offsets: the JSON file of {key: byte offset}, the official `..._offset_map.json`, instead.
    dim: numbers a region.
    check_boxes: as in `oscar.datasets.features.check`.
  """

  def __init__(self, path, index=None, offsets=None, dim=features.REGION_DIM, check_boxes=True):
    if offsets is not None:
      by_offset = records.read_index(offsets)
      keys = sorted(by_offset, key=by_offset.get)
      self._tsv = tsv.TsvFile(path, np.array([by_offset[key] for key in keys], np.int64))
      places = {key: row for row, key in enumerate(keys)}
    else:
      self._tsv = tsv.TsvFile(path)
      places = records.read_index(index) if index is not None else row_of_key(self._tsv)
    super().__init__(path, places, dim, check_boxes)

  def _read(self, key, row):
    columns = self._tsv[row]
    found = columns[0].decode('utf-8', 'replace')
    if found != key:
      raise ValueError(
        f'{self._tsv.where(row)} holds image {found!r}, but its index says {key!r}; the index '
        'belongs to another file.'
      )
    if len(columns) < 3:
      raise ValueError(
        f'{self.where(key)}: {len(columns)} columns, expected key, number of boxes, features; '
        'the row is cut off.'
      )
    return self._decode(key, columns[1].decode('ascii', 'replace'), columns[-1])


class CaptionRegionTsv(RegionFile):
  """`*.feature.tsv` of captioning: key, JSON {num_boxes, features}."""

  def __init__(self, path, dim=features.REGION_DIM, check_boxes=True):
    self._tsv = tsv.TsvFile(path)
    super().__init__(path, row_of_key(self._tsv), dim, check_boxes)

  def _read(self, key, row):
    record = self._tsv.json(row)
    if not isinstance(record, dict) or not {'num_boxes', 'features'} <= set(record):
      raise ValueError(
        f'{self.where(key)}: expected JSON with num_boxes and features, found '
        f'{sorted(record) if isinstance(record, dict) else type(record).__name__}.'
      )
    return self._decode(key, record['num_boxes'], record['features'])


class RegionTensors(RegionFile):
  """`*_img_frcnn_feats.pt`: a torch file of {key: tensor [regions, dim]}; keys become text."""

  def __init__(self, path, dim=features.REGION_DIM, check_boxes=True):
    tensors = torch_tensors.load(path)
    if not isinstance(tensors, dict):
      raise ValueError(
        f'{path} holds a {type(tensors).__name__}; expected a dictionary of image key to tensor.'
      )
    super().__init__(path, {str(key): value for key, value in tensors.items()}, dim, check_boxes)

  def _read(self, key, tensor):
    if not isinstance(tensor, torch_tensors.StoredTensor):
      raise ValueError(f'{self.where(key)}: a {type(tensor).__name__}; expected a tensor.')
    regions = tensor.read()
    features.check(regions, self.where(key), self.dim, self.check_boxes)
    return regions


def open_regions(stem, dim=features.REGION_DIM):
  """The regions in `STEM.tsv` if there is such a file, else in `STEM.pt`.

  Args:
    stem: path without ending, such as '.../train_img_frcnn_feats'.
    dim: numbers a region.
  """
  if not os.path.exists(stem + '.tsv'):
    return RegionTensors(stem + '.pt', dim=dim)
  offsets = stem + '_offset_map.json'
  return RegionTsv(stem + '.tsv', offsets=offsets if os.path.exists(offsets) else None, dim=dim)


def row_of_key(file):
  """{key: row} from the first column of a `TsvFile`.

  Raises:
    ValueError: a key comes twice.
  """
  rows = {}
  for row in range(len(file)):
    key = file.key(row)
    if key in rows:
      raise ValueError(f'{file.where(row)}: key {key!r} comes again; row {rows[key]} has it too.')
    rows[key] = row
  return rows
