"""Runs scripts: parses a command line into settings and calls a function with them.

Flags are parsed by absl, only in this module; `settings` merges their values with recipes and
facts. TensorFlow is imported only after the settings are checked.
"""
import dataclasses
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import app, flags

from tpu_utils import file_systems
from tpu_utils.command_line import cli, recipes, settings
from tpu_utils.command_line.recipes import Recipe
from tpu_utils.errors import one_line
from tpu_utils.names import unknown_name

# Makes absl attribute flags to the calling script, not to this module.
flags.disclaim_key_flags()

_DEFINE = {
  bool: flags.DEFINE_bool,
  int: flags.DEFINE_integer,
  float: flags.DEFINE_float,
  str: flags.DEFINE_string,
}
# {type of flag in absl: how messages describe its values}.
_TYPES = {'bool': 'true or false', 'int': 'a whole number', 'float': 'a number'}
_HELP = ('--help', '-h', '-?', '-help', '--help=true', '--helpshort', '--helpfull')
_RECIPE_HELP = 'Settings to start from; flags override them. --recipe=list describes each.'
_EXIT_CLOSED_PIPE = 141  # 128 + SIGPIPE, as if the signal had ended the program.


@dataclasses.dataclass(frozen=True)
class Choice:
  """Presets and facts of a command line that precede the script's default recipe.

  Attributes:
    recipe: the recipe to run; None for the script's default.
    settings: {flag: value} to use instead of the recipe's settings; None for the recipe's.
    origin: source of the settings, for messages; empty for no message.
    facts: {flag: value} from a job's run.json.
  """

  recipe: Recipe | None = None
  settings: Mapping[str, Any] | None = None
  origin: str = ''
  facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def named_choice(flags_given: Mapping[str, Any], recipe: Recipe | None) -> Choice:
  """Chooses the recipe that the user named, or else the default."""
  del flags_given
  return Choice(recipe, origin=named_origin(recipe)) if recipe else Choice()


def named_origin(recipe: Recipe) -> str:
  """Returns the origin of a recipe's values, for messages: the flag that names it."""
  return f'--recipe={recipe.name}'


@dataclasses.dataclass(frozen=True)
class Script:
  """A program with flags.

  Attributes:
    doc: the script's docstring, shown first by `--help`.
    groups: the script's settings classes; each field is a flag.
    run: function(Resolved) that does the work, or function(Resolved, words) with `words`.
    words: whether arguments other than flags (such as files) are allowed.
    words_are_paths: whether those arguments may be paths, whose file systems are checked.
    elsewhere: {flag of the official script that this script lacks: advice for the user}.
    defaults: {flag: value} that replace the settings' own defaults, weaker than any recipe.
    module: the script's name for `python -m`, as in `Recipe.script`.
    recipes: {name: `Recipe`} of its paper. A script with a `default_recipe` runs only recipes of
      its own; of any other recipe, other scripts take the values of the flags that they share.
    default_recipe: name of the recipe to use if none is named; weaker than every other recipe.
    choose: function({flag: value} from the user, named `Recipe` or None) -> `Choice`.
    check: function(Resolved) that raises ValueError for mistakes, called before TensorFlow is
      imported.
    uses_tensorflow: whether to import TensorFlow before `run`, without its log messages.
  """

  doc: str
  groups: tuple[type, ...]
  run: Callable
  words: bool = False
  words_are_paths: bool = True
  elsewhere: Mapping[str, str] = dataclasses.field(default_factory=dict)
  defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  module: str = ''
  recipes: Mapping[str, Recipe] = dataclasses.field(default_factory=dict)
  default_recipe: str = ''
  choose: Callable = named_choice
  check: Callable = lambda resolved: None
  uses_tensorflow: bool = True

  def main(self) -> None:
    """Runs the script as a process and exits; a user's mistake prints one line (exit code 1).

    Library code raises `ValueError` and `OSError` for errors that a user can correct (unknown
    names, unreadable files); `--traceback` shows where one came from. Every other exception is a
    defect and keeps its traceback.
    """
    app.run(self._run_guarded, flags_parser=self._parse_guarded)

  def call(self, arguments: Sequence[str]) -> Any:
    """Runs the script in this process with separate absl flags; returns the result of `run`.

    Raises:
      ValueError, OSError: errors that `main` would report in one line.
    """
    flag_values = flags.FlagValues()
    return self._execute(*self._parse(flag_values, ['script', *arguments]))

  def resolve(self, given: Mapping[str, Any] | None = None) -> settings.Resolved:
    """Resolves the settings of a command line.

    Args:
      given: {flag: value} of exactly the flags that the user gave.

    Raises:
      ValueError: a value is not allowed, or the recipe is unknown.
    """
    given = dict(given or {})
    recipe = self._named_recipe(given.pop('recipe', None))
    choice = self.choose(given, recipe)
    chosen = choice.recipe or self.recipes.get(self.default_recipe)
    preset = choice.settings
    if preset is None and choice.recipe is not None:
      preset = self._shared(choice.recipe)
    presets = [] if preset is None else [preset]
    return settings.Resolved(
      self.groups,
      given,
      [*presets, *self._weakest()],
      choice.facts,
      recipe=chosen.name if chosen else None,
      origin=choice.origin,
    )

  def parse(self, arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Parses arguments without running the script.

    Returns:
      ({flag: value} of exactly the flags that the user gave, other arguments).

    Raises:
      ValueError: an unknown flag, a value of another type, or an argument that is not a flag.
    """
    return self._parse(flags.FlagValues(), ['script', *arguments])

  def help_text(self) -> str:
    """Returns the `--help` page."""
    page = settings.help_text(self.doc, self.groups, self._weakest())
    if not self._usable_recipes():
      return page
    names = ', '.join(self._usable_recipes())
    recipe = f'  --recipe={self.default_recipe}\n      {_RECIPE_HELP} One of {names}.'
    return f'{page}\nThe recipe.\n\n{recipe}\n'

  def recipes_text(self) -> str:
    """Lists the recipes.

    Of the script's own: name, source, expected result, cost and command. Of those that it only
    shares flags with: name, script and the values.
    """
    own = recipes.for_script(self.recipes, self.module)
    shared = [
      f'{name} (of python -m {recipe.script})\n  {settings.as_flags(self._shared(recipe))}'
      for name, recipe in self._usable_recipes().items()
      if name not in own
    ]
    blocks = [recipes.table(own)] if own else []
    return '\n\n'.join([*blocks, *shared]) or 'No recipe sets a flag of this script.'

  def _usable_recipes(self):
    own = recipes.for_script(self.recipes, self.module)
    if self.default_recipe:
      return own
    return own | {name: recipe for name, recipe in self.recipes.items() if self._shared(recipe)}

  def _shared(self, recipe):
    """Returns the settings of a recipe; of another script's, those that this one has flags for."""
    if recipe.script == self.module:
      return recipe.settings
    flag_names = self._flag_names()
    return {name: value for name, value in recipe.settings.items() if name in flag_names}

  def _weakest(self):
    default = self.recipes.get(self.default_recipe)
    return (*([default.settings] if default else []), self.defaults)

  def _named_recipe(self, name):
    if name is None:
      return None
    usable = self._usable_recipes()
    if name in usable:
      return usable[name]
    if name in self.recipes:
      raise ValueError(
        f'--recipe={name} belongs to another script: python -m {self.recipes[name].script} '
        f'--recipe={name}'
      )
    if not usable:
      raise ValueError(f'--recipe={name}: no recipe sets a flag of this script; leave it out.')
    raise unknown_name('recipe', name, usable)

  def _parse(self, flag_values, argv):
    self._define_flags(flag_values)
    try:
      rest = flag_values(argv)
    except flags.UnrecognizedFlagError as e:
      raise self._unknown_flag(e.flagname) from None
    except flags.IllegalFlagValueError as e:
      raise _wrong_value(e, flag_values) from None
    except flags.Error as e:
      raise ValueError(f'{one_line(e)} (--help explains the flags)') from None
    if len(rest) > 1 and not self.words:
      raise ValueError(f'{rest[1]!r} is not a flag; flags are written --name=value.')
    return self._given(flag_values), rest[1:]

  def _define_flags(self, flag_values):
    """Defines one flag for each setting; flags that the user does not give have no value."""
    for field in (field for group in self.groups for field in dataclasses.fields(group)):
      define = _DEFINE[field.metadata['type']]
      define(field.name, None, field.metadata['help'], flag_values=flag_values)
      for alias in field.metadata['aliases']:
        flags.DEFINE_alias(alias, field.name, flag_values=flag_values)
    flags.DEFINE_string('recipe', None, _RECIPE_HELP, flag_values=flag_values)

  def _flag_names(self):
    return [field.name for group in self.groups for field in dataclasses.fields(group)]

  def _given(self, flag_values):
    """Returns {flag: value} of exactly the flags that the user gave."""
    names = [*self._flag_names(), 'recipe']
    return {name: flag_values[name].value for name in names if flag_values[name].present}

  def _unknown_flag(self, name):
    instead = self.elsewhere.get(name) or self.elsewhere.get(name.removeprefix('no'))
    if instead:
      return ValueError(f'--{name} is a flag of the official script only: {instead}.')
    aliases = [
      alias
      for group in self.groups
      for field in dataclasses.fields(group)
      for alias in field.metadata['aliases']
    ]
    others = ('recipe', 'help', 'traceback')
    return unknown_name('flag', name, [*self._flag_names(), *aliases, *others])

  def _execute(self, given, words):
    remote = _remote_paths(given, words if self.words_are_paths else [])
    try:
      resolved = self.resolve(given)
      self.check(resolved)
      if resolved.origin and not self.default_recipe:  # Else `run` announces it, with its checks.
        print(resolved.preset_text())
      if self.uses_tensorflow:
        cli.import_tensorflow()
      return self.run(resolved, words) if self.words else self.run(resolved)
    except file_systems.errors() as error:
      cause = file_systems.access_error(error, remote)
      if cause is None:
        raise
      raise cause from error

  def _parse_guarded(self, argv):
    """Parses the process's flags; exits on a mistake and after `--help`."""
    if any(argument in _HELP for argument in argv[1:]):
      sys.exit(_print_page(self.help_text()))
    flags.DEFINE_bool('traceback', False, 'Show the traceback of errors in the input, too.')
    try:
      return self._parse(flags.FLAGS, argv)
    except ValueError as e:
      sys.exit(_complain(e))

  def _run_guarded(self, parsed):
    given, words = parsed
    if given.get('recipe') in ('', 'list'):
      return _print_page(self.recipes_text())
    try:
      self._execute(given, words)
      sys.stdout.flush()
    except cli.Interrupted as e:
      print(e, file=sys.stderr)
      return cli.EXIT_INTERRUPTED
    except KeyboardInterrupt:
      print('Stopped by Ctrl-C.', file=sys.stderr)
      return cli.EXIT_KEYBOARD
    except (ValueError, OSError) as e:
      if isinstance(e, BrokenPipeError) and _nobody_reads():
        return _EXIT_CLOSED_PIPE
      if flags.FLAGS['traceback'].value:
        raise
      return _complain(e)
    return 0


def _remote_paths(given, words):
  """Returns the remote paths among the user's values; ValueError without a file system for one."""
  texts = [(name, value) for name, value in given.items() if isinstance(value, str)]
  texts += [('', word) for word in words]
  paths = [(name, path) for name, text in texts for path in text.split(',')]
  for name, path in paths:
    file_systems.check_known(path, name)
  remote = [(name, path) for name, path in paths if file_systems.is_remote(path)]
  if remote:
    cli.import_tensorflow()  # Quietly, before a file system does.
  for name, path in remote:
    file_systems.check_scheme(path, name)
  return [path for _, path in remote]


def _wrong_value(error, flag_values):
  """Converts absl's error for a value of the wrong type, which shows Python's own message."""
  match = re.match(r'flag --(\w+)=(.*?): ', str(error), re.DOTALL)
  kind = match and flag_values[match[1]].flag_type()
  if kind not in _TYPES:
    return ValueError(f'{one_line(error)} (--help explains the flags)')
  return ValueError(f'--{match[1]}={match[2]} must be {_TYPES[kind]}.')


def _print_page(text):
  """Prints a page, even if a pager or `head` stops reading; returns the exit code."""
  try:
    print(text, flush=True)
  except BrokenPipeError:
    _nobody_reads()
  return 0


def _nobody_reads():
  """Returns whether standard output is closed; if so, redirects it to /dev/null."""
  try:
    print(flush=True)  # A flush alone succeeds where the error has emptied the buffer.
  except BrokenPipeError:
    # Otherwise Python's last flush at exit would report an error.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True
  return False


def _complain(error):
  print(f'Error: {one_line(error)}', file=sys.stderr)
  return 1
