"""Tests which data set the flags select, and the errors for contradictions."""
import pytest

from tests.tpu_utils.images import small_sets
from tpu_utils.images.sources import open_dataset
from tpu_utils.images.sources.image_folder import ImageFolder
from tpu_utils.images.sources.shards import Shards


def test_the_default_is_the_digits():
  data = open_dataset()
  assert data.num_classes == 10
  assert [len(data.open(split)) for split in ('train', 'validation')] == [1442, 355]
  assert len(open_dataset(holdout_shards=1).open('train')) < 1442


def test_the_contents_of_a_folder_decide(tmp_path):
  assert isinstance(open_dataset(small_sets.shards(tmp_path / 'a')), Shards)
  folder = small_sets.image_folder(tmp_path / 'b')
  assert isinstance(open_dataset(folder), ImageFolder)
  # A class may have the name of a shard.
  (tmp_path / 'b' / 'train').rename(tmp_path / 'c')
  (tmp_path / 'c' / 'ash').rename(tmp_path / 'c' / 'train-station')
  assert open_dataset(str(tmp_path / 'c')).class_names == ['birch', 'cedar', 'train-station']


@pytest.mark.parametrize(
  'arguments, message',
  [
    (
      {'data_dir': 'x', 'dataset': 'cifar10'},
      '--dataset=cifar10 and --data_dir=x are two data sets',
    ),
    ({'dataset': 'cifar10', 'holdout_shards': 3}, '--holdout_shards=3 is for TFRecord shards'),
    ({'tfds_data_dir': 'x'}, '--tfds_data_dir=x is for --dataset'),
    ({'eval_split': 'test'}, '--eval_split=test is for --dataset'),
    ({'holdout_fraction': 0.1}, '--holdout_fraction=0.1 is for TFDS sets and image folders'),
    ({'data_dir': 'nowhere'}, '--data_dir=nowhere is not a folder'),
  ],
)
def test_contradictions(arguments, message):
  with pytest.raises(ValueError) as error:
    open_dataset(**arguments)
  assert str(error.value).startswith(message) and '\n' not in str(error.value)


@pytest.mark.parametrize(
  'kind, flag', [('shards', 'holdout_fraction'), ('image_folder', 'holdout_shards')]
)
def test_a_holdout_flag_for_other_storage(tmp_path, kind, flag):
  with pytest.raises(ValueError, match=f'--{flag}=1 is for'):
    open_dataset(getattr(small_sets, kind)(tmp_path), **{flag: 1})


def test_a_folder_without_shards_or_images(tmp_path):
  with pytest.raises(
    ValueError, match=r'neither TFRecord shards named train-\* .* \(it is empty\)'
  ):
    open_dataset(str(tmp_path))
  (tmp_path / 'notes.txt').write_text('')
  with pytest.raises(ValueError, match=r'\(it holds notes.txt\); write shards with python -m'):
    open_dataset(str(tmp_path))
