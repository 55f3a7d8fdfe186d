"""Wrong pairs for retrieval: another image's caption, or another image with its tags.

Source: microsoft/Oscar, `__getitem__` of oscar/run_retrieval.py.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from oscar.datasets import region_files
from oscar.input import masking

DRAWS = 3  # Numbers that one wrong pair takes: other image, kind of pair, caption.


class Negatives(NamedTuple):
  """The wrong pairs of a batch.

  Attributes:
    is_caption: bool [batch]: a wrong caption; else a wrong image.
    caption: int64 [batch], number of the caption.
    image: int64 [batch], number of the image.
  """

  is_caption: tf.Tensor
  caption: tf.Tensor
  image: tf.Tensor


def other_than(own: tf.Tensor, draws: tf.Tensor, count: int | tf.Tensor) -> tf.Tensor:
  """Draws uniformly among `count` numbers without the own one; the own one if there is no other.

  Args:
    own: int64 [batch].
    draws: float64 [batch] in [0, 1).
    count: number of the numbers.

  Returns:
    int64 [batch].
  """
  count = tf.cast(count, tf.int64)
  chosen = masking.index_of(draws, count - 1)
  return tf.minimum(chosen + tf.cast(chosen >= own, tf.int64), count - 1)


def choose(
  caption: tf.Tensor,
  draws: tf.Tensor,
  num_images: int,
  captions_per_image: int,
  other_image: tf.Tensor | None = None,
) -> Negatives:
  """Chooses a wrong pair for each right one: half with another caption, half with another image.

  Captions are numbered image by image.

  Args:
    caption: int64 [batch], the caption of each right pair.
    draws: float64 [batch, DRAWS] in [0, 1).
    num_images: images to choose from, at least two.
    captions_per_image: captions of each.
    other_image: int64 [batch], the wrong images where they are chosen already; where it is the own
      image, the caption is wrong instead. None to choose among all.
  """
  image = caption // captions_per_image
  other = other_than(image, draws[:, 0], num_images)
  is_caption = draws[:, 1] <= 0.5
  wrong_caption = other * captions_per_image + masking.index_of(draws[:, 2], captions_per_image)
  if other_image is not None:
    is_caption |= other_image == image
    other = other_image
  return Negatives(
    is_caption,
    tf.where(is_caption, wrong_caption, caption),
    tf.where(is_caption, image, other),
  )


class HeldRegions(region_files.RegionFile):
  """The regions of some images, in memory.

  Args:
    source: the file to read them from, once.
    keys: keys of the images.
    max_img_seq_length: regions of an image to keep.

  Raises (reading):
    ValueError: an image is damaged or unknown.
  """

  def __init__(
    self, source: region_files.RegionFile, keys: Sequence[str], max_img_seq_length: int
  ) -> None:
    held = {key: np.ascontiguousarray(source[key][:max_img_seq_length]) for key in keys}
    super().__init__(source.path, held, source.dim, source.check_boxes)

  @property
  def size(self) -> int:
    """Bytes in memory."""
    return sum(regions.nbytes for regions in self._places.values())

  def _read(self, key, place):
    del key
    return place


def padded(
  regions: Sequence[np.ndarray], max_img_seq_length: int, dim: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the regions of images, cut and padded with zeros to one number.

  Args:
    regions: float32 [regions, dim] of each image.
    max_img_seq_length: number of regions.
    dim: numbers in a region.

  Returns:
    (float32 [images, max_img_seq_length, dim], int32 [images]: how many are not padding).
  """
  made = np.zeros([len(regions), max_img_seq_length, dim], np.float32)
  counts = np.zeros([len(regions)], np.int32)
  for place, own in enumerate(regions):
    kept = own[:max_img_seq_length]
    made[place, : len(kept)] = kept
    counts[place] = len(kept)
  return made, counts
