"""Frozen dataclasses whose fields are a script's flags: one place for default, type, help and check.

A script's `main.py` calls `define_flags` at import and `from_flags` in `main`; nothing else reads
flags. This module imports neither TensorFlow nor Keras, so that `--help` answers at once.
"""
import dataclasses
import sys
import textwrap

from absl import flags

from tpu_utils.command_line import cli
from tpu_utils.names import check_name, unknown_name

# Flags belong to the script that asks for them, not to this module.
flags.disclaim_key_flags()

_DEFINE = {
  bool: flags.DEFINE_bool,
  int: flags.DEFINE_integer,
  float: flags.DEFINE_float,
  str: flags.DEFINE_string,
}


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


def part(config_class, names, doc, **others):
  """A class of some of the settings of `config_class`: for a script that needs no others.

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


def define_flags(config_class, flag_values=flags.FLAGS, **defaults):
  """Defines one flag for each field of `config_class`; `defaults` replaces single defaults."""
  for field in dataclasses.fields(config_class):
    define = _DEFINE[field.metadata['type']]
    default = defaults.get(field.name, field.default)
    define(field.name, default, field.metadata['help'], flag_values=flag_values)
    for alias in field.metadata['aliases']:
      flags.DEFINE_alias(alias, field.name, flag_values=flag_values)


def from_flags(config_class, flag_values):
  """Builds `config_class` from parsed flags; its checks name the flag and the nearest values."""
  names = [field.name for field in dataclasses.fields(config_class)]
  return config_class(**{name: flag_values[name].value for name in names})


def all_values(config_classes, flag_values):
  """{flag: value} of all the flags of these classes, for the record of a run."""
  fields = [field for c in config_classes for field in dataclasses.fields(c)]
  return {field.name: flag_values[field.name].value for field in fields}


class Checked:
  """Base of the settings classes: checks choices and bounds when an instance is made."""

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


def apply_preset(flag_values, preset):
  """Gives every flag of `preset` that the user did not set its preset value.

  Returns:
    The {flag: value} that were filled in, in the preset's order.
  """
  filled = {name: value for name, value in preset.items() if not flag_values[name].present}
  for name, value in filled.items():
    flag_values[name].value = value
  return filled


def fill_in(flag_values, preset, why):
  """`apply_preset`, and says on standard output what was filled in and why."""
  filled = apply_preset(flag_values, preset)
  print(f'{why}, with')
  print('  ' + ' '.join(f'--{name}={value}' for name, value in filled.items()))


def help_text(doc, config_classes, flag_values):
  """The `--help` page: the script's docstring, then the flags in the groups of the dataclasses."""
  parts = [textwrap.dedent(doc or '').strip(), '']
  for config_class in config_classes:
    parts += [f'{config_class.__doc__.splitlines()[0]}', '']
    for field in dataclasses.fields(config_class):
      default = flag_values[field.name].default
      shown = '' if default is None else f'={default}'
      choices = field.metadata['choices']
      text = field.metadata['help'] + (f' One of {", ".join(map(str, choices))}.' if choices else '')
      aliases = ''.join(f', --{alias}' for alias in field.metadata['aliases'])
      parts.append(f'  --{field.name}{shown}{aliases}')
      parts += textwrap.wrap(text, 96, initial_indent='      ', subsequent_indent='      ')
    parts.append('')
  return '\n'.join(parts)


def parse_flags(doc, config_classes, positional=False, elsewhere=None):
  """Returns the flags parser of a script: `--help` prints `help_text`; mistakes take one line.

  Args:
    doc: the script's docstring.
    config_classes: its groups of flags.
    positional: whether words that are no flags (files, say) may follow; `main(argv)` finds them in argv[1:].
    elsewhere: {flag of the official script that this one does not have: what to do instead}.
  """

  def parse(argv):
    if any(argument in ('--help', '-h', '-help', '--helpfull') for argument in argv[1:]):
      print(help_text(doc, config_classes, flags.FLAGS))
      sys.exit(0)
    try:
      rest = flags.FLAGS(argv)
    except flags.UnrecognizedFlagError as e:
      instead = (elsewhere or {}).get(e.flagname)
      if instead:
        sys.exit(_complain(f'--{e.flagname} is a flag of the official script only: {instead}.'))
      sys.exit(_complain(unknown_name('flag', e.flagname, flags.FLAGS)))
    except flags.Error as e:
      sys.exit(_complain(f'{cli.one_line(e)} (--help explains the flags)'))
    if len(rest) > 1 and not positional:
      sys.exit(_complain(f'{rest[1]!r} is not a flag; flags are written --name=value.'))
    return rest

  return parse


def _complain(message):
  print(f'Error: {message}', file=sys.stderr)
  return 1
