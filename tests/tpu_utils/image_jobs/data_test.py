"""From flags to inputs: the data set, its sizes and classes."""
import json

import pytest

from tests.tpu_utils.images import small_sets
from tpu_utils import config
from tpu_utils.command_line import settings
from tpu_utils.image_jobs import data as image_data
from tpu_utils.images import digits, prepare
from tpu_utils.images.fake_input import FakeInput
from tpu_utils.images.sources import interface
from tpu_utils.images.spec import PreprocessSpec


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return small_sets.image_folder(tmp_path_factory.mktemp('folder'))


def given(facts=None, **flags):
  """Returns the settings of a user who gave these flags."""
  return settings.resolve((config.DataConfig,), flags, facts=facts)


def with_data(mode, **flags):
  """Returns (data set, DataConfig with the sizes of the data)."""
  dataset, resolved = image_data.with_data(given(**flags), mode)
  return dataset, resolved[0]


def counts(data):
  return data.num_train_images, data.num_eval_images, data.num_label_classes


def test_counts_come_from_the_data(folder, capsys):
  _, data = with_data('train_and_eval', data_dir=str(folder))
  assert counts(data) == (37, 23, 3)
  assert capsys.readouterr().out == (
    f'{folder}: --num_train_images=37 --num_eval_images=23 --num_label_classes=3\n'
  )


def test_given_counts_stay(folder, capsys):
  _, data = with_data('train', data_dir=str(folder), num_train_images=99, num_label_classes=5)
  assert counts(data) == (99, 50000, 5)
  assert not capsys.readouterr().out


def test_the_classes_of_a_checkpoints_job_stay(folder):
  resolved = given({'num_label_classes': 4}, data_dir=str(folder))
  _, resolved = image_data.with_data(resolved, 'eval')
  assert counts(resolved[0]) == (1281167, 23, 4)


@pytest.mark.parametrize(
  'mode, expected',
  [
    ('train', (37, 50000, 3)), ('eval', (1281167, 23, 3)), ('export', (1281167, 50000, 3)),
    ('predict', (1281167, 23, 3)),
  ],
)  # fmt: skip
def test_only_the_splits_of_the_mode_are_counted(folder, mode, expected):
  assert counts(with_data(mode, data_dir=str(folder))[1]) == expected


def test_open_data_returns_what_it_counted(folder):
  dataset, sizes = image_data.open_data(config.DataConfig(data_dir=str(folder)), 'train')
  assert sizes == {'num_train_images': 37, 'num_label_classes': 3} and dataset.num_classes == 3


def test_an_export_of_known_classes_needs_no_data():
  dataset, data = with_data('export', data_dir='/no/where', num_label_classes=7)
  assert dataset is None and data.num_label_classes == 7
  with pytest.raises(ValueError, match='/no/where is not a folder'):
    with_data('export', data_dir='/no/where')


def test_fewer_classes_than_in_the_data_are_refused(folder):
  message = f'--num_label_classes=2, but {folder} has 3 classes; leave the flag out'
  with pytest.raises(ValueError, match=message):
    with_data('train', data_dir=str(folder), num_label_classes=2)


def test_digits():
  dataset, data = with_data('train_and_eval', num_label_classes=10)
  assert counts(data) == (digits.NUM_TRAIN_IMAGES, digits.NUM_EVAL_IMAGES, 10)
  images = image_data.make_input(PreprocessSpec(8), data, dataset)
  assert images.augmentation == digits.AUGMENTATION


@pytest.mark.parametrize('name', ['fake', 'null'])
def test_the_fake_input(name):
  dataset, data = with_data('train_and_eval', data_dir=name)
  assert counts(data) == (1281167, 50000, 1000)
  assert isinstance(image_data.make_input(PreprocessSpec(8), data, dataset), FakeInput)


def test_settings_reach_the_input(folder):
  dataset, data = with_data(
    'train', data_dir=str(folder), use_cache=True, decoded_cache_gb=0.5, max_bad_records=2,
    train_batch_size=4, transpose_input=False,
  )  # fmt: skip
  images = image_data.make_input(PreprocessSpec(8), data, dataset, seed=5, use_bfloat16=True)
  assert (images.use_cache, images.decoded_cache_gb) == (True, 0.5)
  assert (images.bad_records.limit, images.seed) == (2, 5)
  assert images.train_dataset().element_spec['images'].shape == [4, 8, 8, 3]
  assert images.augmentation.flip and images.num_label_classes == 3


@pytest.mark.parametrize(
  'flag, value, off',
  [
    ('use_cache', True, '--nouse_cache'),
    ('decoded_cache_gb', 1.0, '--decoded_cache_gb=0'),
    ('max_bad_records', 1, '--max_bad_records=0'),
  ],
)
def test_settings_that_the_data_service_refuses(flag, value, off):
  with pytest.raises(ValueError, match=f'--{flag} works only .* add {off}'):
    given(tf_data_service='local', **{flag: value})


def test_fractions_are_fractions():
  with pytest.raises(ValueError, match='--holdout_fraction=1.0 must lie between 0 and 1'):
    given(holdout_fraction=1.0)


def test_every_kind_of_data_names_its_classes(folder, tmp_path, capsys):
  shards = tmp_path / 'shards'
  prepare.SCRIPT.call([f'--input_dir={folder}', f'--output_dir={shards}', '--num_processes=1'])
  sets = small_sets.tfds_set(tmp_path / 'tfds')
  flags = [{'data_dir': folder}, {'data_dir': str(shards)}]
  flags.append({'dataset': 'trees', 'tfds_data_dir': sets})
  for given_flags in flags:
    dataset, sizes = image_data.open_data(given(**given_flags)[0], 'train')
    assert tuple(dataset.class_names) == small_sets.CLASS_NAMES and sizes['num_label_classes'] == 3
  assert image_data.open_data(given()[0], 'train')[0].class_names == digits.NAMES
  plain = small_sets.shards(tmp_path / 'plain')
  assert image_data.open_data(given(data_dir=plain)[0], 'train')[0].class_names is None


def test_data_of_1001_classes_have_no_background():
  class Many(interface.DataSet):
    num_classes = 1001

  data = config.DataConfig(data_dir='x', num_label_classes=1001)
  assert not image_data.make_input(PreprocessSpec(8), data, Many()).include_background_label
  Many.num_classes = 1000
  assert image_data.make_input(PreprocessSpec(8), data, Many()).include_background_label


def check_length(images, batch, steps, **flags):
  values = {'num_train_images': images, 'train_batch_size': batch, 'train_steps': steps}
  groups = (config.DataConfig, config.JobConfig)
  resolved = settings.resolve(groups, flags, presets=[values])
  image_data.check_length(resolved, 'photographs')


@pytest.mark.parametrize('images, batch, steps, fit', [
  (120, 2048, 218949, '--train_batch_size=16 --train_steps=750'),
  (3, 256, 20000, '--train_batch_size=1 --train_steps=300'),
  (400, 256, 20000, '--train_steps=157'),
])  # fmt: skip
def test_sizes_of_a_recipe_for_large_data_sets_are_refused(images, batch, steps, fit):
  with pytest.raises(ValueError, match=f'photographs has {images} training .* such as {fit}, or'):
    check_length(images, batch, steps)
  flags = dict(flag.strip('-').split('=') for flag in fit.split())
  check_length(images, batch, steps, **{name: int(value) for name, value in flags.items()})
  check_length(images, batch, steps, train_batch_size=batch, train_steps=steps)  # As asked for.


def test_usual_sizes_are_not_refused():
  check_length(1281167, 2048, 218949)
  check_length(1437, 64, 660)


def test_given_steps_are_kept_in_the_advice():
  with pytest.raises(ValueError, match='such as --train_batch_size=16, or'):
    check_length(120, 2048, 10, train_steps=10)


class TestDivision:
  """Sets without images to evaluate on."""

  @pytest.fixture
  def undivided(self, tmp_path):
    return small_sets.image_folder(tmp_path / 'data', {'train': 37})

  def opened(self, mode, model_dir, **flags):
    groups = (config.DataConfig, config.JobConfig)
    resolved = settings.resolve(groups, {'model_dir': str(model_dir), **flags})
    return image_data.with_data(resolved, mode)

  def test_a_fifth_is_held_out_and_recorded(self, undivided, tmp_path, capsys):
    dataset, resolved = self.opened('train_and_eval', tmp_path / 'run', data_dir=undivided)
    assert counts(resolved[0]) == (30, 7, 3)
    assert resolved[0].split_file == f'{tmp_path}/run/split.json'
    assert len(dataset.split_record['validation']) == 7
    assert '7 of its 37 are held out' in capsys.readouterr().out

  def test_the_record_of_the_job_comes_first(self, undivided, tmp_path, capsys):
    record = {'validation': ['ash/000.png', 'birch/001.png']}
    (tmp_path / 'split.json').write_text(json.dumps(record))
    for mode, expected in (
      ('train_and_eval', (35, 2, 3)), ('train', (35, 50000, 3)), ('eval', (1281167, 2, 3)),
    ):  # fmt: skip
      dataset, resolved = self.opened(mode, tmp_path, data_dir=undivided)
      assert counts(resolved[0]) == expected and dataset.split_record is None
    assert f'images are held out as {tmp_path}/split.json says' in capsys.readouterr().out

  def test_training_alone_takes_all_and_evaluation_alone_does_not_divide(self, undivided, tmp_path):
    dataset, resolved = self.opened('train', tmp_path, data_dir=undivided)
    assert counts(resolved[0])[0] == 37 and dataset.split_record is None
    with pytest.raises(ValueError, match='has no validation images: make the folder'):
      self.opened('eval', tmp_path, data_dir=undivided)

  def test_flags_that_divide_the_images(self, undivided, tmp_path):
    path = tmp_path / 'mine.json'
    path.write_text('{"validation": ["ash/000.png"]}')
    flags = {'data_dir': undivided, 'split_file': str(path)}
    assert counts(self.opened('train_and_eval', tmp_path, **flags)[1][0]) == (36, 1, 3)
    with pytest.raises(ValueError, match='two ways to divide the images; give one'):
      self.opened('train', tmp_path, holdout_fraction=0.1, **flags)
    for data in ({}, {'dataset': 'trees'}, {'data_dir': small_sets.shards(tmp_path / 'shards')}):
      with pytest.raises(ValueError, match='--split_file=.* is for image folders'):
        self.opened('train', tmp_path, split_file=str(path), **data)

  def test_sets_of_tfds(self, tmp_path, capsys):
    place = small_sets.tfds_set(tmp_path / 'tfds', splits={'train': 37})
    flags = {'dataset': 'trees', 'tfds_data_dir': place}
    _, resolved = self.opened('train_and_eval', tmp_path / 'run', **flags)
    assert counts(resolved[0]) == (30, 7, 3) and resolved[0].holdout_fraction == 0.2
    assert 'the last fifth of its training images is held out' in capsys.readouterr().out


@pytest.mark.parametrize(
  ('flags', 'range_'), [({}, (0.08, 1.0)), ({'random_crop_area': 0.35}, (0.35, 1.0))]
)
def test_area_of_random_crops(folder, flags, range_):
  dataset, data = with_data('train', data_dir=str(folder), train_batch_size=4, **flags)
  images = image_data.make_input(PreprocessSpec(8), data, dataset)
  assert images.augmentation.area_range == range_
