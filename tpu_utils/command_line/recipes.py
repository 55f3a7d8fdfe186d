"""Training recipes as data: a record per published way to train or evaluate a model.

Each paper's package has a `recipes.py` with its records; `--recipe=NAME` selects one and
`--recipe=list` prints all of them. Does not import TensorFlow.
"""
import dataclasses
import math
import re
import shlex
import textwrap
import types
from collections.abc import Iterable, Mapping

WIDTH = 100  # Columns of the lists that `table` formats.

_TEXTS = ('script', 'paper', 'command', 'expects')


@dataclasses.dataclass(frozen=True)
class Recipe:
  """The settings, command, result and cost of a published training or evaluation.

  Attributes:
    name: the value of `--recipe`.
    script: module that runs it, such as 'efficientnet.main'.
    paper: the source of the settings: section of a paper, official file or command.
    settings: {flag: value}, without the flag's dashes; read-only. Other flags keep the script's
      defaults.
    command: the command line, with names in capitals for the user's paths.
    expects: the published result, with its source; or a note that there is none.
    measured: this project's result, with the conditions; None without a measurement.
    cost: hardware and time, and whether they are stated, measured or estimated.
  """

  name: str
  script: str
  paper: str
  settings: Mapping[str, bool | int | float | str]
  command: str
  expects: str
  measured: str | None = None
  cost: str = ''

  def __post_init__(self):
    if not isinstance(self.name, str) or not re.fullmatch('[a-z][a-z0-9_]*', self.name):
      raise ValueError(
        f'Recipe name {self.name!r} must be lower-case letters, digits and underscores, and begin '
        'with a letter.'
      )
    for field in _TEXTS:
      value = getattr(self, field)
      if not isinstance(value, str) or not value.strip():
        raise ValueError(f'Recipe {self.name}: {field} is {value!r}; give a non-empty text.')
    if self.measured is not None and not self.measured.strip():
      raise ValueError(f'Recipe {self.name}: measured is empty; give None for no measurement.')
    object.__setattr__(self, 'settings', types.MappingProxyType(_checked(self.name, self.settings)))
    self._check_command()

  def __hash__(self):
    return hash((self.name, self.script, self.command, tuple(sorted(self.settings.items()))))

  def _check_command(self):
    words = shlex.split(self.command)
    if words[:3] != ['python', '-m', self.script]:
      raise ValueError(
        f'Recipe {self.name}: its command must start with "python -m {self.script}", '
        f'found {" ".join(words[:3])!r}.'
      )
    if f'--recipe={self.name}' not in words:
      raise ValueError(f'Recipe {self.name}: its command lacks --recipe={self.name}.')

  def with_settings(
    self,
    name: str,
    changes: Mapping[str, bool | int | float | str],
    *,
    paper: str,
    expects: str,
    cost: str,
    command: str | None = None,
    measured: str | None = None,
  ) -> 'Recipe':
    """Derives another recipe.

    Args:
      name: the new recipe's name.
      changes: settings that replace or join this recipe's.
      paper: source of the changed settings.
      expects: the new recipe's published result.
      cost: the new recipe's cost.
      command: by default this recipe's with the new name.
      measured: not inherited, since a measurement holds for one recipe only.

    Returns:
      A new `Recipe`; this one does not change.

    Raises:
      ValueError: the new name, a setting or the command is not valid.
    """
    if command is None:
      command = self.command.replace(f'--recipe={self.name}', f'--recipe={name}')
    return dataclasses.replace(
      self,
      name=name,
      paper=paper,
      settings={**self.settings, **changes},
      command=command,
      expects=expects,
      measured=measured,
      cost=cost,
    )


def _checked(name, settings):
  if not isinstance(settings, Mapping) or not settings:
    raise ValueError(f'Recipe {name}: settings is {settings!r}; give a mapping of flag to value.')
  for flag, value in settings.items():
    if not isinstance(flag, str) or not re.fullmatch('[A-Za-z][A-Za-z0-9_]*', flag):
      raise ValueError(f'Recipe {name}: {flag!r} is not the name of a flag; leave out the dashes.')
    finite = not isinstance(value, float) or math.isfinite(value)
    if not isinstance(value, bool | int | float | str) or not finite:
      raise ValueError(
        f'Recipe {name}: --{flag} is {value!r}; give a bool, a finite number or a text.'
      )
  return dict(settings)


def by_name(recipes: Iterable[Recipe]) -> Mapping[str, Recipe]:
  """Returns a read-only {name: recipe}, in the given order.

  Raises:
    ValueError: two recipes share a name.
  """
  named: dict[str, Recipe] = {}
  for recipe in recipes:
    if recipe.name in named:
      raise ValueError(f'Two recipes are called {recipe.name!r}; rename one.')
    named[recipe.name] = recipe
  return types.MappingProxyType(named)


def for_script(recipes: Mapping[str, Recipe], script: str) -> dict[str, Recipe]:
  """Selects the recipes that `script`, a module's name, can run."""
  return {name: recipe for name, recipe in recipes.items() if recipe.script == script}


def table(recipes: Mapping[str, Recipe]) -> str:
  """Formats recipes for a terminal of 100 columns, as one block of lines each."""
  return '\n\n'.join(_block(recipe) for recipe in recipes.values())


def _block(recipe):
  rows = (
    ('source', recipe.paper),
    ('expects', recipe.expects),
    ('measured', recipe.measured or 'not by this project'),
    ('cost', recipe.cost or 'unknown'),
  )
  lines = [recipe.name]
  for label, text in rows:
    lines += textwrap.wrap(
      text,
      WIDTH,
      initial_indent=f'  {label:<10}',
      subsequent_indent=' ' * 12,
      break_on_hyphens=False,
    )
  return '\n'.join(lines + _command_lines(recipe.command))


def _command_lines(command):
  """Splits a command at spaces into lines that a shell joins again."""
  lines = textwrap.wrap(
    command,
    WIDTH - 2,  # For the backslash.
    initial_indent=f'  {"command":<10}',
    subsequent_indent=' ' * 16,
    break_long_words=False,
    break_on_hyphens=False,
  )
  return [line + ' \\' for line in lines[:-1]] + lines[-1:]
