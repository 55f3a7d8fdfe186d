"""Scripts: parsing of flags, choice of the recipe, output and exit codes of a process."""
import dataclasses
import subprocess
import sys
import textwrap

import pytest

from tpu_utils.command_line import settings
from tpu_utils.command_line.recipes import Recipe
from tpu_utils.command_line.script import Choice, Script

PROGRAM = textwrap.dedent(
  '''
  """Does this and that."""
  import dataclasses
  from tpu_utils.command_line import cli, settings
  from tpu_utils.command_line.script import Script

  @dataclasses.dataclass(frozen=True)
  class Config(settings.Checked):
    """What to do."""
    task: str = settings.setting('nothing', 'The task.')
    times: int = settings.setting(1, 'How often.', at_least=0)

  def run(resolved):
    (config,) = resolved
    print('working')
    task = config.task
    if task == 'value':
      raise ValueError('records.tfrecord: two\\nlines; give another')
    if task == 'file':
      open('/does/not/exist')
    if task == 'stop':
      raise cli.Interrupted('Stopped at step 3.')
    if task == 'defect':
      raise KeyError('ours')
    for line in range(100000 if task == 'talk' else 0):
      print(line)

  Script(__doc__ + ' Much more.' * 20000, (Config,), run).main()
  '''
)


def _run(*arguments):
  command = [sys.executable, '-c', PROGRAM, *arguments]
  return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
  'argument, code, out, text',
  [
    ('--task=value', 1, 'working\n', 'Error: records.tfrecord: two lines; give another\n'),
    ('--task=file', 1, 'working\n', 'Error: /does/not/exist: No such file or directory\n'),
    ('--task=stop', 143, 'working\n', 'Stopped at step 3.\n'),
    ('--times=-1', 1, '', 'Error: --times=-1 must be at least 0.\n'),
    ('word', 1, '', "Error: 'word' is not a flag; flags are written --name=value.\n"),
  ],
)
def test_a_users_mistake_prints_one_line(argument, code, out, text):
  result = _run(argument)
  assert (result.returncode, result.stdout, result.stderr) == (code, out, text)


@pytest.mark.slow
def test_success_prints_no_error():
  result = _run('--task=nothing')
  assert (result.returncode, result.stdout, result.stderr) == (0, 'working\n', '')


@pytest.mark.slow
@pytest.mark.parametrize('arguments', [['--task=defect'], ['--task=value', '--traceback']])
def test_defects_keep_their_traceback(arguments):
  result = _run(*arguments)
  assert result.returncode != 0
  assert 'Traceback' in result.stderr


def test_help_explains_and_succeeds():
  result = _run('--help')
  assert result.returncode == 0
  assert 'Does this and that.' in result.stdout
  assert '--task=nothing' in result.stdout
  for other in ('-h', '-?', '--helpshort'):
    same = _run(other)
    assert (same.returncode, same.stdout) == (0, result.stdout)


@pytest.mark.slow
@pytest.mark.parametrize('argument, code', [('--help', 0), ('--task=talk', 141)])
def test_a_reader_that_stops_reading_ends_the_script_quietly(argument, code):
  """The reader does as `... | head -1`."""
  process = subprocess.Popen(
    [sys.executable, '-c', PROGRAM, argument],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  process.stdout.readline()
  process.stdout.close()
  with process.stderr:
    err = process.stderr.read()
  assert (process.wait(60), err) == (code, '')


@dataclasses.dataclass(frozen=True)
class Cake(settings.Checked):
  """What to bake."""

  flavour: str = settings.setting('plum', 'Its flavour.', choices=('plum', 'apple'))
  layers: int = settings.setting(2, 'How many layers.', at_least=1)
  sugar: float = settings.setting(None, 'Grams, if any.', type=float)
  iced: bool = settings.setting(False, 'Whether iced.', aliases=('glazed',))


def recipe(name, script='bakery.main', **values):
  return Recipe(
    name=name, script=script, paper='a cook book', settings=values, cost='an hour',
    command=f'python -m {script} --recipe={name}', expects='a good cake',
  )  # fmt: skip


RECIPES = {
  'plain': recipe('plain', layers=3),
  'feast': recipe('feast', layers=5, iced=True),
  'bread': recipe('bread', 'bakery.bread', layers=1),
}


def bakery(**changes):
  script = Script('Bakes.', (Cake,), lambda resolved: resolved, module='bakery.main')
  return dataclasses.replace(script, **changes)


def with_recipes(**changes):
  return bakery(**{'recipes': RECIPES, 'default_recipe': 'plain', **changes})


def test_only_flags_that_the_user_gave_are_returned():
  given, words = bakery().parse(['--flavour=apple', '--layers', '2', '--iced', '--sugar=1'])
  assert (given, words) == ({'flavour': 'apple', 'layers': 2, 'iced': True, 'sugar': 1.0}, [])
  assert bakery().parse([]) == ({}, [])
  assert bakery().parse(['--noiced'])[0] == {'iced': False}
  assert bakery().parse(['--glazed'])[0] == {'iced': True}


def test_call_runs_with_resolved_settings():
  (cake,) = bakery(defaults={'layers': 7}).call(['--flavour=apple'])
  assert cake == Cake('apple', 7) and cake.given == {'flavour'}


@pytest.mark.parametrize(
  'argument, message',
  [
    ('--flavor=plum', "Unknown flag 'flavor': did you mean flavour"),
    ('--layers=two', '--layers=two must be a whole number'),
    ('--sugar=much', '--sugar=much must be a number'),
    ('--glazed=maybe', '--iced=maybe must be true or false'),
    ('--flavour', 'flavour.*--help explains the flags'),
    ('--glaced', 'did you mean glazed'),
    ('a.jpg', "'a.jpg' is not a flag"),
    ('--do_train', '--do_train is a flag of the official script only: leave it out.'),
    ('--nodo_train', '--nodo_train is a flag of the official script only'),
  ],
)
def test_wrong_command_lines_are_refused(argument, message):
  with pytest.raises(ValueError, match=message):
    bakery(elsewhere={'do_train': 'leave it out'}).parse([argument])


def test_a_script_may_take_words_after_the_flags():
  script = bakery(words=True, run=lambda resolved, words: (resolved[0].layers, words))
  assert script.call(['--layers=4', 'a.jpg', 'b.jpg']) == (4, ['a.jpg', 'b.jpg'])


def test_the_default_recipe_applies_unless_another_is_named():
  script = with_recipes()
  default, named = script.resolve(), script.resolve({'recipe': 'feast', 'iced': False})
  assert (default[0].layers, default.recipe, default.origin) == (3, 'plain', '')
  assert (named[0].layers, named[0].iced, named.recipe) == (5, False, 'feast')
  assert named.preset_text() == '--recipe=feast, with\n  --layers=5'


def test_other_recipes_override_the_default_one():
  recipes = {**RECIPES, 'apple': recipe('apple', flavour='apple')}
  script = with_recipes(recipes=recipes, defaults={'layers': 9, 'sugar': 1.0})
  (cake,) = script.resolve({'recipe': 'apple'})
  assert (cake.flavour, cake.layers, cake.sugar) == ('apple', 3, 1.0)


def test_a_script_may_choose_its_recipe_by_the_flags():
  def choose(given, named):
    assert named is None
    if not given.get('iced'):
      return Choice()
    return Choice(RECIPES['feast'], {'layers': 6}, 'No flour', {'sugar': 2.0})

  script = with_recipes(choose=choose)
  assert script.resolve({}).recipe == 'plain'
  chosen = script.resolve({'iced': True})
  assert (chosen[0].layers, chosen[0].sugar) == (6, 2.0)
  assert (chosen.recipe, chosen.origin) == ('feast', 'No flour')


@pytest.mark.parametrize(
  'name, message',
  [
    ('feats', "Unknown recipe 'feats': did you mean feast"),
    ('bread', '--recipe=bread belongs to another script: python -m bakery.bread --recipe=bread'),
  ],
)
def test_unknown_recipes_and_those_of_other_scripts_are_refused(name, message):
  with pytest.raises(ValueError, match=message):
    with_recipes().resolve({'recipe': name})


def test_a_script_without_a_default_takes_the_flags_that_it_shares_with_a_recipe():
  recipes = {**RECIPES, 'pizza': recipe('pizza', 'bakery.pizza', oven=300)}
  recipes['cup'] = recipe('cup', oven=2, layers=4)
  script = bakery(module='bakery.taste', recipes=recipes)
  shared = script.resolve({'recipe': 'cup'})
  assert (shared[0].layers, shared.recipe, shared.origin) == (4, 'cup', '--recipe=cup')
  listing = script.recipes_text()
  assert 'bread (of python -m bakery.bread)\n  --layers=1' in listing and 'pizza' not in listing
  with pytest.raises(ValueError, match='--recipe=pizza belongs to another script'):
    script.resolve({'recipe': 'pizza'})


def test_every_script_answers_the_flag_for_a_recipe():
  assert bakery().parse(['--recipe=plain'])[0] == {'recipe': 'plain'}
  with pytest.raises(ValueError, match='--recipe=plain: no recipe sets a flag of this script'):
    bakery().resolve({'recipe': 'plain'})
  assert bakery().recipes_text() == 'No recipe sets a flag of this script.'


def test_a_shared_recipe_is_announced(capsys):
  bakery(module='bakery.taste', recipes=RECIPES, uses_tensorflow=False).call(['--recipe=bread'])
  assert capsys.readouterr().out == '--recipe=bread, with\n  --layers=1\n'


def test_help_shows_the_defaults_of_the_recipe():
  page = with_recipes().help_text()
  assert '--layers=3' in page and '--recipe=plain' in page and 'plain, feast' in page
  assert '--recipe' not in bakery().help_text()


def test_the_list_has_the_recipes_of_the_script():
  listing = with_recipes().recipes_text()
  assert listing.index('plain') < listing.index('feast') and 'bread' not in listing
  for part in ('a cook book', 'a good cake', 'an hour', 'python -m bakery.main --recipe=feast'):
    assert part in listing


@dataclasses.dataclass(frozen=True)
class FolderConfig(settings.Checked):
  """A folder."""

  folder: str = settings.setting('', 'The folder.')


def test_schemes_are_checked_before_anything_else():
  calls = []
  script = Script('Doc.', (FolderConfig,), lambda *args: calls.append(args), words=True)
  for arguments, message in (
    (['--folder=gss://b/x'], "^Unknown file system in --folder=gss://b/x: 'gss': did you mean gs"),
    (['photo.jpg', 'gcs://b/x.jpg'], "^Unknown file system in gcs://b/x.jpg: 'gcs'"),
    (['--folder=a,gs:/b'], '^--folder=gs:/b: expected gs://'),
    (['--folder=s3://b/x'], '^--folder=s3://b/x: s3:// needs the package tensorflow-io'),
  ):
    with pytest.raises(ValueError, match=message):
      script.call(arguments)
  assert not calls
  script.call(['--folder=grpc://10.0.0.2:8470', 'gs://b/x.jpg'])
  assert len(calls) == 1


def test_a_misspelt_scheme_is_reported_in_one_line():
  result = _run('--task=gss://b/x')
  assert (result.returncode, result.stdout) == (1, '')
  assert result.stderr.startswith('Error: Unknown file system in --task=gss://b/x')
  assert result.stderr.count('\n') == 1


def test_errors_of_access_are_errors_of_the_user():
  import tensorflow as tf

  def run(resolved):
    (config,) = resolved
    raise tf.errors.PermissionDeniedError(None, None, f'code 403 when reading {config.folder}/y')

  script = Script('Doc.', (FolderConfig,), run)
  with pytest.raises(OSError, match='^gs://b/x cannot be accessed: code 403 when'):
    script.call(['--folder=gs://b/x'])
  with pytest.raises(tf.errors.PermissionDeniedError):
    script.call(['--folder=x'])
