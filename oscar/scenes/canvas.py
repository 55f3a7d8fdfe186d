"""Pictures of scenes: real handwritten digits, coloured, on a dark canvas."""

import numpy as np
import tensorflow as tf
from PIL import Image

from oscar.scenes import graph
from tpu_utils.images import digits, tfrecords

SPLITS = {'train': 'train', 'val': 'validation'}  # Of the scenes: of the digits.
_INK_FROM = 30  # Darker pixels (of 0..240) don't count when a digit's box is drawn around its ink.
_RECORD = {
  'image/encoded': tf.io.FixedLenFeature([], tf.string),
  'image/class/label': tf.io.FixedLenFeature([], tf.int64),
}


def read_inks(split):
  """The embedded handwritten digits of a split, cut to their ink.

  Args:
    split: 'train' or 'val'; they have no digit in common.

  Returns:
    {digit's name: [uint8 [height, width], 0..240]}
  """
  inks = {name: [] for name in digits.NAMES}
  for record in tf.data.TFRecordDataset(tfrecords.find_shards(digits.DATA_DIR, SPLITS[split])):
    example = tf.io.parse_single_example(record, _RECORD)
    pixels = tf.io.decode_png(example['image/encoded'], channels=1).numpy()[..., 0]
    rows, columns = (np.flatnonzero((pixels >= _INK_FROM).any(axis=axis)) for axis in (1, 0))
    label = int(example['image/class/label']) - 1  # ImageNet's labels begin at 1.
    inks[digits.NAMES[label]].append(pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
  return inks


def paint(scene, inks):
  """The picture of a scene: uint8 [HEIGHT, WIDTH, 3]."""
  canvas = np.empty((graph.HEIGHT, graph.WIDTH, 3), np.float32)
  canvas[:] = scene.background
  for thing in scene.things:
    x1, y1, x2, y2 = thing.box
    ink = Image.fromarray(inks[thing.digit][thing.sample])
    ink = np.asarray(ink.resize((x2 - x1, y2 - y1), Image.Resampling.BICUBIC), np.float32)
    cover = (ink / 240)[..., None].clip(0, 1)
    patch = canvas[y1:y2, x1:x2]
    canvas[y1:y2, x1:x2] = cover * np.float32(thing.rgb) + (1 - cover) * patch
  return canvas.round().astype(np.uint8)
