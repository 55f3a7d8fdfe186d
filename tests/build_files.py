"""Keeps the BUILD files equal to what the sources import.

    python -m tests.build_files            # says what is wrong, target by target
    python -m tests.build_files --write    # mends it

One target a source file, named after it (`__init__.py`: after its folder). A target depends on the
modules that its source imports anywhere in the file, gives to `lazy.attach`, or names in a string
that is exactly a dotted module name (`python -m` in a subprocess, a registry). Packages from PyPI
have no targets: Bazel runs the Python whose environment has them.
"""
import argparse
import ast
import dataclasses
import functools
import graphlib
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
RULES = ('py_library', 'py_binary', 'py_test')
NO_DATA_SUFFIXES = ('.py', '.pyc', '.md', '.bzl')
HEADER = """\
# One target a source file; `python -m tests.build_files --write` brings them up to date.
"""
TOP_HEADER = HEADER + """\
# Packages from PyPI are not targets: run Bazel in an environment that has them (see setup.py).
"""


@dataclasses.dataclass(frozen=True)
class Target:
  """One py_* rule. `reasons` says for each dependency where it comes from."""

  package: str
  name: str
  rule: str
  srcs: tuple[str, ...]
  deps: tuple[str, ...] = ()
  data: tuple[str, ...] = ()
  size: str | None = None
  reasons: dict[str, str] = dataclasses.field(default_factory=dict, compare=False)

  @property
  def label(self):
    return f'//{self.package}:{self.name}'

  def render(self):
    lines = [f'{self.rule}(', f'    name = "{self.name}",']
    if self.size:
      lines.append(f'    size = "{self.size}",')
    for attribute in ('srcs', 'data', 'deps'):
      lines += _render_list(attribute, getattr(self, attribute))
    return '\n'.join([*lines, ')', ''])


def _render_list(attribute, values):
  if not values:
    return []
  if len(values) == 1:
    return [f'    {attribute} = ["{values[0]}"],']
  return [f'    {attribute} = [', *(f'        "{value}",' for value in values), '    ],']


class Tree:
  """The sources and data files of a checkout, and the BUILD files that they ask for."""

  def __init__(self, root=ROOT):
    self.root = pathlib.Path(root)
    # Only packages: a virtual environment or a build folder in the checkout is none of ours.
    folders = sorted(path.parent for path in self.root.glob('*/__init__.py'))
    files = [*self.root.glob('*.py')]
    for folder in folders:
      files += [path for path in folder.rglob('*') if path.is_file() and not self._hidden(path)]
    paths = sorted(path.relative_to(self.root).as_posix() for path in files)
    self.build_files = [path for path in files if path.name == 'BUILD']
    self.sources = [path for path in paths if path.endswith('.py')]
    self.packages = sorted({_folder(path) for path in self.sources} | {''})
    self.modules = {_module(path): path for path in self.sources}
    self.data = {}  # Package -> the files and folders directly in it that hold data.
    for path in paths:
      if not path.endswith(NO_DATA_SUFFIXES) and pathlib.PurePath(path).name != 'BUILD':
        package = next(f.as_posix() for f in pathlib.PurePath(path).parents
                       if f.as_posix() in self.packages)
        entry = pathlib.PurePath(path).relative_to(package).parts[0]
        self.data.setdefault(package, set()).add(entry)

  def _hidden(self, path):
    parts = path.relative_to(self.root).parts
    return any(part.startswith('.') or part == '__pycache__' for part in parts)

  @functools.cached_property
  def targets(self):
    """{label: Target} that the sources ask for."""
    targets = [self._target(path) for path in self.sources]
    return {target.label: target for target in targets}

  def _target(self, path):
    text = (self.root / path).read_text(encoding='utf-8')
    try:
      syntax = ast.parse(text, path)
    except SyntaxError as error:
      raise ValueError(f'{path}:{error.lineno}: {error.msg}; make it Python first.') from error
    package = _folder(path)
    is_test = path.endswith('_test.py')
    reasons = {}
    for module, line in sorted(self._named_modules(path, syntax), key=lambda found: found[1]):
      if self.modules[module] != path:
        label = _relative_label(_label(self.modules[module]), package)
        reasons.setdefault(label, f'{path}:{line} names {module}')
    for conftest in self._conftests(path) if is_test else ():
      reasons.setdefault(_relative_label(_label(conftest), package), f'pytest loads {conftest}')
    data = {_relative_label(f'//{owner}:data', package) for owner in self._data_packages(path, syntax)}
    return Target(
      package=package,
      name=_label(path).rpartition(':')[2],
      rule='py_test' if is_test else 'py_binary' if _is_script(path, syntax) else 'py_library',
      srcs=(pathlib.PurePath(path).name,),
      deps=tuple(sorted(reasons, key=_buildifier_order)),
      data=tuple(sorted(data, key=_buildifier_order)),
      size='large' if is_test and 'pytest.mark.slow' in text else None,
      reasons=reasons,
    )

  def _conftests(self, path):
    folders = [folder.as_posix() for folder in pathlib.PurePath(path).parents]
    return [f'{folder}/conftest.py' for folder in folders
            if f'{folder}/conftest.py' in self.sources]

  def _named_modules(self, path, syntax):
    """Yields (module of ours, line) for whatever `path` imports or names."""
    own = _module(path)
    package = own if path.endswith('__init__.py') else own.rpartition('.')[0]
    for node in ast.walk(syntax):
      names = []
      if isinstance(node, ast.Import):
        names = [self._closest(alias.name) for alias in node.names]
      elif isinstance(node, ast.ImportFrom):
        parts = package.split('.')
        base = parts[:len(parts) - node.level + 1] if node.level else []
        base = '.'.join([*base, *([node.module] if node.module else [])])
        names = [self._closest(f'{base}.{alias.name}') for alias in node.names]
      elif isinstance(node, ast.Call) and ast.unparse(node.func) == 'lazy.attach':
        names = [f'{package}.{value}' for value in _lazy_submodules(path, node)]
      elif isinstance(node, ast.Constant) and isinstance(node.value, str) and '.' in node.value:
        names = [node.value] if node.value in self.modules else []
      yield from ((name, node.lineno) for name in names if name in self.modules)

  def _closest(self, name):
    """`package.module.Class` -> `package.module`; '' for what is not in this tree."""
    while name and name not in self.modules:
      name = name.rpartition('.')[0]
    return name

  def _data_packages(self, path, syntax):
    """Packages whose data files `path` reads, as far as its string literals tell.

    The package's own sources, and those that import from it, name the file or folder that they
    read. Test data is also known by its folder's name alone: 'goldens'.
    """
    parts = {
      part
      for node in ast.walk(syntax) if isinstance(node, ast.Constant) and isinstance(node.value, str)
      for part in node.value.split('/')
    }
    imported = {_folder(self.modules[module]) for module, _ in self._named_modules(path, syntax)}
    for package, entries in self.data.items():
      near = _folder(path) == package or package in imported
      named = package.startswith('tests/') and pathlib.PurePath(package).name in parts
      if named or (near and entries & parts):
        yield package

  def render(self, package):
    """The text of one BUILD file."""
    targets = [target for target in self.targets.values() if target.package == package]
    blocks = []
    if any(target.rule == 'py_test' for target in targets):
      blocks.append('load("//tests:py_test.bzl", "py_test")\n')
    blocks.append('package(default_visibility = ["//visibility:public"])\n')
    if package == 'tests':
      blocks.append('exports_files(["run_pytest.py"])  # Main of every py_test.\n')
    if package in self.data:
      folders = [f'{entry}/**' if (self.root / package / entry).is_dir() else entry
                 for entry in sorted(self.data[package])]
      globs = '\n'.join(_render_list('srcs', folders)).replace('= [', '= glob([').replace('],', ']),')
      blocks.append(f'filegroup(\n    name = "data",\n{globs}\n)\n')
    blocks += [target.render() for target in targets]
    return (HEADER if package else TOP_HEADER) + '\n'.join(blocks)


def _lazy_submodules(path, call):
  """The submodules in a `lazy.attach(__name__, {name: submodule})`."""
  attributes = call.args[1] if len(call.args) == 2 else None
  if not isinstance(attributes, ast.Dict):
    raise ValueError(
      f'{path}:{call.lineno}: expected a literal dict of names in lazy.attach, found '
      f'{ast.unparse(call)!r}; write the names out, so that tools can read them.'
    )
  return [ast.literal_eval(value) for value in attributes.values]


def _is_script(path, syntax):
  """Whether `path` is a program: setup.py, or a file with an `if __name__ == '__main__'`."""
  guards = [ast.unparse(node.test) for node in syntax.body if isinstance(node, ast.If)]
  return path == 'setup.py' or "__name__ == '__main__'" in guards


def _folder(path):
  return '' if '/' not in path else path.rpartition('/')[0]


def _module(path):
  return path.removesuffix('.py').removesuffix('/__init__').replace('/', '.')


def _label(path):
  folder, stem = _folder(path), pathlib.PurePath(path).stem
  return f'//{folder}:{pathlib.PurePath(folder).name if stem == "__init__" else stem}'


def _relative_label(label, package):
  """As buildifier writes it: `:name` in the same package, `//a/b` for `//a/b:b`."""
  folder, _, name = label[2:].partition(':')
  if folder == package:
    return f':{name}'
  return f'//{folder}' if folder.rpartition('/')[2] == name else label


def _buildifier_order(label):
  return label.startswith('//'), label.replace(':', '!')


def parse(path, package):
  """Returns {label: Target} of the py_* rules in one BUILD file, which is Python-like enough."""
  targets = []
  for statement in ast.parse(path.read_text(encoding='utf-8'), str(path)).body:
    call = getattr(statement, 'value', None)
    if isinstance(call, ast.Call) and getattr(call.func, 'id', None) in RULES:
      values = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
      lists = {name: tuple(values.pop(name, ())) for name in ('srcs', 'deps', 'data')}
      targets.append(Target(package, rule=call.func.id, **values, **lists))
  labels = [target.label for target in targets]
  if len(set(labels)) != len(labels):
    raise ValueError(f'{path}: expected each name once, found {sorted(labels)}; delete the copies.')
  return dict(zip(labels, targets, strict=True))


def problems(root=ROOT):
  """Returns what is wrong with the BUILD files, one message a fault, with the lines to put."""
  tree = Tree(root)
  messages = _misnamed(tree) + _cycles(tree)
  for package in tree.packages:
    path = tree.root / package / 'BUILD'
    if path.exists():
      messages += _compare_package(tree, package, path)
    else:
      messages.append(f'{_name(path, root)} is missing; write\n{tree.render(package)}')
  return messages + [f'{_name(path, root)}: no sources are left here; delete it.'
                     for path in _stale(tree)]


def _compare_package(tree, package, path):
  """Messages for one BUILD file: target by target, then whatever else differs in the text."""
  expected = {label: t for label, t in tree.targets.items() if t.package == package}
  found = parse(path, package)
  messages = [f'{label} has no source; delete it, or name it after its file.'
              for label in found if label not in expected]
  for label, target in expected.items():
    messages += _compare(target, found[label]) if label in found else [
      f'{label} is missing from {_name(path, tree.root)}; put\n{target.render()}']
  if not messages and path.read_text(encoding='utf-8') != tree.render(package):
    messages.append(f'{_name(path, tree.root)}: the targets are right, but loads, data or form are '
                    f'not; write\n{tree.render(package)}')
  return messages


def _name(path, root):
  return path.relative_to(root).as_posix()


def _stale(tree):
  return [path for path in tree.build_files if _folder(_name(path, tree.root)) not in tree.packages]


def _compare(expected, found):
  """Messages for one target that is there."""
  messages = []
  for attribute in ('rule', 'srcs', 'size'):
    if getattr(expected, attribute) != getattr(found, attribute):
      messages.append(f'{expected.label}: expected {attribute} {getattr(expected, attribute)!r}, '
                      f'found {getattr(found, attribute)!r}.')
  for attribute in ('deps', 'data'):
    wanted, given = getattr(expected, attribute), getattr(found, attribute)
    messages += [f'{expected.label}: {attribute} lacks "{label}"'
                 f' ({expected.reasons.get(label, "its files are named in the source")}).'
                 for label in wanted if label not in given]
    messages += [f'{expected.label}: {attribute} has "{label}", which its source does not use.'
                 for label in given if label not in wanted]
  return messages


def _misnamed(tree):
  return [
    f'{path}: a module may not be named as its folder, whose __init__.py has the target; rename it.'
    for path in tree.sources if pathlib.PurePath(path).stem == pathlib.PurePath(_folder(path)).name
  ]


def _cycles(tree):
  graph = {}
  for label, target in tree.targets.items():
    deps = [f'//{target.package}{dep}' if dep.startswith(':') else dep for dep in target.deps]
    graph[label] = [dep if ':' in dep else f'{dep}:{dep.rpartition("/")[2]}' for dep in deps]
  try:
    graphlib.TopologicalSorter(graph).prepare()
  except graphlib.CycleError as error:
    return ['These modules import one another in a circle, which Bazel refuses; move what they '
            f'share into a module of its own: {" -> ".join(reversed(error.args[1]))}.']
  return []


def write(root=ROOT):
  """Writes the BUILD files anew, and deletes those of folders without sources."""
  tree = Tree(root)
  for package in tree.packages:
    (tree.root / package / 'BUILD').write_text(tree.render(package), encoding='utf-8')
  for path in _stale(tree):
    path.unlink()


def main():
  parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
  parser.add_argument('--write', action='store_true', help='rewrite the BUILD files')
  arguments = parser.parse_args()
  try:
    if arguments.write:
      write()
    wrong = problems()
  except ValueError as error:
    wrong = [str(error)]
  print('\n'.join(wrong) or 'The BUILD files say what the sources import.')
  return 1 if wrong else 0


if __name__ == '__main__':
  sys.exit(main())
