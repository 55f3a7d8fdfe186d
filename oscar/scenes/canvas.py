"""Paints scenes: real handwritten digits, coloured, on a dark canvas."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from PIL import Image

from oscar.scenes import graph
from tpu_utils.images import digits, tfrecords

SPLITS = {'train': 'train', 'val': 'validation'}  # {split of the scenes: split of the digits}.
_MIN_INK = 30  # Pixels below this value (of 0..240) lie outside a digit's box.
_RECORD = {
  'image/encoded': tf.io.FixedLenFeature([], tf.string),
  'image/class/label': tf.io.FixedLenFeature([], tf.int64),
}


@functools.cache
def read_inks(split: str) -> Mapping[str, Sequence[np.ndarray]]:
  """Reads the embedded handwritten digits of a split, each cropped to its ink.

  The digits are read once in a process; the result is shared.

  Args:
    split: 'train' or 'val'; they share no digit.

  Returns:
    {digit's name: [uint8 [height, width], 0..240]}
  """
  inks: dict[str, list[np.ndarray]] = {name: [] for name in digits.NAMES}
  for record in tf.data.TFRecordDataset(tfrecords.find_shards(digits.DATA_DIR, SPLITS[split])):
    example = tf.io.parse_single_example(record, _RECORD)
    pixels = tf.io.decode_png(example['image/encoded'], channels=1).numpy()[..., 0]
    rows, columns = (np.flatnonzero((pixels >= _MIN_INK).any(axis=axis)) for axis in (1, 0))
    label = int(example['image/class/label']) - 1  # Labels start at 1, as ImageNet's.
    inks[digits.NAMES[label]].append(pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
  return inks


def paint(scene: graph.Scene, inks: Mapping[str, Sequence[np.ndarray]]) -> np.ndarray:
  """Paints a scene with the digits of `read_inks`; returns uint8 [HEIGHT, WIDTH, 3]."""
  return compose(scene, [paint_thing(thing, inks) for thing in scene.things])


def paint_thing(thing: graph.Thing, inks: Mapping[str, Sequence[np.ndarray]]) -> np.ndarray:
  """Paints the box of a thing; returns uint8 [height, width, 3], equal for equal stamps."""
  x1, y1, x2, y2 = thing.box
  stored = Image.fromarray(inks[thing.digit][thing.sample])
  resized = stored.resize((x2 - x1, y2 - y1), Image.Resampling.BICUBIC)
  opacity = (np.asarray(resized, np.float32) / 240)[..., None].clip(0, 1)
  ink, paper = (np.array(c, np.float32) for c in (graph.look(thing.stamp).rgb, graph.BACKGROUND))
  return (opacity * ink + (1 - opacity) * paper).round().astype(np.uint8)


def compose(scene: graph.Scene, patches: Sequence[np.ndarray]) -> np.ndarray:
  """Pastes the patches of a scene's things, as `paint_thing` returns them, onto the canvas."""
  width, height = scene.theme.canvas
  canvas = np.empty((height, width, 3), np.uint8)
  canvas[:] = scene.theme.background
  for thing, patch in zip(scene.things, patches, strict=True):
    x1, y1, x2, y2 = thing.box
    canvas[y1:y2, x1:x2] = patch
  return canvas
