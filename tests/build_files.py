"""BUILD files generated from the imports of the sources.

    python -m tests.build_files            # prints the differences as a diff
    python -m tests.build_files --write    # rewrites the files

Each folder has one target, named after it (in `py_tests` that name and all files are defaults). It
depends on the folders of all modules that its sources import anywhere in a file, pass to
`lazy.attach`, or name in a string that is exactly a dotted module name (`python -m` in a
subprocess, a registry). Packages from PyPI have no targets: Bazel runs in an environment that has
them.

Folders may not import one another in a circle, with one exception: a folder may have modules that
its subfolders import (`tpu_utils/files.py`) and modules that import the subfolders
(`tpu_utils/job.py`). These are two layers with a target each: `base`, and for the upper one the
folder's name.
"""
import argparse
import ast
import difflib
import functools
import graphlib
import pathlib
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[1]
NO_DATA_SUFFIXES = ('.py', '.pyc', '.md', '.ipynb', '.svg', '.jpg', '.bzl')
TOP_HEADER = """\
# `python -m tests.build_files --write` writes all BUILD files: one target a folder, which every
# other sees (.bazelrc). Packages from PyPI are not targets: run Bazel in an environment that has
# them (see setup.py).
"""


class Tree:
  """The sources and data files of a checkout, and the BUILD files for them.

  Attributes:
    sources: paths of the Python files, relative to the root.
    packages: their folders; '' is the root.
    modules: {dotted name: path}.
    data: {package: names of data files, and of folders with data, directly in it}.
  """

  def __init__(self, root=ROOT):
    self.root = pathlib.Path(root)
    # Only packages: virtual environments and build folders are not part of the project.
    folders = sorted(path.parent for path in self.root.glob('*/__init__.py'))
    files = [*self.root.glob('*.py')]
    for folder in folders:
      files += [path for path in folder.rglob('*') if path.is_file() and not self._hidden(path)]
    paths = sorted(path.relative_to(self.root).as_posix() for path in files)
    self.build_files = [path for path in paths if pathlib.PurePath(path).name == 'BUILD']
    self.sources = [path for path in paths if path.endswith('.py')]
    self.packages = sorted({_folder(path) for path in self.sources} | {''})
    self.modules = {_module(path): path for path in self.sources}
    self._reached = {}  # Path -> all paths that it imports, directly or not.
    self.data = {}
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
  def syntax(self):
    """{path: syntax tree} of the sources."""
    return {path: self._parse(path) for path in self.sources}

  def _parse(self, path):
    try:
      return ast.parse((self.root / path).read_text(encoding='utf-8'), path)
    except SyntaxError as error:
      raise ValueError(f'{path}:{error.lineno}: {error.msg}; fix the syntax first.') from error

  @functools.cached_property
  def imports(self):
    """{path: {imported path: number of the line that names it}} among the sources."""
    imports = {path: {} for path in self.sources}
    for path in self.sources:
      for module, line in self._named_modules(path):
        if self.modules[module] != path:
          imports[path].setdefault(self.modules[module], line)
      if path.endswith('_test.py'):
        for folder in pathlib.PurePath(path).parents:
          conftest = (folder / 'conftest.py').as_posix()
          if conftest in self.sources:
            imports[path].setdefault(conftest, 1)  # pytest loads it.
    return imports

  @property
  def scripts(self):
    """Paths of the programs: setup.py, and files with `if __name__ == '__main__'`."""
    return [path for path in self.sources if _is_script(path, self.syntax[path])]

  def _named_modules(self, path):
    """Yields (module, line) for every module of the project that `path` imports or names."""
    own = _module(path)
    package = own if path.endswith('__init__.py') else own.rpartition('.')[0]
    for node in ast.walk(self.syntax[path]):
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
        names = [node.value]
      yield from ((name, node.lineno) for name in names if name in self.modules)

  def _closest(self, name):
    """Strips `package.module.Class` to `package.module`; '' for names outside this tree."""
    while name and name not in self.modules:
      name = name.rpartition('.')[0]
    return name

  # ---- layers

  @functools.cached_property
  def layers(self):
    """{package: sorted paths of each layer, lowest first}, for packages with several layers.

    These are packages that import from subfolders that import from them. A module is one layer
    above all modules of the package that it reaches through such a subfolder.
    """
    layers = {}
    for package in self.packages:
      own = [path for path in self.sources if _folder(path) == package]
      below = {folder for folder in self.packages if folder.startswith(f'{package}/') and package}
      levels = self._levels(own, {folder: [] for folder in below})
      if max(levels.values(), default=0):
        layers[package] = [
          sorted(path for path in own if levels[path] == level)
          for level in range(max(levels.values()) + 1)
        ]
    return layers

  def _levels(self, own, below):
    """Returns {path: layer} for a package's own modules; `below` maps the subfolders to []."""
    for path in self.sources:
      if _folder(path) in below:
        below[_folder(path)] += [*self._reachable(path) & set(own)]
    levels = dict.fromkeys(own, 0)
    for _ in own:  # More layers than modules would be a circle, which `circle` reports.
      before = dict(levels)
      for path in own:
        for target in self._reachable(path):
          levels[path] = max(levels[path], levels.get(target, 0))
          through = [before[module] + 1 for module in below.get(_folder(target), ())]
          levels[path] = max([levels[path], *through])
      if levels == before or max(levels.values()) > len(own):
        break
    return levels

  def _reachable(self, path):
    if path not in self._reached:
      seen, left = set(), [path]
      while left:
        new = self.imports[left.pop()].keys() - seen
        seen |= new
        left += new
      self._reached[path] = seen
    return self._reached[path]

  def label(self, path):
    """Returns the label of the target that contains a source."""
    package = _folder(path)
    layers = self.layers.get(package, [[path]])
    level = next(i for i, paths in enumerate(layers) if path in paths or len(layers) == 1)
    return f'//{package}:{_layer_name(package, level, len(layers))}'

  @functools.cached_property
  def targets(self):
    """{label: its sources}."""
    targets = {}
    for path in self.sources:
      targets.setdefault(self.label(path), []).append(path)
    return targets

  @functools.cached_property
  def deps(self):
    """{label: {label that it depends on: the import that causes it}}."""
    deps = {label: {} for label in self.targets}
    for path, imported in self.imports.items():
      for target, line in imported.items():
        if self.label(target) != self.label(path):
          reason = f'{path}:{line} names {_module(target)}'
          deps[self.label(path)].setdefault(self.label(target), reason)
    return deps

  def circle(self):
    """Returns the labels of targets that depend on each other in a circle; () if none do."""
    try:
      graphlib.TopologicalSorter(self.deps).prepare()
    except graphlib.CycleError as error:
      return tuple(reversed(error.args[1]))
    return ()

  # ---- text

  def render(self, package):
    """Returns the text of a package's BUILD file."""
    is_test = package == 'tests' or package.startswith('tests/')
    blocks = ['load("//tests:py_test.bzl", "py_tests")\n'] if is_test else []
    if package == 'tests':
      blocks.append('exports_files(["run_pytest.py"])  # Main of every py_tests.\n')
    if package in self.data:
      patterns = [f'{entry}/**' if (self.root / package / entry).is_dir() else entry
                  for entry in sorted(self.data[package])]
      srcs = f'glob({_list("    srcs = glob()", patterns)})'
      blocks.append(_call('filegroup', {'name': '"data"', 'srcs': srcs}))
    blocks += self._targets(package, 'py_tests' if is_test else 'py_library')
    return (TOP_HEADER if not package else '') + '\n'.join(blocks)

  def _targets(self, package, rule):
    """Returns the blocks of a package's targets; the largest needs no list of its files."""
    own = [path for path in self.sources if _folder(path) == package]
    layers = self.layers.get(package, [own] if own else [])
    names = [_layer_name(package, level, len(layers)) for level in range(len(layers))]
    largest = max(layers, key=len, default=None)
    lists = {
      name.upper(): [pathlib.PurePath(path).name for path in paths]
      for name, paths in zip(names, layers, strict=True) if paths is not largest
    }
    exclude = f', exclude = {" + ".join(lists)}' if lists else ''
    blocks = [''.join(f'{name} = {_list(f"{name} = ", files)}\n' for name, files in lists.items())]
    for name in names:
      srcs = name.upper() if name.upper() in lists else f'glob(["*.py"]{exclude})'
      blocks.append(self._target(package, f'//{package}:{name}', rule, srcs))
    return [block for block in blocks if block]

  def _target(self, package, label, rule, srcs):
    """Returns the call of a rule, on one line if it fits."""
    attributes = {'name': f'"{label.rpartition(":")[2]}"', 'srcs': srcs}
    if rule == 'py_tests' and package not in self.layers:
      attributes = {}  # The macro's defaults.
    data = {_shown(f'//{owner}:data', package) for owner in self._data_packages(label)}
    deps = {_shown(dep, package) for dep in self.deps[label]}
    for name, labels in (('data', data), ('deps', deps)):
      if labels:
        attributes[name] = _list(f'    {name} = ', sorted(labels, key=_buildifier_order))
    return _call(rule, attributes)

  def _data_packages(self, label):
    """Yields the packages with data that a target reads, judged by string literals in its sources.

    The package's own sources, and those that import from it, name the file or folder that they
    read. Test data are also recognised by the name of their folder alone: 'goldens'.
    """
    for package, entries in self.data.items():
      for path in self.targets[label]:
        parts = {part for node in ast.walk(self.syntax[path])
                 if isinstance(node, ast.Constant) and isinstance(node.value, str)
                 for part in node.value.split('/')}
        near = package in {_folder(path), *map(_folder, self.imports[path])}
        named = package.startswith('tests/') and pathlib.PurePath(package).name in parts
        if named or (near and entries & parts):
          yield package
          break


def _lazy_submodules(path, call):
  """Returns the submodules in a call `lazy.attach(__name__, {name: submodule})`."""
  attributes = call.args[1] if len(call.args) == 2 else None
  if not isinstance(attributes, ast.Dict):
    raise ValueError(
      f'{path}:{call.lineno}: expected a literal dict of names in lazy.attach, found '
      f'{ast.unparse(call)!r}; write the names out, so that tools can read them.'
    )
  return [ast.literal_eval(value) for value in attributes.values]


def _is_script(path, syntax):
  guards = [ast.unparse(node.test) for node in syntax.body if isinstance(node, ast.If)]
  return path == 'setup.py' or "__name__ == '__main__'" in guards


def _folder(path):
  return path.rpartition('/')[0]


def _module(path):
  return path.removesuffix('.py').removesuffix('/__init__').replace('/', '.')


def _name_of(package):
  return package.rpartition('/')[2] or 'setup'


def _layer_name(package, level, count):
  if level == count - 1:
    return _name_of(package)
  return f'layer{level}' if level else 'base'


def _shown(label, package):
  """Abbreviates a label as buildifier does: `:name` in its package, `//a/b` for `//a/b:b`."""
  folder, _, name = label[2:].partition(':')
  if folder == package:
    return f':{name}'
  return f'//{folder}' if _name_of(folder) == name else label


def _buildifier_order(label):
  return label.startswith('//'), label.replace(':', '!')


def _call(rule, attributes):
  """Returns the call of a rule, on one line if that has at most 100 columns."""
  line = f'{rule}({", ".join(f"{name} = {value}" for name, value in attributes.items())})'
  if len(line) <= 100 and '\n' not in line:
    return f'{line}\n'
  lines = [f'    {name} = {value},' for name, value in attributes.items()]
  return '\n'.join([f'{rule}(', *lines, ')', ''])


def _list(start, values):
  """Formats a list that follows `start`, on one line or filling several of up to 100 columns."""
  items = [f'"{value}",' for value in values]
  line = f'[{" ".join(items).removesuffix(",")}]'
  if len(start) + len(line) < 100 or len(items) == 1:  # A comma or bracket follows.
    return line
  indent = start[:len(start) - len(start.lstrip())]
  lines = textwrap.wrap(
    ' '.join(items), 100, initial_indent=f'{indent}    ', subsequent_indent=f'{indent}    ',
    break_long_words=False, break_on_hyphens=False,
  )  # fmt: skip
  return '\n'.join(['[', *lines, f'{indent}]'])


def problems(root=ROOT):
  """Returns a message for each missing, superfluous or different BUILD file, and for a circle."""
  tree = Tree(root)
  messages = []
  circle = tree.circle()
  if circle:
    steps = [f'{b} ({tree.deps[a][b]})' for a, b in zip(circle, circle[1:], strict=False)]
    messages.append(
      'These folders import one another in a circle; move the shared code into a folder of its '
      f'own, or below: {" -> ".join([circle[0], *steps])}.'
    )
  for package in tree.packages:
    name = f'{package}/BUILD'.lstrip('/')
    path = tree.root / name
    present = path.read_text(encoding='utf-8').splitlines() if path.exists() else []
    expected = tree.render(package).splitlines()
    if present != expected:
      diff = difflib.unified_diff(present, expected, name, 'from the imports', lineterm='', n=1)
      messages.append('\n'.join([*diff, *_reasons(tree, package, set(expected) - set(present))]))
  return messages + [f'{path}: no sources are left here; delete it.' for path in _stale(tree)]


def _reasons(tree, package, lines):
  """Yields, for each dependency among added lines, the import that causes it."""
  for label, deps in tree.deps.items():
    if _folder(label[2:].replace(':', '/')) == package:
      yield from (f'{_shown(dep, package)}: {reason}' for dep, reason in deps.items()
                  if any(f'"{_shown(dep, package)}"' in line for line in lines))


def _stale(tree):
  return [path for path in tree.build_files if _folder(path) not in tree.packages]


def write(root=ROOT):
  """Rewrites the BUILD files; deletes those in folders without sources."""
  tree = Tree(root)
  for package in tree.packages:
    (tree.root / package / 'BUILD').write_text(tree.render(package), encoding='utf-8')
  for path in _stale(tree):
    (tree.root / path).unlink()


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
  print('\n'.join(wrong) or 'The BUILD files match the imports.')
  return 1 if wrong else 0


if __name__ == '__main__':
  sys.exit(main())
