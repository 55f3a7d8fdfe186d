"""Builds the API reference from the docstrings, with pdoc (`pip install -e '.[docs]'`).

    python -m tests.api_reference             # writes runs/api/index.html
    python -m tests.api_reference FOLDER

Ends with exit code 1 if pdoc warns, such as about a name in `__all__` that does not exist, or a
module that cannot be imported. Annotations that pdoc cannot evaluate (TensorFlow is imported where
it is needed) are shown as they are written.
"""
import importlib
import pathlib
import re
import sys
import warnings

from tests import build_files

PACKAGES = ('efficientnet', 'resnext', 'oscar', 'tpu_utils')
# Modules that import these are the processes of peers in benchmarks, not part of the interface.
PEERS = re.compile(r'^(import|from) (torch|torchvision|timm)\b', re.MULTILINE)


def modules(root=build_files.ROOT):
  """Returns (names of the documented modules, names of the peers' modules)."""
  documented, peers = [], []
  for path in sorted(path for package in PACKAGES for path in (root / package).rglob('*.py')):
    name = path.relative_to(root).with_suffix('').as_posix().replace('/', '.')
    is_peer = PEERS.search(path.read_text(encoding='utf-8'))
    (peers if is_peer else documented).append(name.removesuffix('.__init__'))
  return documented, peers


def build(folder):
  """Writes the reference; returns pdoc's warnings."""
  import pdoc

  names, peers = modules()
  for module in map(importlib.import_module, names):
    for name in getattr(module, '__all__', ()):
      setattr(module, name, getattr(module, name))  # pdoc sees no names that load on first use.
  pdoc.render.configure(docformat='google', show_source=False)
  own = [name for name in names if not _comes_with_its_package(name)]
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    pdoc.pdoc(*own, *(f'!{name}' for name in peers), output_directory=pathlib.Path(folder))
  # pdoc warns with UserWarning; other categories come from libraries that it imports.
  found = [str(warning.message) for warning in caught if warning.category is UserWarning]
  # It tries to import the peers all the same, to list them under their packages.
  expected = ('Error parsing type annotation', *(f"Couldn't import {name}:" for name in peers))
  return [text for text in found if not text.startswith(expected)]


def _comes_with_its_package(name):
  """Returns whether pdoc documents a module because it is part of a documented package."""
  package, _, module = name.rpartition('.')
  parts = getattr(sys.modules.get(package), '__all__', None)
  return bool(package) and (parts is None or module in parts)


def main(arguments):
  """Builds the reference and prints its place; returns the exit code."""
  folder = arguments[0] if arguments else 'runs/api'
  problems = build(folder)
  for problem in problems:
    print(problem, file=sys.stderr)
  print(pathlib.Path(folder).resolve() / 'index.html')
  return 1 if problems else 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
