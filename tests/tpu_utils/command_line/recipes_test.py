"""Recipes: their checks, derived ones, and the table for a terminal."""
import subprocess
import sys

import pytest

from tpu_utils.command_line import recipes
from tpu_utils.command_line.recipes import Recipe


def _recipe(**changes):
  fields = {
    'name': 'small',
    'script': 'toy.main',
    'paper': 'Section 1',
    'settings': {'train_steps': 3, 'optimizer': 'sgd', 'nesterov': False, 'learning_rate': 0.5},
    'command': 'python -m toy.main --recipe=small --data_dir=DATA',
    'expects': '1 %',
  }
  return Recipe(**{**fields, **changes})


def test_settings_are_read_only_and_a_copy():
  given = {'train_steps': 3}
  recipe = _recipe(settings=given)
  given['train_steps'] = 4
  assert recipe.settings == {'train_steps': 3}
  with pytest.raises(TypeError):
    recipe.settings['train_steps'] = 5
  assert {**recipe.settings} == {'train_steps': 3}


def test_equal_recipes_are_one_key():
  assert len({_recipe(), _recipe(), _recipe(expects='2 %'), _recipe(settings={'a': 1})}) == 3


def test_a_derived_recipe_changes_only_what_is_given():
  base = _recipe(measured='2 % here', cost='an hour')
  derived = base.with_settings(
    'larger', {'train_steps': 9, 'width': 2}, paper='Section 2', expects='0.5 %', cost='two hours'
  )
  assert derived.settings == {**base.settings, 'train_steps': 9, 'width': 2}
  assert derived.command == 'python -m toy.main --recipe=larger --data_dir=DATA'
  assert (derived.script, derived.measured, derived.cost) == ('toy.main', None, 'two hours')
  assert base.settings['train_steps'] == 3


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'name': 'Small'}, "Recipe name 'Small' must be lower-case"),
    ({'name': ''}, "Recipe name '' must be"),
    ({'paper': ' '}, "small: paper is ' '; give a non-empty text"),
    ({'expects': None}, 'small: expects is None'),
    ({'measured': ''}, 'small: measured is empty'),
    ({'settings': {}}, 'small: settings is {}; give a mapping'),
    ({'settings': None}, 'small: settings is None'),
    ({'settings': {'--lr': 1}}, "'--lr' is not the name of a flag; leave out the dashes"),
    ({'settings': {'sizes': [1, 2]}}, r'--sizes is \[1, 2\]; give a bool, a finite number or a'),
    ({'settings': {'lr': None}}, '--lr is None'),
    ({'settings': {'lr': float('nan')}}, '--lr is nan'),
    ({'command': 'python -m toy.other --recipe=small'}, 'must start with "python -m toy.main"'),
    ({'command': 'python -m toy.main --recipe=smaller'}, 'its command lacks --recipe=small'),
  ],
)
def test_a_wrong_recipe_is_refused_in_one_line(changes, message):
  with pytest.raises(ValueError, match=message) as error:
    _recipe(**changes)
  assert '\n' not in str(error.value)


def test_recipes_by_name_keep_their_order_and_names_are_unique():
  second = _recipe(name='b', command='python -m toy.main --recipe=b')
  first = _recipe(name='z', command='python -m toy.main --recipe=z')
  assert list(recipes.by_name([first, second])) == ['z', 'b']
  with pytest.raises(ValueError, match="Two recipes are called 'z'"):
    recipes.by_name([first, second, first])


def test_recipes_of_one_script():
  other = _recipe(name='x', script='toy.eval', command='python -m toy.eval --recipe=x')
  found = recipes.by_name([_recipe(), other])
  assert list(recipes.for_script(found, 'toy.eval')) == ['x']
  assert recipes.for_script(found, 'toy') == {}


def test_the_table_fits_a_terminal_and_its_commands_can_be_pasted():
  words = [f'--flag_number_{i}=a-value-with-dashes' for i in range(12)]
  recipe = _recipe(
    command=' '.join(['python -m toy.main --recipe=small', *words]),
    paper='a source of many words ' * 20,
    cost='a week',
  )
  other = _recipe(name='b', command='python -m toy.main --recipe=b')
  text = recipes.table(recipes.by_name([recipe, other]))
  lines = text.splitlines()
  assert max(map(len, lines)) <= 100
  first, second = text.split('\n\n')
  assert first.startswith('small\n') and second.startswith('b\n')
  for label in ('source', 'expects', 'measured', 'cost', 'command'):
    assert f'\n  {label} ' in first
  assert 'not by this project' in first and 'a week' in first and 'unknown' in second
  command = first.split('\n  command')[1]
  shell = subprocess.run(
    ['bash', '-c', f'printf "%s\\n" {command}'], capture_output=True, text=True, check=True
  )
  assert shell.stdout.split('\n')[:-1] == ['python', '-m', 'toy.main', '--recipe=small', *words]


@pytest.mark.parametrize('package', ['efficientnet', 'resnext', 'oscar'])
def test_recipes_are_read_without_tensorflow(package):
  program = f'import sys, {package}.recipes; print("tensorflow" in sys.modules)'
  command = [sys.executable, '-c', program]
  found = subprocess.run(command, capture_output=True, text=True, check=True)
  assert found.stdout.strip() == 'False'
