"""Tests that only `command_line` sees flags, and that `--help` answers before TensorFlow starts."""
import ast
import os
import pathlib
import resource
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = ('efficientnet', 'oscar', 'resnext', 'tpu_utils')
PROGRAM = sorted(
  path.relative_to(ROOT).as_posix()
  for package in PACKAGES
  for path in (ROOT / package).rglob('*.py')
)
TEXTS = {path: (ROOT / path).read_text(encoding='utf-8') for path in PROGRAM}
# Programs with flags; `Script.main` runs all of them.
SCRIPTS = [path for path, text in TEXTS.items() if '\n  SCRIPT.main()\n' in text]
FOLDERS = [path.removesuffix('/__init__.py') for path in PROGRAM if path.endswith('__init__.py')]
# The one place that parses flags.
COMMAND_LINE = 'tpu_utils/command_line/'


def test_there_are_scripts_and_packages():
  scripts = {'efficientnet/main.py', 'oscar/run_pretrain.py', 'tpu_utils/images/prepare.py'}
  assert scripts <= set(SCRIPTS)
  assert {'efficientnet', 'tpu_utils'} <= set(FOLDERS)


def _names(node):
  """Yields the names that a syntax node imports, reads, takes as an argument or accesses."""
  if isinstance(node, ast.Import):
    yield from (alias.name for alias in node.names)
  elif isinstance(node, ast.ImportFrom):
    yield node.module or ''
    yield from (f'{node.module}.{alias.name}' for alias in node.names)
  for attribute in ('id', 'attr', 'arg'):
    value = getattr(node, attribute, None)
    if isinstance(value, str):
      yield value


def _is_of_flags(name):
  return name.split('.')[0] == 'absl' or name.split('.')[-1] in (
    'FLAGS', 'FlagValues', 'flag_values', 'flag_values_dict',
  )  # fmt: skip


@pytest.mark.parametrize('path', [path for path in PROGRAM if not path.startswith(COMMAND_LINE)])
def test_nothing_outside_the_command_line_sees_flags(path):
  found = [
    f'{path}:{node.lineno} {name}'
    for node in ast.walk(ast.parse(TEXTS[path]))
    for name in _names(node)
    if _is_of_flags(name)
  ]
  assert not found, f'{found[0]}: take settings that tpu_utils.command_line.script has resolved.'


# Within `command_line` only two modules know absl: one parses, the other quiets its logging.
@pytest.mark.parametrize('path', [path for path in PROGRAM if path.startswith(COMMAND_LINE)])
def test_one_place_parses_flags(path):
  nodes = ast.walk(ast.parse(TEXTS[path]))
  uses = any(_is_of_flags(name) for node in nodes for name in _names(node))
  assert uses == (path in (f'{COMMAND_LINE}script.py', f'{COMMAND_LINE}cli.py'))


def _imported(path):
  return [
    name
    for node in ast.walk(ast.parse(TEXTS[path]))
    if isinstance(node, ast.Import | ast.ImportFrom)
    for name in _names(node)
  ]


# Modules that make scripts: for several papers, or for several tasks.
_SCRIPT_MAKERS = {
  'oscar/fine_tuning.py',
  *(
    f'tpu_utils/image_jobs/{name}.py'
    for name in ('evaluate', 'experiment', 'export', 'predict', 'script')
  ),
}


@pytest.mark.parametrize('path', [path for path in PROGRAM if not path.startswith(COMMAND_LINE)])
def test_only_scripts_know_the_script(path):
  if 'tpu_utils.command_line.script' in _imported(path):
    assert path in SCRIPTS or path in _SCRIPT_MAKERS


def _python(*arguments):
  """Runs a Python process: (the process, the modules that it imported, its lines of errors)."""
  process = subprocess.run(
    [sys.executable, '-X', 'importtime', *arguments], cwd=ROOT, check=False,
    env={**os.environ, 'PYTHONPATH': str(ROOT)}, capture_output=True, text=True,
  )  # fmt: skip
  lines = process.stderr.splitlines()
  imported = {line.rpartition('|')[2].strip() for line in lines}
  return process, imported, [line for line in lines if not line.startswith('import time:')]


def run(*arguments):
  """Runs a Python process: (its standard output, the modules that it imported, CPU seconds)."""
  before = resource.getrusage(resource.RUSAGE_CHILDREN)
  process, imported, _ = _python(*arguments)
  after = resource.getrusage(resource.RUSAGE_CHILDREN)
  assert process.returncode == 0, process.stderr[-2000:]
  seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
  return process.stdout, imported, seconds


@pytest.mark.parametrize('path', SCRIPTS)
@pytest.mark.parametrize('as_module', [True, False])
def test_help_is_quick(path, as_module):
  module = path.removesuffix('.py').replace('/', '.')
  printed, imported, seconds = run(*(['-m', module] if as_module else [path]), '--help')
  assert printed.strip(), f'{path} --help printed nothing.'
  assert not imported & {'tensorflow', 'keras'}
  assert seconds < 2


def _fails(*arguments):
  """Runs a module that must fail without importing TensorFlow; returns its one line of error."""
  process, imported, errors = _python('-m', *arguments)
  assert process.returncode == 1
  assert not imported & {'tensorflow', 'keras'}
  assert process.stdout == ''
  (error,) = errors
  return error


_NO_FOLDER = ('--data_dir=/nowhere', '--model_dir=x')


@pytest.mark.parametrize(
  'arguments, message',
  [
    (['efficientnet.main', '--optimizer=adam'], "Unknown value of --optimizer 'adam'"),
    (['resnext.main', '--recipe=imagnet'], "Unknown recipe 'imagnet': did you mean imagenet"),
    (['efficientnet.main', *_NO_FOLDER], '--data_dir=/nowhere does not exist'),
    (['oscar.run_pretrain', *_NO_FOLDER], '--data_dir=/nowhere does not exist'),
    (['oscar.run_pretrain', '--scheduler=linaer'], 'did you mean linear'),
    (['resnext.cardinality', *_NO_FOLDER], '--data_dir=/nowhere does not exist'),
    (['efficientnet.main', '--bigtable_table=x'], 'TensorFlow 2 has no Bigtable client'),
    (
      ['resnext.main', '--data_format=channels_last'],
      '--data_format is a flag of the official script only',
    ),
    (['efficientnet.main', '--num_replicas=8'], 'the strategy knows how many replicas there are'),
  ],
)
def test_mistakes_are_reported_before_tensorflow_is_imported(arguments, message):
  error = _fails(*arguments)
  assert error.startswith('Error: ') and message in error


@pytest.mark.parametrize('module', ['efficientnet.main', 'resnext.main', 'oscar.run_pretrain'])
@pytest.mark.parametrize('argument', ['--recipe=list', '--recipe='])
def test_recipes_are_listed_without_tensorflow(module, argument):
  printed, imported, _ = run('-m', module, argument)
  assert not imported & {'tensorflow', 'keras'}
  assert f'python -m {module} --recipe=' in printed
  assert all(word in printed for word in ('source', 'expects', 'cost', 'command'))


def test_packages_import_without_tensorflow():
  names = [path.replace('/', '.') for path in FOLDERS]
  _, imported, _ = run('-c', f'import {", ".join(names)}')
  assert {*names} <= imported
  assert not imported & {'tensorflow', 'keras'}
