"""Records of regions straight from the official files, without preparing TFRecords first."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from oscar.datasets import features, region_files

_READS_AHEAD = 8  # Records read in parallel.


class OfficialRecords:
  """Region records as `record_input.RegionRecords`, read from the official files.

  Args:
    regions: the official features, {image key: float32 [regions, region_dim]}.
    images: {field: for each record the keys of the images whose regions it joins}.
    region_dim: numbers in a region.

  Attributes:
    region_dim: numbers in a region.
    fields: names of the fields.
    failed: the first error of a damaged image that a dataset met, else None.

  Raises:
    UnknownImageError: an image has no features; names the file and the image.
    ValueError: the first image is damaged.
  """

  def __init__(
    self,
    regions: region_files.RegionFile,
    images: Mapping[str, Sequence[Sequence[str]]],
    region_dim: int = features.REGION_DIM,
  ) -> None:
    self.region_dim, self.fields = region_dim, tuple(images)
    self.failed: ValueError | None = None
    self._regions, self._images = regions, dict(images)
    _check_known(regions, (key for rows in images.values() for row in rows for key in row))
    self.check(0)

  def __len__(self) -> int:
    return len(self._images[self.fields[0]])

  def check(self, number: int) -> None:
    """Checks one record.

    Raises:
      ValueError: an image is damaged; the message names file and image.
    """
    self._encoded(number)

  def read(self, blocks: tf.data.Dataset, count: tf.Tensor) -> tf.data.Dataset:
    """Reads the regions of records; see `record_input.RegionRecords.read`."""
    numbers = blocks.flat_map(tf.data.Dataset.range)

    def fetch(number):
      values = tf.numpy_function(self._encoded_or_noted, [number], [tf.string] * len(self.fields))
      return tuple(tf.ensure_shape(value, []) for value in values)

    return numbers.map(fetch, _READS_AHEAD, deterministic=True).batch(count)

  def _encoded(self, number):
    """Returns the bytes of the regions of each field."""
    return [
      b''.join(np.ascontiguousarray(self._regions[key]).tobytes() for key in rows[int(number)])
      for rows in self._images.values()
    ]

  def _encoded_or_noted(self, number):
    try:
      # Not bytes: numpy would cut zeros off their end.
      return [np.array(data, object) for data in self._encoded(number)]
    except ValueError as error:
      self.failed = self.failed or error
      raise


def _check_known(regions, keys):
  unknown = [key for key in dict.fromkeys(keys) if key not in regions]
  if unknown:
    raise region_files.UnknownImageError(
      f'{regions.path} has no features of image {unknown[0]!r}; {len(unknown)} images of the texts '
      f'are missing in its {len(regions)}. Give the features that belong to the texts.'
    )


def grouped(
  keys: Sequence[tuple[str, ...]], regions: region_files.RegionFile
) -> tuple[list[tuple[str, ...]], np.ndarray, np.ndarray]:
  """Groups examples by their images, in the order of the first image's features in the file.

  Args:
    keys: the images of each example.
    regions: the features.

  Returns:
    (images of each record, int64 [examples] place of each example in record order, int64 [records]
    examples of each record).
  """
  images = sorted(dict.fromkeys(keys), key=lambda key: (regions.position(key[0]), key))
  record_of = {image: number for number, image in enumerate(images)}
  record = np.array([record_of[key] for key in keys], np.int64)
  return images, np.argsort(record, kind='stable'), np.bincount(record, minlength=len(images))


def failure(splits: Iterable[Any]) -> ValueError | None:
  """Returns the error of the first damaged image that datasets of `record_input.Split`s met."""
  failed = (split.records.failed for split in splits)
  return next((cause for cause in failed if cause is not None), None)
