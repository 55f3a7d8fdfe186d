"""The BUILD files say what the sources import; and the check sees each way of being wrong."""
import shutil
import subprocess
import sys

import pytest

from tests import build_files


def test_build_files_say_what_the_sources_import():
  wrong = build_files.problems()
  assert not wrong, '\n'.join(['', *wrong, '`python -m tests.build_files --write` mends this.'])


def test_every_source_is_in_exactly_one_target():
  """Asked of the files on disk, not of the generator."""
  folders = [build_files.ROOT / package for package in PACKAGES]
  sources = [build_files.ROOT / 'setup.py', *(p for f in folders for p in f.rglob('*.py'))]
  listed = [
    path.parent / source
    for path in [build_files.ROOT / 'BUILD', *(p for f in folders for p in f.rglob('BUILD'))]
    for target in build_files.parse(path, '').values()
    for source in target.srcs
  ]
  assert sorted(listed) == sorted(sources)


@pytest.mark.skipif(not shutil.which('bazel'), reason='Bazel is not installed')
def test_bazel_loads_the_targets(tmp_path):
  query = subprocess.run(
    ['bazel', '--batch', f'--output_user_root={tmp_path}', 'query', 'kind(py_, //...)'],
    cwd=build_files.ROOT, capture_output=True, text=True, check=False,
  )
  assert query.returncode == 0, query.stderr
  assert set(query.stdout.split()) == set(build_files.Tree().targets)


PACKAGES = ('efficientnet', 'resnext', 'oscar', 'tpu_utils', 'tests')
SOURCES = {
  'setup.py': '',
  'tools/__init__.py': "from tools import lazy\nlazy.attach(__name__, {'Saw': 'saw'})\n",
  'tools/lazy.py': 'import json\n',
  'tools/saw.py': 'def cut():\n  from tools.wood import oak\n  return oak.Oak\n',
  'tools/wood/__init__.py': '',
  'tools/wood/oak.py': "from .. import lazy\nDATA = 'grain/rings.csv'\n",
  'tools/wood/grain/rings.csv': '1\n',
  'tools/wood/README.md': 'Wood.\n',
  'tools/main.py': "import tools.saw\nif __name__ == '__main__':\n  pass\n",
  'tests/__init__.py': '',
  'tests/conftest.py': '',
  'tests/run_test.py': "import tools\nMODULE = 'tools.main'\nGOLDENS = 'tests/goldens/a.npy'\n",
  'tests/goldens/a.npy': '',
  'tests/goldens/make.py': '',
}


@pytest.fixture
def tree(tmp_path):
  """A small checkout whose BUILD files are right."""
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


def targets(root, package):
  return build_files.parse(root / package / 'BUILD', package)


def test_imports_become_deps(tree):
  tools = targets(tree, 'tools')
  assert tools['//tools:tools'].deps == (':lazy', ':saw')  # saw: named in lazy.attach.
  assert tools['//tools:saw'].deps == ('//tools/wood:oak',)  # Imported in a function.
  assert tools['//tools:lazy'].deps == ()  # json is not ours.
  assert targets(tree, 'tools/wood')['//tools/wood:oak'].deps == ('//tools:lazy',)  # Relative.
  run_test = targets(tree, 'tests')['//tests:run_test']
  assert run_test.deps == (':conftest', '//tools', '//tools:main')  # main: named in a string.


def test_kinds_of_rules_and_data(tree):
  assert targets(tree, 'tools')['//tools:main'].rule == 'py_binary'
  assert targets(tree, '')['//:setup'].rule == 'py_binary'
  assert targets(tree, 'tests')['//tests:run_test'].rule == 'py_test'
  assert targets(tree, 'tests')['//tests:run_test'].data == ('//tests/goldens:data',)
  assert targets(tree, 'tools/wood')['//tools/wood:oak'].data == (':data',)
  assert 'srcs = glob(["grain/**"])' in (tree / 'tools/wood/BUILD').read_text()


@pytest.mark.parametrize('old, new, said', [
  ('deps = ["//tools/wood:oak"],', '',
   '//tools:saw: deps lacks "//tools/wood:oak" (tools/saw.py:2 names tools.wood.oak).'),
  ('deps = ["//tools/wood:oak"],', 'deps = ["//tools/wood:oak", ":lazy"],',
   '//tools:saw: deps has ":lazy", which its source does not use.'),
  ('srcs = ["saw.py"]', 'srcs = ["saw.py", "lazy.py"]',
   "//tools:saw: expected srcs ('saw.py',), found ('saw.py', 'lazy.py')."),
  ('name = "saw"', 'name = "plane"', '//tools:saw is missing from tools/BUILD; put\npy_library('),
  ('name = "saw"', 'name = "plane"', '//tools:plane has no source'),
  ('py_binary(', 'py_library(', "//tools:main: expected rule 'py_binary', found 'py_library'."),
  ('package(default', 'package(features', 'tools/BUILD: the targets are right, but loads'),
])
def test_wrong_target_is_named(tree, old, new, said):
  edit(tree, 'tools/BUILD', old, new)
  assert any(message.startswith(said) for message in build_files.problems(tree))


def test_new_source_is_reported_with_the_lines_to_put(tree):
  put(tree, 'tools/axe.py', 'from tools import saw\n')
  assert build_files.problems(tree) == [
    '//tools:axe is missing from tools/BUILD; put\n'
    'py_library(\n    name = "axe",\n    srcs = ["axe.py"],\n    deps = [":saw"],\n)\n'
  ]


def test_missing_and_left_over_build_files_are_reported(tree):
  (tree / 'tools/wood/BUILD').rename(tree / 'tools/wood/grain/BUILD')
  missing, left_over = build_files.problems(tree)
  assert missing.startswith('tools/wood/BUILD is missing; write\n')
  assert left_over.startswith('tools/wood/grain/BUILD: no sources are left here')
  build_files.write(tree)
  assert build_files.problems(tree) == []


def test_circle_of_imports_is_reported(tree):
  put(tree, 'tools/lazy.py', 'def late():\n  import tools.saw\n')
  build_files.write(tree)
  circle, = build_files.problems(tree)
  assert all(label in circle for label in ('//tools:saw', '//tools/wood:oak', '//tools:lazy'))


def test_same_target_twice_is_refused(tree):
  with (tree / 'tools/BUILD').open('a') as build_file:
    build_file.write('py_library(name = "saw", srcs = ["saw.py"])\n')
  with pytest.raises(ValueError, match='tools/BUILD: expected each name once'):
    build_files.problems(tree)


def test_module_named_as_its_folder_is_refused(tree):
  put(tree, 'tools/wood/wood.py', '')
  assert any(message.startswith('tools/wood/wood.py: a module may not be named as its folder')
             for message in build_files.problems(tree))


def test_lazy_names_must_be_readable(tree):
  edit(tree, 'tools/__init__.py', "{'Saw': 'saw'}", 'NAMES')
  with pytest.raises(ValueError, match=r'tools/__init__.py:2: expected a literal dict.*NAMES'):
    build_files.problems(tree)


def test_source_that_does_not_parse_is_named(tree):
  put(tree, 'tools/saw.py', 'x = 1\n<<<<<<< HEAD\n')
  with pytest.raises(ValueError, match='tools/saw.py:2: invalid syntax; make it Python first.'):
    build_files.problems(tree)


def test_command_line_says_that_all_is_well():
  run = subprocess.run([sys.executable, '-m', 'tests.build_files'], cwd=build_files.ROOT,
                       capture_output=True, text=True, check=False)
  assert run.returncode == 0, run.stdout
