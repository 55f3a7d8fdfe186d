"""A memory cache of decoded training images, to decode each image once rather than every epoch."""
from typing import Any

import tensorflow as tf

from tpu_utils.images import preprocessing

_SAMPLES = 64  # Images that are decoded to estimate how many will fit.


class DecodedCache:
  """Cache of the first decoded images, as many as fit into memory.

  Every image is decoded whole, cached or not, so its pixels do not depend on the cache, and a
  resumed job, which starts with an empty cache, trains on the same pixels. Decoding only a window
  (`preprocessing.decode_and_crop`) gives the same pixels except in the outer columns of a window of
  a JPEG with halved chroma, where the decoder lacks a neighbour to interpolate with.

  Args:
    source: see `sources/interface.py`.
    gigabytes: memory for pixels, in units of 1e9 bytes.

  Attributes:
    capacity: how many images are kept. Images that are being decoded when the last place is taken
      are kept in addition.
  """

  def __init__(self, source: Any, gigabytes: float):
    self.capacity = min(len(source), int(gigabytes * 1e9 / _mean_size(source)))
    with tf.init_scope(), tf.device('/CPU:0'):
      self._kept = tf.lookup.experimental.MutableHashTable(tf.int64, tf.string, default_value='')

  def __len__(self) -> int:
    return int(self._kept.size())

  def decode(self, number: tf.Tensor, image_bytes: tf.Tensor) -> tf.Tensor:
    """Returns the decoded image, uint8 [height, width, 3], from the cache if it is there.

    Args:
      number: int64 scalar, number of the example in the source.
      image_bytes: string scalar, the encoded image.
    """

    def fresh():
      image = preprocessing.decode(image_bytes)
      has_room = self._kept.size() < self.capacity
      kept = tf.cond(has_room, lambda: self._keep(number, image), lambda: False)
      with tf.control_dependencies([kept]):
        return tf.identity(image)

    cached = self._kept.lookup(number)
    is_cached = tf.strings.length(cached) > 0
    image = tf.cond(is_cached, lambda: tf.io.parse_tensor(cached, tf.uint8), fresh)
    return tf.ensure_shape(image, [None, None, 3])

  def _keep(self, number, image):
    with tf.control_dependencies([self._kept.insert(number, tf.io.serialize_tensor(image))]):
      return tf.constant(True)


def _mean_size(source):
  """Returns the mean size in bytes of some decoded images; ignores those that fail to decode."""
  numbers = range(0, len(source), -(-len(source) // _SAMPLES))
  sizes = [size for size in (_size(source, number) for number in numbers) if size]
  return sum(sizes) / max(len(sizes), 1) or 1.0


def _size(source, number):
  try:
    image_bytes, _ = source.parse(number, source.read_one(number))
    return int(tf.size(preprocessing.decode(image_bytes)))
  except (ValueError, tf.errors.InvalidArgumentError):
    return 0  # Bad examples are counted elsewhere (`bad_records`).
