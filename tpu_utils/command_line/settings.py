"""Settings as frozen dataclasses: each field is a flag with its default, type, help and limits.

Values come from several sources, strongest first: the user's flags, facts found in the data or in a
job's run.json, presets, recipes, defaults. `resolve` merges them once; all code below the scripts
gets the dataclasses. Parsing flags is left to `script`. Imports neither TensorFlow nor Keras, so
that `--help` answers at once.
"""
import dataclasses
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from tpu_utils.names import check_name


def setting(
  default: Any,
  help: str,  # noqa: A002 - argparse's names, as `type`.
  *,
  choices: Sequence | None = None,
  at_least: float | None = None,
  below: float | None = None,
  check: Callable[[str, Any], None] | None = None,
  type: type | None = None,  # noqa: A002
  aliases: Sequence[str] = (),
) -> Any:
  """Creates a dataclass field that is also a flag.

  Args:
    default: value if the flag is not given; None if it depends on the model or the data.
    help: one sentence for `--help`.
    choices: allowed values (None is always allowed when it is the default).
    at_least: smallest allowed number.
    below: exclusive upper bound.
    check: called with a name for messages and the value; raises ValueError for a wrong one.
    type: bool, int, float or str; needed only when the default is None.
    aliases: further names of the flag, such as the official ones.
  """
  metadata = {
    'help': help,
    'choices': choices,
    'at_least': at_least,
    'below': below,
    'check': check,
    'type': type or default.__class__,
    'aliases': aliases,
  }
  return dataclasses.field(default=default, metadata=metadata)


def subset(config_class: type, names: Iterable[str], doc: str, **others: Any) -> Any:
  """Creates a class with some of the settings of `config_class`, for a script without the others.

  Args:
    config_class: a dataclass of settings.
    names: settings to include.
    doc: the new class's docstring, the heading in `--help`.
    **others: replacements by name: other defaults, or whole settings (`setting`).
  """
  fields = {field.name: field for field in dataclasses.fields(config_class)}
  own = []
  for name in names:
    new = others.get(name, fields[name].default)
    if not isinstance(new, dataclasses.Field):
      new = dataclasses.field(default=new, metadata=fields[name].metadata)
    own.append((name, fields[name].type, new))
  return dataclasses.make_dataclass(
    config_class.__name__, own, bases=(Checked,), frozen=True, namespace={'__doc__': doc}
  )


class Checked:
  """Base class of the settings classes: checks choices and bounds of each new instance.

  Numbers must be finite.

  Attributes:
    given: names of the settings that the user gave; see `resolve`.
  """

  given: ClassVar[frozenset[str]] = frozenset()

  def __post_init__(self):
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if value is None and field.default is None:
        continue
      choices, at_least, below = (field.metadata[key] for key in ('choices', 'at_least', 'below'))
      if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f'--{field.name}={value} must be a finite number.')
      if choices:
        check_name(f'value of --{field.name}', value, choices)
      if field.metadata['check']:
        field.metadata['check'](f'value of --{field.name}', value)
      if at_least is not None and not value >= at_least:
        raise ValueError(f'--{field.name}={value} must be at least {at_least}.')
      if below is not None and not value < below:
        raise ValueError(f'--{field.name}={value} must be below {below}.')


class Resolved(tuple):
  """A tuple with an instance of each group of settings, in the order of the groups.

  See `resolve`.

  Attributes:
    groups: the settings classes.
    flags: {name: value} from the user.
    presets: {name: value} each, strongest first.
    facts: {name: value} found in the data or in a job's run.json.
    recipe: name of the recipe, None for scripts without recipes.
    origin: source of the first preset, for messages; empty for the defaults.
  """

  groups: tuple[type, ...]
  flags: dict[str, Any]
  presets: tuple[Mapping[str, Any], ...]
  facts: dict[str, Any]
  recipe: str | None
  origin: str

  def __new__(
    cls,
    groups: Iterable[type],
    flags: Mapping[str, Any],
    presets: Iterable[Mapping[str, Any]] = (),
    facts: Mapping[str, Any] | None = None,
    *,
    recipe: str | None = None,
    origin: str = '',
  ) -> 'Resolved':
    groups, presets, facts = tuple(groups), tuple(presets), dict(facts or {})
    known = [field.name for group in groups for field in dataclasses.fields(group)]
    for name in (name for source in (flags, facts, *presets) for name in source):
      check_name('setting', name, known)
    merged = _merge(groups, (flags, facts, *presets))
    self = super().__new__(cls, [_instance(group, merged, flags) for group in groups])
    self.groups, self.flags, self.presets, self.facts = groups, dict(flags), presets, facts
    self.recipe, self.origin = recipe, origin
    return self

  def get(self, group: type) -> Any:
    """Returns the instance of a settings class or of a class derived from it."""
    return next(instance for instance in self if isinstance(instance, group))

  def as_dict(self) -> dict[str, Any]:
    """Returns {flag: value} of all groups, and `recipe` if any, for run.json."""
    merged = _merge(self.groups, (self.flags, self.facts, *self.presets))
    return merged if self.recipe is None else {**merged, 'recipe': self.recipe}

  def with_facts(self, facts: Mapping[str, Any]) -> 'Resolved':
    """Resolves the settings with further facts, which replace earlier ones of the same name."""
    return self._resolve(self.flags, {**self.facts, **facts})

  def with_flags(self, flags: Mapping[str, Any]) -> 'Resolved':
    """Resolves the settings as if the user had given these flags, too."""
    return self._resolve({**self.flags, **flags}, self.facts)

  def _resolve(self, flags, facts):
    return Resolved(
      self.groups, flags, self.presets, facts, recipe=self.recipe, origin=self.origin
    )

  def changes(self, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns {name: value} of the settings that `with_facts(facts)` would change."""
    before = self.as_dict()
    after = _merge(self.groups, (self.flags, facts, self.facts, *self.presets))
    return {name: after[name] for name in facts if after[name] != before[name]}

  def preset_text(self) -> str:
    """Describes the first preset, its origin and the values it sets; empty without a preset."""
    if not self.origin:
      return ''
    merged = self.as_dict()
    others = _merge(self.groups, (self.flags, self.facts, *self.presets[1:]))
    changed = {name: merged[name] for name in self.presets[0] if merged[name] != others[name]}
    return f'{self.origin}, with\n  {as_flags(changed)}' if changed else f'{self.origin}.'


def resolve(
  groups: Iterable[type],
  flags: Mapping[str, Any],
  presets: Iterable[Mapping[str, Any]] = (),
  facts: Mapping[str, Any] | None = None,
) -> Resolved:
  """Merges the sources of a script's settings: flags, then facts, presets in order, defaults.

  Args:
    groups: the settings classes.
    flags: {name: value} of exactly the flags that the user gave.
    presets: {name: value} each, strongest first: a preset, then a recipe.
    facts: {name: value} found in the data, or in the run.json of a checkpoint's job.

  Returns:
    `Resolved`, a tuple with one frozen instance per group. `instance.given` contains the names of
    the settings that the user gave; equality and `repr` ignore it.

  Raises:
    ValueError: a value is not allowed, or no group has a setting of that name.
  """
  return Resolved(groups, flags, presets, facts)


def _merge(groups, sources):
  """Returns {name: value} of all fields, each from the first source that has it."""
  merged = {}
  for field in (field for group in groups for field in dataclasses.fields(group)):
    source = next((source for source in sources if field.name in source), None)
    merged[field.name] = field.default if source is None else source[field.name]
  return merged


def _instance(group, merged, flags):
  names = [field.name for field in dataclasses.fields(group)]
  instance = group(**{name: merged[name] for name in names})
  object.__setattr__(instance, 'given', frozenset(name for name in names if name in flags))
  return instance


def as_flags(values: Mapping[str, Any]) -> str:
  """Formats {flag: value} as a command line: '--name=value --name=value'."""
  return ' '.join(f'--{name}={value}' for name, value in values.items())


def help_text(
  doc: str, groups: Iterable[type], presets: Iterable[Mapping[str, Any]] = ()
) -> str:
  """Returns the `--help` page: the script's docstring, then the flags by group.

  Args:
    doc: the script's docstring.
    groups: the settings classes.
    presets: {flag: value} each, to show in place of defaults, strongest first.
  """
  parts = [textwrap.dedent(doc or '').strip(), '']
  for group in groups:
    parts += [(group.__doc__ or group.__name__).splitlines()[0], '']
    for field in dataclasses.fields(group):
      source = next((preset for preset in presets if field.name in preset), {})
      default = source.get(field.name, field.default)
      shown = '' if default is None else f'={default}'
      choices = field.metadata['choices']
      text = field.metadata['help']
      if choices:
        text += f' One of {", ".join(map(str, choices))}.'
      aliases = ''.join(f', --{alias}' for alias in field.metadata['aliases'])
      parts.append(f'  --{field.name}{shown}{aliases}')
      parts += textwrap.wrap(text, 96, initial_indent='      ', subsequent_indent='      ')
    parts.append('')
  return '\n'.join(parts)
