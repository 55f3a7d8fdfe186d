"""The embedded data set: 1,797 handwritten digits as TFRecord shards in ImageNet's format.

The images are those of `sklearn.datasets.load_digits`: the test part of "Optical Recognition of
Handwritten Digits" (E. Alpaydin and C. Kaynak, UCI Machine Learning Repository), 8x8 pixels with
values 0..16. Stored pixels are 15 times these values, so the originals can be restored exactly.

The shards are in `DATA_DIR`; reading them needs only TensorFlow. To build them again, with
identical bytes (needs scikit-learn):

    python -m tpu_utils.images.digits
"""
import os
import struct
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.images.spec import Augmentation

if TYPE_CHECKING:
  import numpy as np

DATA_DIR = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'digits_data')
NUM_CLASSES = 10
NUM_TRAIN_IMAGES = 1442
NUM_EVAL_IMAGES = 355
NUM_SHARDS = {'train': 4, 'validation': 2}
# No mirroring, which would make other characters; large crops, since 8x8 pixels can't lose many.
AUGMENTATION = Augmentation(flip=False, area_range=(0.7, 1.0))
NAMES = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')

_LEVEL = 15  # The original values 0..16 become 0..240.
_HELD_OUT_EVERY = 5


def split(labels: Sequence[int]) -> dict[str, list[int]]:
  """Assigns images to splits: every fifth image of each class, in file order, is for validation.

  Both splits thus have all classes in the same proportions. They may share writers: the publisher
  does not say who wrote which digit.

  Args:
    labels: class indices in file order.

  Returns:
    {'train': image indices, 'validation': image indices}, in file order.
  """
  seen = [0] * NUM_CLASSES
  indices: dict[str, list[int]] = {'train': [], 'validation': []}
  for i, label in enumerate(labels):
    seen[label] += 1
    indices['train' if seen[label] % _HELD_OUT_EVERY else 'validation'].append(i)
  return indices


def build(output_dir: str | os.PathLike) -> None:
  """Writes the shards of both splits; needs scikit-learn.

  Args:
    output_dir: folder, created if missing; existing files of the same names are replaced.
  """
  from sklearn import datasets

  digits = datasets.load_digits()
  os.makedirs(output_dir, exist_ok=True)
  for name, indices in split(digits.target).items():
    shards = NUM_SHARDS[name]
    for shard in range(shards):
      records = [
        _example(i, digits.images[i].astype('uint8') * _LEVEL, int(digits.target[i]))
        for i in indices[shard::shards]
      ]
      _write(os.path.join(output_dir, f'{name}-{shard:05d}-of-{shards:05d}'), records)


def _write(path, records):
  import tensorflow as tf

  with tf.io.TFRecordWriter(path) as writer:
    for record in records:
      writer.write(record)


def _example(index, pixels, digit):
  """Serialises a tf.train.Example with the features that ImageNet's official converter writes."""
  import tensorflow as tf

  def integer(value):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

  def text(value):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

  height, width = pixels.shape
  features = {
    'image/encoded': text(grey_png(pixels)),
    'image/format': text(b'PNG'),
    'image/height': integer(height),
    'image/width': integer(width),
    'image/class/label': integer(digit + 1),  # ImageNet's labels begin at 1; 0 is the background.
    'image/class/text': text(NAMES[digit].encode()),
    'image/filename': text(b'digit_%04d.png' % index),
  }
  example = tf.train.Example(features=tf.train.Features(feature=features))
  return example.SerializeToString(deterministic=True)


def grey_png(pixels: 'np.ndarray') -> bytes:
  """Encodes a uint8 [height, width] array as an 8-bit grey PNG without compression.

  The bytes then do not depend on the version of an image library. At 64 pixels compression would
  save nothing.
  """
  height, width = pixels.shape
  rows = b''.join(b'\0' + row.tobytes() for row in pixels)  # 0: PNG filter type "none".
  header = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
  chunks = ((b'IHDR', header), (b'IDAT', zlib.compress(rows, 0)), (b'IEND', b''))
  return b'\x89PNG\r\n\x1a\n' + b''.join(
    struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    for kind, data in chunks
  )


def run(resolved: settings.Resolved) -> None:
  """Writes the shards to `DATA_DIR`."""
  del resolved
  build(DATA_DIR)
  print(f'Wrote {sum(NUM_SHARDS.values())} shards to {DATA_DIR}')


SCRIPT = Script(__doc__, (), run)


if __name__ == '__main__':
  SCRIPT.main()
