"""A few flat images in each kind of storage, for tests.

Image n of a split has the colour n in all its pixels, and the class n modulo the number of classes.
"""
import os

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

NUM_CLASSES = 3
COUNTS = {'train': 37, 'validation': 23}
CLASS_NAMES = ('ash', 'birch', 'cedar')


def png(colour, size=4):
  """Encodes a flat grey RGB image."""
  return tf.io.encode_png(tf.fill([size, size, 3], tf.constant(colour, tf.uint8))).numpy()


def example(encoded, label):
  """Serialises an ImageNet record; None leaves a feature out."""
  features = {}
  if encoded is not None:
    features['image/encoded'] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded]))
  if label is not None:
    features['image/class/label'] = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
  return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write_shards(folder, split, shards):
  """Writes lists of serialised records as `split-00000-of-0000N`."""
  os.makedirs(folder, exist_ok=True)
  for i, records in enumerate(shards):
    path = os.path.join(folder, f'{split}-{i:05d}-of-{len(shards):05d}')
    with tf.io.TFRecordWriter(path) as writer:
      for record in records:
        writer.write(record)


def shards(folder, counts=None):
  """Writes the images as three shards for each split."""
  for split, count in (counts or COUNTS).items():
    records = [example(png(n), n % NUM_CLASSES + 1) for n in range(count)]
    write_shards(folder, split, [records[:5], records[5:-8], records[-8:]])
  return str(folder)


def image_folder(folder, counts=None):
  """Writes the images as `split/CLASS/n.png`."""
  for split, count in (counts or COUNTS).items():
    for n in range(count):
      path = os.path.join(folder, split, CLASS_NAMES[n % NUM_CLASSES], f'{n:03d}.png')
      os.makedirs(os.path.dirname(path), exist_ok=True)
      with open(path, 'wb') as file:
        file.write(png(n))
  return str(folder)


def tfds_set(folder, file_format='tfrecord', splits=None, **features):
  """Writes the images as the TFDS set `trees:1.2.3`, with the splits 'train' and 'test'.

  Args:
    folder: as --tfds_data_dir.
    file_format: of TFDS.
    splits: {name: number of images}.
    **features: further features, {name: (tfds feature, value)}.
  """
  splits = splits or {'train': COUNTS['train'], 'test': COUNTS['validation']}

  class Trees(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version('1.2.3')

    def _info(self):
      kinds = {
        'image': tfds.features.Image(shape=(None, None, 3)),
        'label': tfds.features.ClassLabel(names=list(CLASS_NAMES)),
      } | {name: kind for name, (kind, _) in features.items()}
      return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(kinds))

    def _split_generators(self, dl_manager):
      del dl_manager
      return {name: self._generate_examples(count) for name, count in splits.items()}

    def _generate_examples(self, count):
      for n in range(count):
        image = np.full((4, 4, 3), n, np.uint8)
        rest = {name: value for name, (_, value) in features.items()}
        yield n, {'image': image, 'label': n % NUM_CLASSES} | rest

  tfds.disable_progress_bar()
  Trees(data_dir=str(folder), file_format=file_format).download_and_prepare()
  return str(folder)
