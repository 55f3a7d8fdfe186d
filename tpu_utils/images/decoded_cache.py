"""Decoded images in memory: what comes back each epoch is decoded once."""
import tensorflow as tf

from tpu_utils.images import preprocessing

_LOOKS = 64  # Images that are decoded to tell how many will fit.


class DecodedCache:
  """Keeps the first images that it decodes, as many as fit.

  Every image is decoded whole, kept or not: what it looks like does not depend on that, and a job that goes on,
  with nothing in memory, sees what it would have seen. Decoding only a window
  (`preprocessing.decode_and_crop`) gives the same pixels but for one case, the outer columns of a window of a JPEG
  with halved chroma: the decoder then lacks a neighbour to interpolate with.

  Args:
    source: see `sources/interface.py`.
    gigabytes: memory for pixels, in units of 1e9 bytes.

  Attributes:
    capacity: how many images are kept, and those in work besides when the last place is taken.
  """

  def __init__(self, source, gigabytes):
    self.capacity = min(len(source), int(gigabytes * 1e9 / _mean_size(source)))
    with tf.init_scope(), tf.device('/CPU:0'):
      self._kept = tf.lookup.experimental.MutableHashTable(tf.int64, tf.string, default_value='')

  def __len__(self):
    return int(self._kept.size())

  def decode(self, number, image_bytes):
    """The image: uint8 [height, width, 3].

    Args:
      number: int64 scalar, the example's in the source.
      image_bytes: string scalar, the encoded image.
    """

    def fresh():
      image = preprocessing.decode(image_bytes)
      has_room = self._kept.size() < self.capacity
      with tf.control_dependencies([tf.cond(has_room, lambda: self._keep(number, image), lambda: False)]):
        return tf.identity(image)

    kept = self._kept.lookup(number)
    image = tf.cond(tf.strings.length(kept) > 0, lambda: tf.io.parse_tensor(kept, tf.uint8), fresh)
    return tf.ensure_shape(image, [None, None, 3])

  def _keep(self, number, image):
    with tf.control_dependencies([self._kept.insert(number, tf.io.serialize_tensor(image))]):
      return tf.constant(True)


def _mean_size(source):
  """Bytes of a decoded image on average over some examples, those that can be decoded."""
  numbers = range(0, len(source), -(-len(source) // _LOOKS))
  sizes = [size for size in (_size(source, number) for number in numbers) if size]
  return sum(sizes) / max(len(sizes), 1) or 1.0


def _size(source, number):
  try:
    image_bytes, _ = source.parse(number, source.read_one(number))
    return int(tf.size(preprocessing.decode(image_bytes)))
  except (ValueError, tf.errors.InvalidArgumentError):
    return 0  # Bad examples are counted elsewhere (`bad_records`).
