"""Tests that the BUILD files match the imports, and that the check detects each difference."""
import ast
import shutil
import subprocess
import sys

import pytest

from tests import build_files

PACKAGES = ('efficientnet', 'resnext', 'oscar', 'tpu_utils', 'tests')
SOURCES = {
  'setup.py': '',
  'tools/__init__.py': '',
  'tools/lazy.py': 'import json\n',
  'tools/saw.py': 'def cut():\n  from tools.wood import oak\n  return oak.Oak\n',
  'tools/wood/__init__.py': '',
  'tools/wood/oak.py': "from .. import lazy\nDATA = 'grain/rings.csv'\n",
  'tools/wood/grain/rings.csv': '1\n',
  'tools/wood/README.md': 'Wood.\n',
  'tools/main.py': "import tools.saw\nif __name__ == '__main__':\n  pass\n",
  'house/__init__.py': "from tools import lazy\nlazy.attach(__name__, {'Door': 'door'})\n",
  'house/door.py': 'import tools.wood.oak\n',
  'tests/__init__.py': '',
  'tests/conftest.py': '',
  'tests/run_test.py': "import house\nMODULE = 'tools.main'\nGOLDENS = 'tests/goldens/a.npy'\n",
  'tests/goldens/a.npy': '',
  'tests/goldens/make.py': '',
}


@pytest.mark.slow
def test_build_files_match_the_imports():
  wrong = build_files.problems()
  assert not wrong, '\n'.join(['', *wrong, '`python -m tests.build_files --write` fixes this.'])


def test_every_source_is_in_exactly_one_target():
  """Reads the files on disk and their globs; does not trust the generator."""
  for package in PACKAGES:
    for folder in {path.parent for path in (build_files.ROOT / package).rglob('*.py')}:
      assert sorted(sources(folder)) == sorted(path.name for path in folder.glob('*.py')), folder


def sources(folder):
  """Returns the sources of all targets in a folder's BUILD file."""
  everything = [path.name for path in folder.glob('*.py')]
  names = {'glob': lambda patterns, exclude=(): [n for n in everything if n not in exclude]}
  listed = []
  for node in ast.parse((folder / 'BUILD').read_text()).body:
    if isinstance(node, ast.Assign):
      names[node.targets[0].id] = ast.literal_eval(node.value)
    elif node.value.func.id in ('py_library', 'py_tests'):
      srcs = next((a.value for a in node.value.keywords if a.arg == 'srcs'), None)
      assert srcs or node.value.func.id == 'py_tests', folder  # All files by default.
      code = ast.unparse(srcs) if srcs else "glob(['*.py'])"
      assert code in names or code.startswith("glob(['*.py']"), folder
      listed += eval(code, {}, names)
  return listed


def test_the_papers_do_not_import_one_another():
  """Nor does tpu_utils import a paper; only oscar may use an image model."""
  tree = build_files.Tree()
  folders = {path: path.split('/')[0] for path in tree.sources}
  papers = {'efficientnet', 'resnext', 'oscar'}
  for path, imported in tree.imports.items():
    own = folders[path]
    if own in papers or own == 'tpu_utils':
      others = {folders[target] for target in imported} & papers - {own}
      assert not others or own == 'oscar' and others <= {'efficientnet', 'resnext'}, path


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('bazel'), reason='Bazel is not installed')
def test_bazel_loads_the_targets(tmp_path):
  query = subprocess.run(
    ['bazel', '--batch', f'--output_user_root={tmp_path}', 'query',
     'kind(py_library, visible(//:setup, //...))'],
    cwd=build_files.ROOT, capture_output=True, text=True, check=False,
  )
  assert query.returncode == 0, query.stderr
  assert set(query.stdout.split()) == set(build_files.Tree().targets)


@pytest.fixture
def checkout(tmp_path):
  """A small checkout with correct BUILD files."""
  for name, text in SOURCES.items():
    put(tmp_path, name, text)
  build_files.write(tmp_path)
  assert build_files.problems(tmp_path) == []
  return tmp_path


def put(root, name, text):
  (root / name).parent.mkdir(parents=True, exist_ok=True)
  (root / name).write_text(text)


def edit(root, name, old, new):
  text = (root / name).read_text()
  assert text.count(old) == 1
  (root / name).write_text(text.replace(old, new))


def test_imports_become_deps(checkout):
  deps = build_files.Tree(checkout).deps
  assert set(deps['//tools:tools']) == {'//tools/wood:wood'}  # Imported in a function.
  assert deps['//tools:base'] == {}  # json is not in the tree.
  assert set(deps['//tools/wood:wood']) == {'//tools:base'}  # Relative.
  assert set(deps['//house:house']) == {'//tools:base', '//tools/wood:wood'}
  assert set(deps['//tests:tests']) == {'//house:house', '//tools:tools'}  # By a string.
  text = (checkout / 'tests/BUILD').read_text()
  assert 'py_tests(data = ["//tests/goldens:data"], deps = ["//house", "//tools"])' in text


def test_a_folder_above_others_has_two_layers(checkout):
  """The subfolder imports the lower layer; the upper layer imports the subfolder."""
  lower = ['tools/__init__.py', 'tools/lazy.py']
  assert build_files.Tree(checkout).layers == {'tools': [lower, ['tools/main.py', 'tools/saw.py']]}
  text = (checkout / 'tools/BUILD').read_text()
  assert 'TOOLS = ["main.py", "saw.py"]' in text
  assert 'py_library(name = "base", srcs = glob(["*.py"], exclude = TOOLS))' in text
  put(checkout, 'tools/drill.py', 'import tools.wood.oak\n')  # The shorter list is written out.
  text = build_files.Tree(checkout).render('tools')
  assert 'BASE = ["__init__.py", "lazy.py"]' in text and 'exclude = BASE' in text


def test_long_lists_fill_lines_of_100_columns(checkout):
  rooms = [f'room{number}' for number in range(9)]
  put(checkout, 'house/__init__.py', ''.join(f'import {room}.door\n' for room in rooms))
  for room in rooms:
    put(checkout, f'{room}/__init__.py', '')
    put(checkout, f'{room}/door.py', '')
  text = build_files.Tree(checkout).render('house')
  listed = text.partition('deps = [')[2].partition(']')[0]
  assert listed.split() == [f'"//{room}",' for room in [*rooms, 'tools/wood']]
  assert [len(line) > 50 for line in listed.strip().splitlines()] == [True, False]


def test_scripts_and_data(checkout):
  assert build_files.Tree(checkout).scripts == ['setup.py', 'tools/main.py']
  assert 'data = ["//tests/goldens:data"]' in (checkout / 'tests/BUILD').read_text()
  assert 'data = [":data"]' in (checkout / 'tools/wood/BUILD').read_text()
  assert 'srcs = glob(["grain/**"])' in (checkout / 'tools/wood/BUILD').read_text()


@pytest.mark.parametrize('old, new', [
  ('"//tools/wood"', '"//house"'),
  ('name = "tools"', 'name = "plane"'),
  ('"main.py"', '"plane.py"'),
])
def test_a_wrong_file_is_shown_as_a_diff(checkout, old, new):
  edit(checkout, 'tools/BUILD', old, new)
  message, = build_files.problems(checkout)
  assert message.startswith('--- tools/BUILD')
  removed = [line for line in message.splitlines() if line.startswith('-') and new in line]
  added = [line for line in message.splitlines() if line.startswith('+') and old in line]
  assert removed and added


def test_a_missing_dep_is_shown_with_the_import_that_causes_it(checkout):
  put(checkout, 'tools/wood/pine.py', 'import house.door\n')
  put(checkout, 'house/door.py', '')
  message, *_ = [m for m in build_files.problems(checkout) if 'tools/wood/BUILD' in m]
  assert '//house: tools/wood/pine.py:1 names house.door' in message


def test_missing_and_left_over_build_files_are_reported(checkout):
  (checkout / 'tools/wood/BUILD').rename(checkout / 'tools/wood/grain/BUILD')
  missing, left_over = build_files.problems(checkout)
  assert missing.startswith('--- tools/wood/BUILD')
  assert left_over.startswith('tools/wood/grain/BUILD: no sources are left here')
  build_files.write(checkout)
  assert build_files.problems(checkout) == []


def test_circle_of_folders_is_reported(checkout):
  put(checkout, 'tools/wood/oak.py', 'def late():\n  import house.door\n')
  build_files.write(checkout)
  circle, = build_files.problems(checkout)
  assert '//house:house' in circle
  assert 'tools/wood/oak.py:2 names house.door' in circle


def test_circle_of_two_subfolders_is_reported_despite_layers(checkout):
  put(checkout, 'tools/metal/__init__.py', 'import tools.wood.oak\n')
  put(checkout, 'tools/wood/oak.py', 'import tools.metal\n')
  build_files.write(checkout)
  assert any('in a circle' in message for message in build_files.problems(checkout))


def test_lazy_names_must_be_readable(checkout):
  edit(checkout, 'house/__init__.py', "{'Door': 'door'}", 'NAMES')
  with pytest.raises(ValueError, match=r'house/__init__.py:2: expected a literal dict.*NAMES'):
    build_files.problems(checkout)


def test_source_that_does_not_parse_is_named(checkout):
  put(checkout, 'tools/saw.py', 'x = 1\n<<<<<<< HEAD\n')
  with pytest.raises(ValueError, match='tools/saw.py:2: invalid syntax; fix the syntax first.'):
    build_files.problems(checkout)


@pytest.mark.slow
def test_command_line_succeeds():
  run = subprocess.run([sys.executable, '-m', 'tests.build_files'], cwd=build_files.ROOT,
                       capture_output=True, text=True, check=False)
  assert run.returncode == 0, run.stdout
