"""Recipes against the script's settings, the paper's tables and the official code."""
import dataclasses
import math

import numpy as np
import pytest

from resnext import main, network_params
from resnext.recipes import AUGMENTATIONS, RECIPES
from tests import recipe_checks
from tpu_utils import config, schedules
from tpu_utils.images.spec import Augmentation, with_advprop

GROUPS = (
  main.ModelConfig,
  config.DataConfig,
  config.OptimizationConfig,
  config.FineTuningConfig,
  config.JobConfig,
  config.HardwareConfig,
)
LIKE_IMAGENET = ('imagenet', 'imagenet_101', 'imagenet_101_64x4d', 'imagenet_5k')
IMAGES, IMAGES_5K = 1281167, 6_800_000


@pytest.mark.parametrize('name', RECIPES)
def test_settings_and_command_are_those_of_the_script(name):
  recipe = RECIPES[name]
  recipe_checks.check_settings(recipe, GROUPS)
  recipe_checks.check_command(recipe, recipe_checks.fields_of(GROUPS))
  recipe_checks.check_texts(recipe)
  network_params.from_name(recipe.settings.get('model_name', 'resnext-50-32x4d'))


def test_every_recipe_except_digits_has_an_augmentation():
  assert set(RECIPES) - set(AUGMENTATIONS) == {'digits', 'digits_tuned'}
  imagenet = Augmentation(**AUGMENTATIONS['imagenet'])
  assert (imagenet.random_crop, imagenet.color_jitter, imagenet.lighting) == ('torch', 0.4, 0.1)
  cifar = Augmentation(**AUGMENTATIONS['cifar'])
  assert (cifar.random_crop, cifar.padding, cifar.color_jitter) == ('padded', 4, 0)


@pytest.mark.parametrize('name', LIKE_IMAGENET)
def test_imagenet_trains_for_the_steps_of_100_epochs(name):
  settings = RECIPES[name].settings
  epochs = settings['train_steps'] * settings['train_batch_size'] / IMAGES
  assert epochs == pytest.approx(100, abs=1e-3)
  images = settings.get('num_train_images', IMAGES)
  drops = [float(epoch) * images / IMAGES for epoch in settings['lr_step_epochs'].split(',')]
  assert drops == pytest.approx([30, 60, 90], abs=2e-3)


@pytest.mark.parametrize('name', [name for name in RECIPES if 'cifar' in name])
def test_cifar_trains_for_300_epochs_at_a_rate_of_a_tenth(name):
  settings = RECIPES[name].settings
  batch, images = settings['train_batch_size'], settings['num_train_images']
  assert settings['train_steps'] * batch / images == pytest.approx(300, abs=0.003)
  assert settings['steps_per_eval'] == math.ceil(images / batch)
  assert settings['base_learning_rate'] * settings['train_batch_size'] / 256 == 0.1


def test_settings_are_those_of_the_paper_and_the_official_code():
  rows = recipe_checks.paper_table('resnext', 'Training settings ImageNet')
  paper = {row['item']: row['value'] for row in rows}
  rows = recipe_checks.paper_table('resnext', 'Official code defaults')
  code = {row['item']: row['value'] for row in rows}
  settings = RECIPES['imagenet'].settings
  assert settings['train_batch_size'] == paper['batch']
  assert settings['base_learning_rate'] == paper['lr'] == code['LR']
  assert settings['weight_decay'] == paper['weight_decay'] == code['weightDecay']
  assert settings['nesterov'] is code['nesterov']
  rows = recipe_checks.paper_table('resnext', 'CIFAR / COCO settings (appendix)')
  appendix = {row['item']: row['value'] for row in rows}
  settings = RECIPES['cifar'].settings
  assert settings['train_batch_size'] == appendix['cifar batch']
  assert settings['weight_decay'] == appendix['cifar weight_decay']
  assert settings['lr_step_epochs'] == appendix['cifar lr drops at epochs'].replace(' ', '')


def _rate(recipe, epoch):
  """Returns the learning rate in the middle of an epoch, counted from 1."""
  settings = {'num_train_images': IMAGES, **recipe.settings}
  steps_per_epoch = settings['num_train_images'] / settings['train_batch_size']
  schedule = schedules.build_learning_rate(
    settings['base_learning_rate'] * settings['train_batch_size'] / 256,
    steps_per_epoch=steps_per_epoch,
    lr_decay_type=settings['lr_schedule'],
    decay_factor=settings['lr_decay_factor'],
    total_steps=settings['train_steps'],
    warmup_epochs=settings['lr_warmup_epochs'],
    step_epochs=tuple(float(epoch) for epoch in settings['lr_step_epochs'].split(',')),
  )
  return float(schedule(int((epoch - 0.5) * steps_per_epoch)))


@pytest.mark.parametrize('epoch', [1, 30, 31, 60, 61, 90, 91, 100])
def test_imagenets_learning_rate_follows_train_lua(epoch):
  official = 0.1 * 0.1 ** ((epoch - 1) // 30)
  assert _rate(RECIPES['imagenet'], epoch) == pytest.approx(official, rel=1e-5)


@pytest.mark.parametrize('epoch', [1, 147, 148, 222, 223, 300])
def test_cifars_learning_rate_follows_train_lua(epoch):
  share = epoch / 300
  official = 0.1 * 0.1 ** (2 if share > 0.74 else 1 if share > 0.49 else 0)
  assert _rate(RECIPES['cifar_torch'], epoch) == pytest.approx(official, rel=1e-5)


def test_expected_errors_are_those_of_the_papers_tables():
  row = recipe_checks.row_of('resnext', 'Table 3', model='ResNeXt-50', setting='32x4d')
  assert f'{row["top1_error"]} % top-1' in RECIPES['imagenet'].expects
  for name, setting in (('imagenet_101', '32x4d'), ('imagenet_101_64x4d', '64x4d')):
    row = recipe_checks.row_of('resnext', 'Table 4', model='ResNeXt-101', setting=setting)
    text = f'{row["top1_error"]} % top-1, {row["top5_error"]} % top-5'
    assert text in RECIPES[name].expects
  for model in ('ResNeXt-50', 'ResNeXt-101'):
    row = recipe_checks.row_of('resnext', 'Table 6', model=model)
    expected = recipe_checks.numbers(RECIPES['imagenet_5k'].expects)
    assert {row['top1_5k'], row['top5_5k']} <= set(expected)
  names_of = {8: ('cifar', 'cifar_preactivation'), 16: ('cifar_16x64d', 'cifar_torch')}
  for paths, names in names_of.items():
    row = recipe_checks.row_of('resnext', 'Table 7', model=f'ResNeXt-29 {paths}x64d')
    for name in names:
      assert f'{row["cifar10"]} %' in RECIPES[name].expects
    assert f'({paths}x64d) {row["cifar100"]} %' in RECIPES['cifar100'].expects


def test_costs_follow_from_the_seconds_that_the_paper_states():
  days = RECIPES['imagenet'].settings['train_steps'] / 86400
  rows = recipe_checks.paper_table('resnext', 'Training cost (Sec. 5.1)')
  seconds = {row['model']: row['seconds'] for row in rows}
  assert f'{seconds["ResNeXt-101 32x4d"] * days:.1f} days' in RECIPES['imagenet_101'].cost
  assert seconds['ResNeXt-101 64x4d'] * days == pytest.approx(10, abs=0.2)  # As the paper says.
  of_50 = seconds['ResNeXt-101 32x4d'] * 4.23 / 7.97  # Multiply-adds: goldens/resnext.
  assert f'{of_50 * days:.1f} days' in RECIPES['imagenet'].cost


def test_every_recipe_is_in_the_readme():
  assert recipe_checks.readme_names('resnext') == list(RECIPES)


def test_the_readme_has_the_published_results():
  recipe_checks.check_readme_numbers('resnext', RECIPES)


def test_cifar_100_is_normalised_with_its_own_statistics():
  """Official code, datasets/cifar10.lua and cifar100.lua."""

  def spec(**given):
    model = main.SCRIPT.resolve({'data_dir': 'x', **given}).get(main.ModelConfig)
    return main.resolve_model(model).spec

  assert spec(recipe='cifar').mean_rgb == (125.3, 123.0, 113.9)
  assert spec(recipe='cifar').stddev_rgb == (63.0, 62.1, 66.7)
  assert spec(recipe='cifar100').mean_rgb == (129.3, 124.1, 112.4)
  assert spec(recipe='cifar100').stddev_rgb == (68.2, 65.4, 70.4)


def test_normalization_reaches_the_model():
  model = main.SCRIPT.resolve({'data_dir': 'x', 'recipe': 'cifar100'}).get(main.ModelConfig)
  resolved = main.resolve_model(model)
  small = dataclasses.replace(model, model_name='resnext-11-2x8d', width=8, stem_width=8)
  network = resolved.build(small, resolved.spec, 100, advprop=False)
  layer = network.get_layer('normalization')
  np.testing.assert_allclose(np.ravel(layer.scale), 1 / np.array([68.2, 65.4, 70.4]), rtol=1e-6)
  # AdvProp's scaling replaces it.
  spec = with_advprop(resolved.spec)
  advprop = resolved.build(small, spec, 100, advprop=True)
  np.testing.assert_allclose(np.ravel(advprop.get_layer('normalization').scale), [2 / 255] * 3)
  with pytest.raises(ValueError, match='normalization.*did you mean cifar10'):
    main.SCRIPT.resolve({'normalization': 'cifar'})
