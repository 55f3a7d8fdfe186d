"""Flags stay in the scripts, and a script answers `--help` before TensorFlow could have started."""
import ast
import os
import resource
import subprocess
import sys

import pytest

from tests import build_files

TREE = build_files.Tree()
PROGRAM = [path for path in TREE.sources if not path.startswith('tests/') and path != 'setup.py']
SCRIPTS = [  # Programs with flags; all run through tpu_utils/command_line/cli.py.
  f'{target.package}/{target.srcs[0]}'
  for target in TREE.targets.values()
  if target.rule == 'py_binary'
  and not target.package.startswith('tests')
  and any(dep.endswith(':cli') for dep in target.deps)
]
PACKAGES = [path.removesuffix('/__init__.py') for path in PROGRAM if path.endswith('__init__.py')]

# What reads the command line on behalf of every script.
FLAG_READERS = {'tpu_utils/command_line/cli.py', 'tpu_utils/command_line/settings.py'}


def test_there_are_scripts_and_packages():
  assert 'efficientnet/main.py' in SCRIPTS
  assert {'efficientnet', 'tpu_utils'} <= set(PACKAGES)


@pytest.mark.parametrize('path', sorted({*PROGRAM} - {*SCRIPTS} - FLAG_READERS))
def test_library_code_reads_no_flags(path):
  syntax = ast.parse((TREE.root / path).read_text(encoding='utf-8'))
  lines = [
    node.lineno for node in ast.walk(syntax)
    if 'FLAGS' in (getattr(node, 'id', None), getattr(node, 'attr', None))
    or isinstance(node, ast.ImportFrom) and any(alias.name == 'FLAGS' for alias in node.names)
  ]
  assert not lines, f'{path}:{lines[0]} uses FLAGS; take an argument, and read the flag in main().'


def run(*arguments):
  """Returns what a Python process printed, the modules that it imported, and its CPU seconds."""
  before = resource.getrusage(resource.RUSAGE_CHILDREN)
  process = subprocess.run(
    [sys.executable, '-X', 'importtime', *arguments], cwd=TREE.root, check=False,
    env={**os.environ, 'PYTHONPATH': str(TREE.root)}, capture_output=True, text=True,
  )
  after = resource.getrusage(resource.RUSAGE_CHILDREN)
  assert process.returncode == 0, process.stderr[-2000:]
  imported = {line.rpartition('|')[2].strip() for line in process.stderr.splitlines()}
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


def test_packages_import_without_tensorflow():
  names = [path.replace('/', '.') for path in PACKAGES]
  _, imported, _ = run('-c', f'import {", ".join(names)}')
  assert {*names} <= imported
  assert not imported & {'tensorflow', 'keras'}
