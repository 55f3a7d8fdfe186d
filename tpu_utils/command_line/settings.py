"""Settings: frozen dataclasses, one field a flag, with one place for default, type, help and check.

A script's values come from several sources, strongest first: the flags that the user gave, facts
found in the data or in the record of a job, presets, recipes, defaults. `resolve` merges them once;
everything below the scripts gets the dataclasses. Nothing here knows how flags are parsed (see
`script`), and neither TensorFlow nor Keras is imported, so that `--help` answers at once.
"""
import dataclasses
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from tpu_utils.names import check_name


def setting(
  default,
  help,  # noqa: A002 - argparse's names, as `type`.
  *,
  choices=None,
  at_least=None,
  below=None,
  type=None,  # noqa: A002
  aliases=(),
):
  """A dataclass field that is also a flag.

  Args:
    default: value when the flag is not given; None where the model or data decides.
    help: one sentence for `--help`.
    choices: allowed values (None is always allowed when it is the default).
    at_least: smallest allowed number.
    below: number that it must be less than.
    type: bool, int, float or str; needed only when the default is None.
    aliases: further names of the flag, such as the official ones.
  """
  metadata = {
    'help': help,
    'choices': choices,
    'at_least': at_least,
    'below': below,
    'type': type or default.__class__,
    'aliases': aliases,
  }
  return dataclasses.field(default=default, metadata=metadata)


def subset(config_class, names, doc, **others):
  """Returns a class with some of the settings of `config_class`, for a script that needs no others.

  Args:
    config_class: a dataclass of settings.
    names: those to take over.
    doc: its docstring, the heading in `--help`.
    **others: in place of theirs: defaults, or whole settings (`setting`).
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
  """Base of the settings classes: checks choices and bounds when an instance is made.

  Attributes:
    given: names of the settings that the user gave; see `resolve`.
  """

  given = frozenset()

  def __post_init__(self):
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if value is None and field.default is None:
        continue
      choices, at_least, below = (field.metadata[key] for key in ('choices', 'at_least', 'below'))
      if choices:
        check_name(f'value of --{field.name}', value, choices)
      if at_least is not None and not value >= at_least:
        raise ValueError(f'--{field.name}={value} must be at least {at_least}.')
      if below is not None and not value < below:
        raise ValueError(f'--{field.name}={value} must be below {below}.')


class Resolved(tuple):
  """One instance of each group of settings, in the order of the groups; see `resolve`.

  Attributes:
    groups: the settings classes.
    flags: {name: value} of the user.
    presets: mappings, strongest first.
    facts: {name: value} found in the data or in the record of a job.
    recipe: name of the recipe, None for scripts without recipes.
    origin: where the first preset comes from, for people; empty for the defaults.
  """

  def __new__(
    cls,
    groups: Iterable[type],
    flags: Mapping[str, Any],
    presets: Iterable[Mapping[str, Any]] = (),
    facts: Mapping[str, Any] | None = None,
    *,
    recipe: str | None = None,
    origin: str = '',
  ):
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
    """Returns {flag: value} of all groups, and `recipe` if any, for the record of a run."""
    merged = _merge(self.groups, (self.flags, self.facts, *self.presets))
    return merged if self.recipe is None else {**merged, 'recipe': self.recipe}

  def with_facts(self, facts: Mapping[str, Any]) -> 'Resolved':
    """Resolves again with further facts, which replace earlier ones of the same name."""
    return self._again(self.flags, {**self.facts, **facts})

  def with_flags(self, flags: Mapping[str, Any]) -> 'Resolved':
    """Resolves again as if the user had given these flags, too."""
    return self._again({**self.flags, **flags}, self.facts)

  def _again(self, flags, facts):
    return Resolved(
      self.groups, flags, self.presets, facts, recipe=self.recipe, origin=self.origin
    )

  def changes(self, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those of the facts that `with_facts` would give another value."""
    before = self.as_dict()
    after = _merge(self.groups, (self.flags, facts, self.facts, *self.presets))
    return {name: after[name] for name in facts if after[name] != before[name]}

  def preset_text(self) -> str:
    """Describes the first preset: its origin, and the values that it gives; empty without one."""
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
    flags: {name: value} of exactly the values that the user gave.
    presets: {name: value}, strongest first: a preset, then a recipe.
    facts: {name: value} found in the data, or in the record of the job that wrote a checkpoint.

  Returns:
    `Resolved`, a tuple of one frozen instance a group. `instance.given` holds the names of the
    values that the user gave; it takes no part in equality and `repr`.

  Raises:
    ValueError: a value that its setting does not allow, or a name that no group has.
  """
  return Resolved(groups, flags, presets, facts)


def _merge(groups, sources):
  """Returns {name: value} of all fields; the first source that has a name wins."""
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
  """Formats {flag: value} as on a command line."""
  return ' '.join(f'--{name}={value}' for name, value in values.items())


def help_text(
  doc: str, groups: Iterable[type], presets: Iterable[Mapping[str, Any]] = ()
) -> str:
  """Returns the `--help` page: the script's docstring, then the flags by group.

  Args:
    doc: the script's docstring.
    groups: the settings classes.
    presets: {flag: value} that replace defaults, strongest first.
  """
  parts = [textwrap.dedent(doc or '').strip(), '']
  for group in groups:
    parts += [f'{group.__doc__.splitlines()[0]}', '']
    for field in dataclasses.fields(group):
      source = next((preset for preset in presets if field.name in preset), {})
      default = source.get(field.name, field.default)
      shown = '' if default is None else f'={default}'
      choices = field.metadata['choices']
      text = field.metadata['help'] + (f' One of {", ".join(map(str, choices))}.' if choices else '')
      aliases = ''.join(f', --{alias}' for alias in field.metadata['aliases'])
      parts.append(f'  --{field.name}{shown}{aliases}')
      parts += textwrap.wrap(text, 96, initial_indent='      ', subsequent_indent='      ')
    parts.append('')
  return '\n'.join(parts)
