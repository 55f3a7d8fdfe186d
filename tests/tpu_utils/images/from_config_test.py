"""From flags to inputs: which data, how many, how many classes."""
import pytest
from absl import flags

from tests.tpu_utils.images import small_sets
from tpu_utils import config
from tpu_utils.command_line import settings
from tpu_utils.images import digits, from_config
from tpu_utils.images.fake_input import FakeInput
from tpu_utils.images.spec import PreprocessSpec


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return small_sets.image_folder(tmp_path_factory.mktemp('folder'))


def parsed(*arguments):
  values = flags.FlagValues()
  settings.define_flags(config.DataConfig, values)
  values(['main', *arguments])
  return values


def counts(data):
  return data.num_train_images, data.num_eval_images, data.num_label_classes


def test_the_data_tell_their_counts(folder, capsys):
  values = parsed(f'--data_dir={folder}')
  _, data = from_config.open_data(values, 'train_and_eval')
  assert counts(data) == (37, 23, 3) == (values.num_train_images, values.num_eval_images, values.num_label_classes)
  assert capsys.readouterr().out == (
    f'{folder}: --num_train_images=37 --num_eval_images=23 --num_label_classes=3\n'
  )


def test_what_was_given_stays(folder, capsys):
  _, data = from_config.open_data(parsed(f'--data_dir={folder}', '--num_train_images=99', '--num_label_classes=5'), 'train')
  assert counts(data) == (99, 50000, 5)
  assert not capsys.readouterr().out


@pytest.mark.parametrize('mode, expected', [('train', (37, 50000, 3)), ('eval', (1281167, 23, 3)), ('export', (1281167, 50000, 3))])
def test_only_what_the_mode_needs_is_read(folder, mode, expected):
  assert counts(from_config.open_data(parsed(f'--data_dir={folder}'), mode)[1]) == expected


def test_an_export_of_known_classes_needs_no_data():
  dataset, data = from_config.open_data(parsed('--data_dir=/no/where', '--num_label_classes=7'), 'export')
  assert dataset is None and data.num_label_classes == 7
  with pytest.raises(ValueError, match='/no/where is no folder'):
    from_config.open_data(parsed('--data_dir=/no/where'), 'export')


def test_fewer_classes_than_the_data(folder):
  with pytest.raises(ValueError, match=f'--num_label_classes=2, but {folder} has 3 classes; leave the flag out'):
    from_config.open_data(parsed(f'--data_dir={folder}', '--num_label_classes=2'), 'train')


def test_digits():
  values = parsed('--num_label_classes=10')
  dataset, data = from_config.open_data(values, 'train_and_eval')
  assert counts(data) == (digits.NUM_TRAIN_IMAGES, digits.NUM_EVAL_IMAGES, 10)
  images = from_config.make_input(PreprocessSpec(8), data, dataset)
  assert images.augmentation == digits.AUGMENTATION


@pytest.mark.parametrize('name', ['fake', 'null'])
def test_the_null_input(name):
  dataset, data = from_config.open_data(parsed(f'--data_dir={name}'), 'train_and_eval')
  assert counts(data) == (1281167, 50000, 1000)
  assert isinstance(from_config.make_input(PreprocessSpec(8), data, dataset), FakeInput)


def test_settings_reach_the_input(folder):
  values = parsed(f'--data_dir={folder}', '--use_cache', '--decoded_cache_gb=0.5', '--max_bad_records=2', '--train_batch_size=4', '--notranspose_input')
  dataset, data = from_config.open_data(values, 'train')
  images = from_config.make_input(PreprocessSpec(8), data, dataset, seed=5, use_bfloat16=True)
  assert (images.use_cache, images.decoded_cache_gb) == (True, 0.5)
  assert (images.bad_records.limit, images.seed) == (2, 5)
  assert images.train_dataset().element_spec['images'].shape == [4, 8, 8, 3]
  assert images.augmentation.flip and images.num_label_classes == 3


@pytest.mark.parametrize(
  'flag, off',
  [
    ('--use_cache', '--nouse_cache'),
    ('--decoded_cache_gb=1', '--decoded_cache_gb=0'),
    ('--max_bad_records=1', '--max_bad_records=0'),
  ],
)
def test_what_the_service_cannot_do(flag, off):
  with pytest.raises(ValueError, match=f'{flag.split("=")[0]} works only .* add {off}'):
    from_config.open_data(parsed(flag, '--tf_data_service=local'), 'train')


def test_fractions_are_fractions():
  with pytest.raises(ValueError, match='--holdout_fraction=1.0 must lie between 0 and 1'):
    from_config.open_data(parsed('--holdout_fraction=1'), 'train')
