"""MNIST's files: what is read, and one line for damaged ones."""
import gzip

import numpy as np
import pytest
import tensorflow as tf

from tests.tpu_utils.images import mnist_files
from tests.tpu_utils.images.mnist_files import idx, images
from tpu_utils.images import decoding
from tpu_utils.images.sources import idx_files, open_dataset

IMAGES, LABELS = 'train-images-idx3-ubyte', 'train-labels-idx1-ubyte'


@pytest.fixture
def folder(tmp_path):
  mnist_files.write(tmp_path)
  return tmp_path


def test_images_and_labels(folder):
  data = open_dataset(str(folder))
  assert isinstance(data, idx_files.IdxFiles) and data.num_classes == 4
  assert [len(data.open(split)) for split in ('train', 'validation')] == [7, 3]
  source = data.open('train')
  read = source.read(tf.constant(2, tf.int64), tf.constant(5, tf.int64))
  examples = [(int(n), *source.parse(n, encoded)) for n, encoded in read]
  assert [(n, int(label)) for n, _, label in examples] == [(2, 2), (3, 3), (4, 2)]
  for n, encoded, _ in examples:
    pixels = decoding.decode(encoded)
    np.testing.assert_array_equal(pixels, np.repeat(images(7)[n][..., None], 3, axis=-1))
    assert source.read_one(n) == encoded.numpy()
  assert source.where(2) == f'{folder}/{IMAGES}.gz, image 2'
  assert not source.portable


@pytest.mark.parametrize('flag', ['holdout_shards', 'holdout_fraction', 'split_file'])
def test_the_images_to_evaluate_on_are_those_of_the_files(folder, flag):
  with pytest.raises(ValueError, match=rf"--{flag}=.* MNIST's files have some \(t10k-\*\)"):
    open_dataset(str(folder), **{flag: 0.5})


@pytest.mark.parametrize(
  'name, content, message',
  [
    (LABELS, idx([0, 1]), 'has 7 images and its file of labels 2'),
    (LABELS, idx([]), 'has no labels'),
    (LABELS, idx([0] * 7)[:-1], 'its header announces 7 values, and 6 follow'),
    (LABELS, idx([0] * 7) + b'0', 'its header announces 7 values, and more follow'),
    (LABELS, b'\0\0\x0d\x01' + bytes(8), 'begins with 00 00 0d 01, expected 00 00 08 01'),
    (LABELS, b'', 'cannot be read as an IDX file'),
    (f'{IMAGES}.gz', b'no gzip', 'cannot be read as an IDX file'),
    (f'{IMAGES}.gz', gzip.compress(idx(images(7)))[:-30], 'cannot be read as an IDX file'),
    (f'{IMAGES}.gz', gzip.compress(b'\0\0\x08\x03' + b'\xff' * 12), 'bytes of memory from'),
    ('t10k-labels-idx1-ubyte.gz', gzip.compress(idx([9, 0, 1])), 'has the label 9; the training'),
  ],
)
def test_damaged_files_are_named_in_one_line(folder, name, content, message):
  (folder / name).write_bytes(content)
  with pytest.raises(ValueError, match=message) as error:
    data = open_dataset(str(folder))
    for split in ('train', 'validation'):
      data.open(split)
  assert '\n' not in str(error.value) and str(folder) in str(error.value)


def test_missing_files_are_named(folder):
  (folder / 't10k-labels-idx1-ubyte.gz').unlink()
  with pytest.raises(FileNotFoundError, match='lacks t10k-labels-idx1-ubyte or t10k-labels'):
    open_dataset(str(folder)).open('validation')
