"""Tests that the embedded digits are scikit-learn's, without overlap, and rebuilt exactly."""
import os

import numpy as np
import tensorflow as tf
from sklearn import datasets

from tpu_utils.images import digits


def records(split):
  paths = sorted(tf.io.gfile.glob(os.path.join(digits.DATA_DIR, f'{split}-*')))
  assert len(paths) == digits.NUM_SHARDS[split]
  return [
    tf.train.Example.FromString(record.numpy()).features.feature
    for record in tf.data.TFRecordDataset(paths)
  ]


def test_rebuilding_gives_the_same_bytes(tmp_path):
  digits.build(tmp_path)
  names = sorted(os.listdir(digits.DATA_DIR))
  assert sorted(os.listdir(tmp_path)) == names and len(names) == sum(digits.NUM_SHARDS.values())
  for name in names:
    with open(os.path.join(digits.DATA_DIR, name), 'rb') as file:
      assert file.read() == (tmp_path / name).read_bytes(), name


def test_pixels_and_labels_are_the_originals():
  original = datasets.load_digits()
  seen = []
  for features in records('train') + records('validation'):
    index = int(features['image/filename'].bytes_list.value[0][6:10])
    pixels = tf.io.decode_png(features['image/encoded'].bytes_list.value[0]).numpy()[..., 0]
    np.testing.assert_array_equal(pixels / 15, original.images[index])
    label = features['image/class/label'].int64_list.value[0]
    assert label == original.target[index] + 1
    assert features['image/class/text'].bytes_list.value[0].decode() == digits.NAMES[label - 1]
    assert features['image/height'].int64_list.value[0] == pixels.shape[0]
    assert features['image/width'].int64_list.value[0] == pixels.shape[1]
    assert features['image/format'].bytes_list.value[0] == b'PNG'
    seen.append(index)
  assert sorted(seen) == list(range(1797))


def test_splits_have_all_classes_and_share_no_image():
  train, validation = records('train'), records('validation')
  assert (len(train), len(validation)) == (digits.NUM_TRAIN_IMAGES, digits.NUM_EVAL_IMAGES)
  pixels = [
    {f['image/encoded'].bytes_list.value[0] for f in split} for split in (train, validation)
  ]
  assert not pixels[0] & pixels[1]
  for split, share in ((train, 0.8), (validation, 0.2)):
    labels = [f['image/class/label'].int64_list.value[0] for f in split]
    counts = np.bincount(labels, minlength=11)[1:]
    assert (abs(counts - 180 * share) < 6).all()
