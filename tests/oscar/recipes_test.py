"""The recipes hold the published settings, commands and results."""
import json
import pathlib

import pytest

from oscar import paper_tables, run_pretrain, script_settings, task_recipes
from oscar.recipes import RECIPES
from tests import recipe_checks
from tpu_utils import config
from tpu_utils.command_line import recipes

GOLDENS = pathlib.Path(__file__).parents[1] / 'goldens' / 'oscar'
GROUPS = (
  script_settings.ModelConfig,
  run_pretrain.DataConfig,
  script_settings.OptimizationConfig,
  script_settings.JobConfig,
  config.HardwareConfig,
)
OFFICIAL = {
  script: {flag: record['default'] for flag, record in flags.items()}
  for script, flags in json.loads((GOLDENS / 'script_defaults.json').read_text()).items()
}
PRETRAINING = recipes.for_script(RECIPES, 'oscar.run_pretrain')
# Of this project; tests/oscar/fine_tuning_test.py checks them.
SCENES = (
  'vqa_scenes', 'easy_vqa', 'gqa_scenes', 'nlvr2_scenes', 'retrieval_scenes', 'captioning_scenes',
  'captioning_scenes_scst', 'nocaps_scenes',
)  # fmt: skip
TASKS = {name: r for name, r in RECIPES.items() if name not in (*PRETRAINING, *SCENES)}
DEFAULTS = {
  'vqa': 'run_vqa', 'gqa': 'run_gqa', 'nlvr2': 'run_nlvr', 'retrieval': 'run_retrieval',
  'captioning': 'run_captioning',
}  # fmt: skip
# (recipe, table, task, size) of the commands in the published tables.
_ZOO = 'Fine-tuning commands (MODEL_ZOO.md)'
_VINVL = 'VinVL commands (VinVL_MODEL_ZOO.md)'
COMMANDS = [
  ('vqa_base', _ZOO, 'VQA', 'base'),
  ('vqa_large', _ZOO, 'VQA', 'large'),
  ('gqa_base', _ZOO, 'GQA', 'base'),
  ('nlvr2_base', _ZOO, 'NLVR2', 'base'),
  ('nlvr2_large', _ZOO, 'NLVR2', 'large'),
  ('retrieval_base', _ZOO, 'retrieval', 'base'),
  ('retrieval_large', _ZOO, 'retrieval', 'large'),
  ('captioning_base', _ZOO, 'captioning CE', 'base'),
  ('captioning_base_scst', _ZOO, 'captioning CIDEr', 'base'),
  ('captioning_large', _ZOO, 'captioning CE', 'large'),
  ('captioning_large_scst', _ZOO, 'captioning CIDEr', 'large'),
  ('vinvl_vqa_base', _VINVL, 'VQA', 'base'),
  ('vinvl_vqa_large', _VINVL, 'VQA', 'large'),
  ('vinvl_gqa_base', _VINVL, 'GQA', 'base'),
  ('vinvl_nlvr2_base', _VINVL, 'NLVR2', 'base'),
  ('vinvl_nlvr2_large', _VINVL, 'NLVR2', 'large'),
  ('vinvl_retrieval_base', _VINVL, 'retrieval', 'base'),
  ('vinvl_captioning_base', _VINVL, 'captioning CE', 'base'),
  ('vinvl_captioning_base_scst', _VINVL, 'captioning CIDEr', 'base'),
  ('vinvl_captioning_large', _VINVL, 'captioning CE', 'large'),
  ('vinvl_captioning_large_scst', _VINVL, 'captioning CIDEr', 'large'),
  ('vinvl_nocaps_base', _VINVL, 'NoCaps CE', 'base'),
  ('vinvl_nocaps_base_scst', _VINVL, 'NoCaps CIDEr', 'base'),
]


@pytest.mark.parametrize('name', PRETRAINING)
def test_pretraining_settings_and_command_are_those_of_the_script(name):
  recipe = RECIPES[name]
  recipe_checks.check_settings(recipe, GROUPS)
  recipe_checks.check_command(recipe, recipe_checks.fields_of(GROUPS))
  recipe_checks.check_texts(recipe)


@pytest.mark.parametrize('name', TASKS)
def test_task_settings_and_command_are_flags_of_the_official_script(name):
  recipe = RECIPES[name]
  defaults = OFFICIAL[recipe.script.removeprefix('oscar.')]
  assert not set(recipe.settings) - set(defaults)
  for flag, value in recipe.settings.items():
    default = defaults[flag]
    numbers = isinstance(default, int | float) and not isinstance(default, bool)
    wanted = (int, float) if numbers else type(default)
    assert default is None or isinstance(value, wanted), flag
    assert not (numbers and isinstance(value, bool)), flag
  recipe_checks.check_command(recipe, defaults)
  recipe_checks.check_texts(recipe)
  # One script per task.
  assert recipe.script.split('_')[1] in ('retrieval', 'captioning', 'vqa', 'gqa', 'nlvr')


def test_pretrain_holds_the_defaults_of_the_flags():
  fields = recipe_checks.fields_of(GROUPS)
  settings = RECIPES['pretrain'].settings
  assert settings == {flag: fields[flag].default for flag in settings}


def test_pretrain_holds_the_official_defaults():
  official = dict(OFFICIAL['run_oscarplus_pretrain'])
  official['train_steps'] = official['max_iters']
  fixed = {'scheduler': 'linear', 'schedule_order': 'optimizer_first', 'weight_decay': 0.01}
  settings = RECIPES['pretrain'].settings
  assert settings == {flag: {**official, **fixed}[flag] for flag in settings}


@pytest.mark.parametrize('name', DEFAULTS)
def test_default_recipes_of_the_tasks_hold_the_official_defaults(name):
  settings = RECIPES[name].settings
  assert settings == {flag: OFFICIAL[DEFAULTS[name]][flag] for flag in settings}


def test_oscar_is_pretrained_with_the_papers_settings():
  rows = recipe_checks.paper_table('oscar', 'Pre-training settings (paper)')
  of_item = {row['item']: row for row in rows}
  for size in ('base', 'large'):
    settings = RECIPES[f'oscar_{size}'].settings
    assert settings['learning_rate'] == of_item['learning rate'][size]
    assert settings['train_batch_size'] == of_item['batch'][size]
    assert settings['max_seq_length'] == of_item['token sequence length (w+q)'][size]
    assert settings['max_img_seq_length'] == of_item['region sequence length'][size]
    assert settings['config'] == size
    assert (settings['textb_sample_mode'], settings['texta_false_prob']) == (0, 0.0)
  assert of_item['steps']['base'] == 'at least 1M' and of_item['steps']['large'] == 'at least 900k'
  assert RECIPES['oscar_base'].settings['train_steps'] == 1_000_000
  assert RECIPES['oscar_large'].settings['train_steps'] == 900_000


def test_oscarplus_is_pretrained_by_the_official_command():
  rows = recipe_checks.paper_table('oscar', 'Oscar+ pre-training command')
  command = {row['argument']: row['value'] for row in rows}
  command['train_steps'] = command.pop('max_iters')
  command['save_checkpoints_steps'] = command.pop('ckpt_period')
  assert command.pop('train_batch_size (flag in the command)') == 8
  command['train_batch_size'] = command.pop('train_batch_size (script default)')
  settings = RECIPES['oscarplus'].settings
  assert command == {flag: settings[flag] for flag in command}


@pytest.mark.parametrize('name, table, task, size', COMMANDS)
def test_tasks_are_tuned_by_the_published_commands(name, table, task, size):
  row = recipe_checks.row_of('oscar', table, task=task, size=size)
  settings = RECIPES[name].settings
  flags = paper_tables.COMMAND_FLAGS
  found = {column: settings[flag] for column, flag in flags.items() if column in row}
  assert found == {column: row[column] for column in found} and len(found) >= 3
  if 'loss' in row:
    scst = row['loss'] == 'scst'
    assert settings.get('scst', False) is scst
    assert scst or settings['loss_type'] == row['loss']
  if 'gpus' in row:
    number, card, memory = row['gpus'].replace(' x', '').split()
    assert f'stated: {number} {card} of {memory[:-1]} GB' in RECIPES[name].cost
  if name in ('vqa_base', 'gqa_base', 'nlvr2_base', 'retrieval_base', 'captioning_base'):
    assert settings['seed'] == 88


def test_every_training_command_of_the_tables_has_a_recipe():
  in_tables = [
    (table, row['task'], row['size'])
    for table in (_ZOO, _VINVL)
    for row in recipe_checks.paper_table('oscar', table)
  ]
  assert sorted(in_tables) == sorted(row[1:] for row in COMMANDS)
  extra = {'vinvl_retrieval_large', 'nocaps_base', 'nocaps_base_scst'}  # In no table there.
  tested = {row[0] for row in COMMANDS} | extra
  untested = [name for name in TASKS if name.endswith(('_test', '_1k', '_5k')) or name in DEFAULTS]
  assert set(TASKS) - set(untested) == tested


@pytest.mark.parametrize('task', ['CE', 'CIDEr'])
def test_nocaps_is_tuned_with_the_appendix_settings(task):
  name = 'Fine-tuning settings (paper appendix A)'
  row = recipe_checks.row_of('oscar', name, task=f'NoCaps {task}', size='base')
  settings = RECIPES['nocaps_base' if task == 'CE' else 'nocaps_base_scst'].settings
  assert settings['learning_rate'] == row['learning_rate']
  assert settings['per_gpu_train_batch_size'] * 4 == row['batch']
  assert settings['num_train_epochs'] == row['epochs']


def _has(name, *values):
  found = recipe_checks.numbers(RECIPES[name].expects)
  return set(values) <= set(found)


def test_expected_results_are_those_of_the_papers_tables():
  for size, letter in (('base', 'B'), ('large', 'L')):
    row = recipe_checks.row_of('oscar', 'Table 2a', model='Oscar', size=letter)
    of_1k, of_5k = ([row[f'{way}{n}_R1'] for way in ('tr', 'ir')] for n in ('1k', '5k'))
    assert _has(f'retrieval_{size}', *of_1k, *of_5k)
    assert _has('retrieval_test_1k', *of_1k) and _has('retrieval_test_5k', *of_5k)
    row = recipe_checks.row_of('oscar', 'Table 2e', model=f'Oscar_{letter}')
    for stage, name in (('ce', f'captioning_{size}'), ('cider', f'captioning_{size}_scst')):
      assert _has(name, *(row[f'{stage}_{metric}'] for metric in ('B4', 'M', 'C', 'S')))
    assert _has('captioning_test', row['cider_C'])
    row = recipe_checks.row_of('oscar', 'Table 2b', model=f'Oscar_{letter}')
    assert _has(f'vqa_{size}', row['test_dev'], row['test_std'])
    assert _has(f'oscar_{size}', row['test_std'])
    row = recipe_checks.row_of('oscar', 'Table 2c', model=f'Oscar_{letter}')
    assert _has(f'nlvr2_{size}', row['dev'], row['test_P'])
    row = recipe_checks.row_of('oscar', 'Table 2f', model=f'Oscar_{letter}+SCST+CBS')
    assert _has('nocaps_test', row['all_C'])
  row = recipe_checks.row_of('oscar', 'Table 2d', model='Oscar_B*')
  assert _has('gqa_base', row['test_dev'], row['test_std'])
  for model, name in (('Oscar_B', 'nocaps_base'), ('Oscar_B+CBS', 'nocaps_base'),
                      ('Oscar_B+SCST+CBS', 'nocaps_base_scst')):  # fmt: skip
    row = recipe_checks.row_of('oscar', 'Table 2f', model=model)
    assert _has(name, row['all_C'], row['all_S'])


def test_expected_results_of_vinvl_are_those_of_the_readme():
  for size, letter in (('base', 'B'), ('large', 'L')):
    row = recipe_checks.row_of('oscar', 'README overall (later)', row=f'VinVL_{letter}')
    assert _has(f'vinvl_retrieval_{size}', row['i2t_R1'], row['t2i_R1'])
    scores = [row[f'cap_{metric}'] for metric in ('B4', 'M', 'C', 'S')]
    assert _has(f'vinvl_captioning_{size}_scst', *scores)
    assert _has(f'vinvl_vqa_{size}', row['vqa_test_std'])
    assert _has(f'vinvl_nlvr2_{size}', row['nlvr2_test_P'])
    if 'gqa_test_std' in row:
      assert _has('vinvl_gqa_base', row['gqa_test_std'])


def test_the_work_of_training_counts_the_encoders_products():
  # Twelve layers: four projections, two products of the feed-forward part, scores and their sums.
  layer = 85 * (4 * 768 * 768 + 2 * 768 * 3072) + 2 * 85 * 85 * 768
  text = task_recipes.training_work('base', 85, 1000)
  assert text == f'estimated: {3 * 12 * layer * 1000:.1e} multiply-adds, not timed'


def test_every_recipe_is_in_the_readme():
  assert recipe_checks.readme_names('oscar') == list(RECIPES)


def test_the_readme_has_the_published_results():
  recipe_checks.check_readme_numbers('oscar', RECIPES)
