"""Recipes: settings that the scripts accept, and the numbers of their sources."""
import dataclasses
import json
import pathlib

import numpy as np
import pytest

from efficientnet import main
from efficientnet.recipes import RECIPES
from tests import recipe_checks
from tpu_utils import config, schedules
from tpu_utils.command_line import recipes
from tpu_utils.image_jobs import evaluate

GOLDENS = pathlib.Path(__file__).parents[1] / 'goldens' / 'efficientnet'
TRAINING = (
  main.ModelConfig,
  config.DataConfig,
  config.OptimizationConfig,
  config.FineTuningConfig,
  config.JobConfig,
  config.HardwareConfig,
)
GROUPS = {
  'efficientnet.main': TRAINING,
  'efficientnet.eval_ckpt_main': (
    main.ModelConfig,
    evaluate.EvalConfig,
    evaluate.ExamplesConfig,
    evaluate.DataConfig,
  ),
}
OF_IMAGENET = [
  name
  for name, recipe in recipes.for_script(RECIPES, 'efficientnet.main').items()
  if name not in ('transfer', 'finetune', 'digits', 'digits_tuned')
]


@pytest.mark.parametrize('name', RECIPES)
def test_settings_and_command_are_those_of_the_script(name):
  recipe = RECIPES[name]
  groups = GROUPS[recipe.script]
  if name == 'digits_tuned':  # Fine-tuning needs the checkpoint that the command names.
    assert '--init_checkpoint=' in recipe.command
  recipe_checks.check_settings(recipe, groups)
  recipe_checks.check_command(recipe, recipe_checks.fields_of(groups))
  recipe_checks.check_texts(recipe)


def test_imagenet_holds_the_defaults_of_the_flags():
  fields = recipe_checks.fields_of(TRAINING)
  settings = RECIPES['imagenet'].settings
  assert settings == {flag: fields[flag].default for flag in settings}
  # It names every setting that affects training.
  learning = {field.name for field in dataclasses.fields(config.OptimizationConfig)}
  not_used = {  # With RMSProp and the exponential schedule, or off by default.
    'nesterov', 'lr_step_epochs', 'decay_batch_norm', 'lars_weight_decay', 'lars_epsilon',
    'batch_norm_batch_size', 'gradient_clip_norm', 'adaptive_gradient_clip',
    'gradient_accumulation_steps',
  }  # fmt: skip
  assert learning - not_used <= set(settings)


def test_imagenet_holds_the_official_defaults():
  rows = recipe_checks.paper_table('efficientnet', 'Official training defaults')
  official = {row['flag']: row['value'] for row in rows}
  official['base_learning_rate'] = official.pop('base_learning_rate_per_256')
  del official['approx_epochs']
  fields = recipe_checks.fields_of(TRAINING)
  known = {flag: value for flag, value in official.items() if flag in fields}
  assert len(known) > 20
  settings = RECIPES['imagenet'].settings
  assert {flag: settings.get(flag, fields[flag].default) for flag in known} == known


@pytest.mark.parametrize('name', OF_IMAGENET)
def test_training_lasts_350_epochs_and_evaluates_every_tenth(name):
  settings = RECIPES[name].settings
  epochs = settings['train_batch_size'] / settings['num_train_images']
  assert settings['train_steps'] * epochs == pytest.approx(350, abs=0.002)
  assert settings['steps_per_eval'] * epochs == pytest.approx(10, abs=0.01)
  assert settings['iterations_per_loop'] * epochs == pytest.approx(2, abs=0.01)


def test_the_learning_rate_of_imagenet_is_the_official_one():
  golden = json.loads((GOLDENS / 'lr_schedules.json').read_text())['imagenet_default']
  schedule = _schedule(RECIPES['imagenet'])
  found = [float(schedule(step)) for step in golden['steps']]
  np.testing.assert_allclose(found, golden['lr']['exponential'], rtol=1e-6)


def _schedule(recipe):
  settings = recipe.settings
  steps_per_epoch = settings['num_train_images'] / settings['train_batch_size']
  return schedules.build_learning_rate(
    settings['base_learning_rate'] * settings['train_batch_size'] / 256,
    steps_per_epoch=steps_per_epoch,
    lr_decay_type=settings['lr_schedule'],
    decay_factor=settings['lr_decay_factor'],
    decay_epochs=settings['lr_decay_epoch'],
    total_steps=settings['train_steps'],
    warmup_epochs=settings['lr_warmup_epochs'],
  )


@pytest.mark.parametrize('name', ['paper', 'paper_v1'])
def test_the_papers_recipe_has_the_papers_numbers(name):
  row = recipe_checks.paper_table('efficientnet', 'Section 5.2 training (earlier version)')[0]
  settings = RECIPES[name].settings
  rate = settings['base_learning_rate'] * settings['train_batch_size'] / 256
  assert rate == pytest.approx(row['initial_lr'])
  assert settings['lr_decay_factor'] == row['lr_decay_factor']
  assert settings['lr_decay_epoch'] == row['lr_decay_every_epochs']
  assert (settings['momentum'], settings['weight_decay']) == (row['momentum'], row['weight_decay'])
  assert settings['augment_name'] == 'autoaugment'


def test_the_versions_of_the_paper_differ_in_two_settings():
  row = recipe_checks.paper_table('efficientnet', 'Section 5.2 training (earlier version)')[0]
  first, last = RECIPES['paper_v1'].settings, RECIPES['paper'].settings
  assert first['survival_prob'] == pytest.approx(1 - row['drop_connect'])
  assert {flag: last[flag] for flag in last if first.get(flag) != last[flag]} == {
    'survival_prob': 0.8, 'holdout_shards': 20,
  }  # fmt: skip
  assert round(first['num_train_images'] * 20 / 1024) == pytest.approx(25022, abs=2)


@pytest.mark.parametrize(
  'name, table, row',
  [
    ('imagenet', 'Official README: checkpoints', {'recipe': 'Baseline (ResNet) preprocessing'}),
    ('autoaugment', 'Official README: checkpoints', {'recipe': 'AutoAugment'}),
    ('randaugment', 'Official README: checkpoints', {'recipe': 'RandAugment', 'B7': 84.7}),
    ('advprop', 'Official README: checkpoints', {'recipe': 'AdvProp + AutoAugment'}),
    ('noisy_student', 'Official README: checkpoints', {'recipe': 'NoisyStudent + RandAugment'}),
  ],
)
def test_expected_accuracies_are_those_of_the_official_readme(name, table, row):
  found = recipe_checks.row_of('efficientnet', table, **row)
  del found['recipe']
  expects = RECIPES[name].expects
  if name == 'randaugment':
    assert f'B5 {found["B5"]}' in expects
    assert f'B7 {found["B7"]}' in RECIPES['randaugment_b7'].expects
  elif name == 'noisy_student':
    assert f'475 pixels {found.pop("L2-475")}, at 800 pixels {found.pop("L2")}' in expects
    assert all(f'{model} {value}' in expects for model, value in found.items())
  else:
    expected = ', '.join(f'{model} {value}' for model, value in found.items())
    assert expects.startswith(f'{expected} %')


@pytest.mark.parametrize(
  'name, table',
  [('paper', 'Table 2 (later version, v5)'), ('paper_v1', 'Table 2 (earlier version)')],
)
def test_expected_accuracies_are_those_of_table_2(name, table):
  rows = recipe_checks.paper_table('efficientnet', table)
  own = {
    row['model'].removeprefix('EfficientNet-'): row['top1']
    for row in rows
    if row['model'].startswith('EfficientNet-B')
  }
  assert len(own) == 8
  expected = ', '.join(f'{model} {value}' for model, value in own.items())
  assert RECIPES[name].expects.startswith(f'{expected} % top-1')


@pytest.mark.parametrize(
  'name, table, columns',
  [
    ('lite', 'Official Lite table', ('top1_fp32', 'top1_int8')),
    ('edgetpu', 'Official EdgeTPU table', ('top1_float', 'top1_quantized')),
  ],
)
def test_expected_accuracies_of_the_mobile_families(name, table, columns):
  rows = recipe_checks.paper_table('efficientnet', table)
  found = recipe_checks.numbers(RECIPES[name].expects)
  for column in columns:
    for row in rows:
      assert row[column] in found, (row['model'], column)


def test_expected_accuracies_of_condconv():
  rows = recipe_checks.paper_table('efficientnet', 'Official CondConv table')
  of_experts = [row['top1'] for row in rows if 'experts' in row]
  numbers = recipe_checks.numbers(RECIPES['condconv'].expects)
  assert [number for number in numbers if number > 70] == of_experts


def test_expected_accuracies_of_transfer():
  rows = recipe_checks.paper_table('efficientnet', 'Table 5')
  for data in ('CIFAR-10', 'CIFAR-100'):
    small, large = (
      next(row for row in rows if (row['dataset'], row['vs']) == (data, versus))
      for versus in ('public', 'best')
    )
    assert (small['our_model'], large['our_model']) == ('EfficientNet-B0', 'EfficientNet-B7')
    text = f'{data}: B0 {small["our_acc"]}, B7 {large["our_acc"]} %'
    assert text in RECIPES['transfer'].expects


def test_every_recipe_is_in_the_readme():
  assert recipe_checks.readme_names('efficientnet') == list(RECIPES)


def test_the_readme_has_the_published_results():
  recipe_checks.check_readme_numbers('efficientnet', RECIPES)
