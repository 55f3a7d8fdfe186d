"""Public functions of the packages that raise errors say so."""
import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = ('efficientnet', 'oscar', 'resnext', 'tpu_utils')
SOURCES = sorted(
  path.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob('*.py')
)
_SCOPES = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
# Or that another docstring says so: of an interface, or of a function with the same errors.
_SAYS = re.compile(r'Raises|[Rr]aises as|[Ss]ee (also )?`|as for `')


def _raises(function):
  """Returns whether a function has a `raise` of its own, but for methods left to subclasses."""
  nodes = list(function.body)
  while nodes:
    node = nodes.pop()
    if isinstance(node, _SCOPES):
      continue
    if isinstance(node, ast.Raise) and node.exc is not None:
      return not ast.unparse(node.exc).startswith('NotImplementedError')
    nodes.extend(ast.iter_child_nodes(node))
  return False


def _silent(body, scope='', of_class=''):
  """Yields names of the public functions that raise and do not say so, in a module or class."""
  for node in body:
    if isinstance(node, ast.ClassDef) and not node.name.startswith('_'):
      yield from _silent(node.body, f'{scope}{node.name}.', ast.get_docstring(node) or '')
    elif isinstance(node, ast.FunctionDef) and (
      not node.name.startswith('_') or node.name == '__init__'
    ):
      said = ast.get_docstring(node) or ''
      if node.name == '__init__':
        said += of_class
      if _raises(node) and not _SAYS.search(said):
        yield f'{scope}{node.name} (line {node.lineno})'


@pytest.mark.parametrize('path', SOURCES)
def test_public_functions_say_what_they_raise(path):
  syntax = ast.parse((ROOT / path).read_text(encoding='utf-8'))
  assert not list(_silent(syntax.body))


def test_a_silent_function_is_found():
  silent = 'def f():\n  "Does it."\n  if g:\n    raise ValueError("no")\n'
  assert list(_silent(ast.parse(silent).body)) == ['f (line 1)']
  for said in ('Raises:\n  ValueError: no.', 'Does it; see `g`.'):
    assert not list(_silent(ast.parse(silent.replace('Does it.', said.replace('\n', ' '))).body))
  assert not list(_silent(ast.parse('def f():\n  def g():\n    raise ValueError\n').body))
