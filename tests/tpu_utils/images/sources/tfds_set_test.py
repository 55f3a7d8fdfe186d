"""Tests TFDS sets: the features and splits used, and the errors for missing or damaged sets."""
import os

import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tests.tpu_utils.images import small_sets
from tpu_utils.images.imagenet_input import ImageNetInput
from tpu_utils.images.sources.tfds_set import TfdsSet
from tpu_utils.images.spec import PreprocessSpec


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return small_sets.tfds_set(tmp_path_factory.mktemp('tfds'))


@pytest.fixture(scope='module')
def many_splits(tmp_path_factory):
  splits = {'train': 20, 'test': 5, 'validation': 6, 'extra': 7}
  return small_sets.tfds_set(tmp_path_factory.mktemp('tfds'), splits=splits)


def one_line(make):
  with pytest.raises(ValueError) as error:
    make()
  assert '\n' not in str(error.value)
  return str(error.value)


@pytest.mark.parametrize('name', ['trees', 'trees:1.2.3', 'trees:1.*.*'])
def test_names(folder, name):
  assert len(TfdsSet(name, folder).open('train')) == 37


def test_the_split_to_evaluate_on(folder, many_splits):
  assert len(TfdsSet('trees', folder).open('validation')) == 23  # The split 'test'.
  assert len(TfdsSet('trees', many_splits).open('validation')) == 6
  assert len(TfdsSet('trees', many_splits, 'extra').open('validation')) == 7
  line = one_line(lambda: TfdsSet('trees', many_splits, 'vaildation'))
  assert 'did you mean validation?' in line and '--eval_split' in line
  assert '--holdout_fraction' in one_line(lambda: TfdsSet('trees', many_splits, 'train'))


def test_no_split_to_evaluate_on(tmp_path):
  data = TfdsSet('trees', small_sets.tfds_set(tmp_path, splits={'train': 5}))
  assert len(data.open('train')) == 5
  line = one_line(lambda: data.open('validation'))
  assert line.startswith(
    '--dataset=trees has no validation split (train); name one with --eval_split'
  )


def test_an_unknown_set_names_the_nearest(folder):
  assert "Unknown data set (--dataset) 'tree': did you mean trees" in one_line(
    lambda: TfdsSet('tree', folder)
  )
  assert 'did you mean cifar10' in one_line(lambda: TfdsSet('cifar01', folder))


def test_a_known_set_that_is_not_prepared(folder):
  line = one_line(lambda: TfdsSet('cifar10', folder))
  assert line == (
    f'--dataset=cifar10 is not prepared in {folder}, which holds trees; with network access run: '
    f'tfds build cifar10 --data_dir={folder}'
  )


def test_a_missing_version_or_configuration(folder):
  for name in ('trees:9.9.9', 'trees/tall'):
    line = one_line(lambda name=name: TfdsSet(name, folder))
    assert (
      line
      == f'--dataset={name}: {folder}/trees has no such version or configuration; it holds 1.2.3.'
    )


def test_a_missing_folder():
  assert one_line(lambda: TfdsSet('trees', '/no/where')).startswith(
    '--tfds_data_dir=/no/where is not a folder'
  )


def test_other_features_are_ignored(tmp_path):
  more = {
    'name': (tfds.features.Text(), 'x'),
    'mask': (tfds.features.LabeledImage(labels=2, shape=(4, 4, 1)), None),
  }
  more['mask'] = (more['mask'][0], tf.zeros([4, 4, 1], tf.uint8).numpy())
  folder = small_sets.tfds_set(tmp_path, **more)
  assert TfdsSet('trees', folder).num_classes == 3


def test_a_set_of_another_kind(tmp_path):
  second = {'color': (tfds.features.ClassLabel(num_classes=2), 0)}
  line = one_line(lambda: TfdsSet('trees', small_sets.tfds_set(tmp_path / 'a', **second)))
  assert (
    'is not an image classification set' in line
    and 'found the features color, image, label' in line
  )


def test_missing_and_shortened_files(tmp_path):
  folder = small_sets.tfds_set(tmp_path)
  path = f'{folder}/trees/1.2.3/trees-train.tfrecord-00000-of-00001'
  with tf.io.TFRecordWriter(path) as writer:
    writer.write(b'x')
  assert 'dataset_info.json lists 37 examples in train and its files hold 1' in one_line(
    lambda: TfdsSet('trees', folder).open('train')
  )
  with open(path, 'r+b') as file:
    file.truncate(10)
  assert one_line(lambda: TfdsSet('trees', folder).open('train')).startswith(
    f'{path}, record 0: the file ends'
  )
  os.remove(path)
  assert (
    one_line(lambda: TfdsSet('trees', folder).open('train'))
    == f'{path} is missing; copy or prepare trees again.'
  )


def test_damaged_array_records(tmp_path):
  folder = small_sets.tfds_set(tmp_path, 'array_record')
  path = f'{folder}/trees/1.2.3/trees-train.array_record-00000-of-00001'
  with open(path, 'rb') as file:
    content = bytearray(file.read())
  content[content.index(b'label') + 2] ^= 1
  with open(path, 'wb') as file:
    file.write(content)
  data = TfdsSet('trees', folder)
  images = ImageNetInput(
    data, PreprocessSpec(4), train_batch_size=37, num_label_classes=3, max_bad_records=1
  )
  next(iter(images.train_dataset()))
  assert len(images.bad_records) == 1
  with open(path, 'wb') as file:
    file.write(content[: len(content) // 2])
  assert one_line(lambda: TfdsSet('trees', folder).open('train')).startswith(
    f'{folder}/trees/1.2.3: its ArrayRecord'
  )
