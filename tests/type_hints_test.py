"""Public functions of the packages say the types of their arguments and of what they return."""
import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = ('efficientnet', 'oscar', 'resnext', 'tpu_utils')
SOURCES = sorted(
  path.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob('*.py')
)


def _public_functions(body, scope=''):
  """Yields (qualified name, function) of the public functions and methods in a module or class."""
  for node in body:
    if isinstance(node, ast.ClassDef) and not node.name.startswith('_'):
      yield from _public_functions(node.body, f'{scope}{node.name}.')
    elif isinstance(node, ast.FunctionDef) and (
      not node.name.startswith('_') or node.name == '__init__'
    ):
      yield f'{scope}{node.name}', node


def _unhinted(name, function):
  """Yields what lacks a hint: names of arguments, 'return'."""
  arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
  yield from (a.arg for a in arguments if a.annotation is None and a.arg not in ('self', 'cls'))
  if function.returns is None and not name.endswith('__init__'):
    yield 'return'


@pytest.mark.parametrize('path', SOURCES)
def test_public_functions_have_type_hints(path):
  syntax = ast.parse((ROOT / path).read_text(encoding='utf-8'))
  missing = {
    f'{path}:{function.lineno} {name}': names
    for name, function in _public_functions(syntax.body)
    if (names := [*_unhinted(name, function)])
  }
  assert not missing
