"""Tests the packaging: required packages, the files of the wheel and the sdist, the version."""
import ast
import re
import subprocess
import sys

import pytest

import tpu_utils
from tests import build_files

ROOT = build_files.ROOT
TREE = build_files.Tree()
PACKAGES = ('efficientnet', 'resnext', 'oscar', 'tpu_utils')
PAGES = ('.md', '.ipynb', '.svg', '.jpg')  # Pages, notebooks and their figures.

# Import name -> name on PyPI, where they differ.
DISTRIBUTIONS = {
  'yaml': 'pyyaml',
  'ai_edge_litert': 'ai-edge-litert',
  'PIL': 'pillow',
  'absl': 'absl-py',
  'skimage': 'scikit-image',
  'sklearn': 'scikit-learn',
  'tensorflow_datasets': 'tensorflow-datasets',
  'efficientnet_lite_pytorch': 'efficientnet-lite-pytorch',
}


def requirements():
  """Returns CORE and EXTRAS of setup.py."""
  syntax = ast.parse((ROOT / 'setup.py').read_text(encoding='utf-8'))
  values = {
    node.targets[0].id: ast.literal_eval(node.value)
    for node in syntax.body if isinstance(node, ast.Assign)
  }
  return values['CORE'], values['EXTRAS']


def names(lines):
  return {re.match(r'[\w-]+', line)[0].lower() for line in lines}


def third_party_imports(path):
  """Returns {name on PyPI: line} of all imports in `path`, also inside functions."""
  found = {}
  for node in ast.walk(ast.parse((ROOT / path).read_text(encoding='utf-8'))):
    modules = []
    if isinstance(node, ast.Import):
      modules = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and not node.level:
      modules = [node.module]
    for top in (module.partition('.')[0] for module in modules):
      if top not in sys.stdlib_module_names and not (ROOT / top).is_dir():
        found.setdefault(DISTRIBUTIONS.get(top, top), node.lineno)
  return found


@pytest.mark.parametrize('path', [path for path in TREE.sources if path != 'setup.py'])
def test_imports_are_required(path):
  """No source imports a package that is only a dependency of another."""
  core, extras = requirements()
  declared = names(core).union(*map(names, extras.values()))
  missing = {name: line for name, line in third_party_imports(path).items() if name not in declared}
  assert not missing, f'{path} imports {missing}, which setup.py does not list.'


def test_tpu_requirements_are_the_core_ones_with_another_tensorflow():
  core, _ = requirements()
  text = (ROOT / 'requirements-tpu.txt').read_text(encoding='utf-8')
  lines = [line for line in text.splitlines() if line and not line.startswith('#')]
  tpu = [line for line in lines if line.startswith(('tensorflow-tpu', 'libtpu'))]
  assert [line for line in lines if line not in tpu] == core[1:]
  assert core[0].startswith('tensorflow>') and names(tpu) == {'tensorflow-tpu', 'libtpu'}


def test_installed_files_are_the_tree(tmp_path):
  """`build_py` collects the contents of a wheel: all sources and data files of the packages."""
  subprocess.run(
    [sys.executable, 'setup.py', '-q', 'build_py', '--build-lib', str(tmp_path)],
    cwd=ROOT, check=True, capture_output=True,
  )
  installed = {path.relative_to(tmp_path).as_posix() for path in _files_in(tmp_path)}
  expected = {path for path in TREE.sources if '/' in path and not path.startswith('tests/')}
  for package, entries in TREE.data.items():
    if not package.startswith('tests/'):
      for entry in (ROOT / package / name for name in entries):
        files = [entry] if entry.is_file() else _files_in(entry)
        expected |= {path.relative_to(ROOT).as_posix() for path in files}
  pages = [path for path in expected if path.endswith(PAGES)]
  expected |= {
    path.relative_to(ROOT).as_posix()
    for package in PACKAGES
    for path in _files_in(ROOT / package)
    if path.name.endswith(PAGES)
  }
  assert not pages and installed == expected
  assert {f'{package}/README.md' for package in PACKAGES} <= installed


def test_there_is_one_version():
  """The installed packages, the records of runs and the newest heading of the changes name it."""
  changes = (ROOT / 'CHANGELOG.md').read_text(encoding='utf-8')
  heading = re.search(r'^## (\S+) \((\d{4}-\d{2}-\d{2})\)$', changes, re.MULTILINE)
  assert heading and heading[1] == tpu_utils.__version__
  texts = {path: (ROOT / path).read_text(encoding='utf-8') for path in TREE.sources}
  texts = [path for path, text in texts.items() if re.search('^__version__ =', text, re.MULTILINE)]
  assert texts == ['tpu_utils/version.py']


def _files_in(folder):
  return [path for path in folder.rglob('*') if path.is_file()]


def fenced(marker):
  """Returns the block after `<!-- marker -->` in the README."""
  text = (ROOT / 'README.md').read_text(encoding='utf-8')
  block, = re.findall(rf'^<!-- {marker} -->\n```\w*\n(.*?)^```', text, re.MULTILINE | re.DOTALL)
  return block.strip()


def test_readme_has_the_two_commands():
  for marker, module in (
    ('main command', 'efficientnet.main'),
    ('test command', 'pytest -n 2 --dist loadfile'),
  ):
    command = fenced(marker)
    assert command.startswith('python3 -m venv venv && venv/bin/pip install -q -e ')
    assert command.endswith(f'venv/bin/python -m {module}')
    assert '\n' not in command


@pytest.mark.parametrize('name', ['test', 'tpu'])
def test_continuous_integration_runs_the_readmes_commands(name):
  """Runs the part of .ci/run that extracts the commands from the README."""
  script = (ROOT / '.ci' / 'run').read_text(encoding='utf-8')
  end = script.index('\n', script.index('tpu_command=$('))
  extraction = script[script.index('readme_command() {'):end]
  printed = subprocess.run(
    ['bash', '-euc', f'{extraction}\nprintf %s "${name}_command"'], cwd=ROOT,
    check=True, capture_output=True, text=True,
  ).stdout
  assert printed == fenced(f'{name} command')
