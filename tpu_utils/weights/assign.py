"""Assigns named arrays to a model's variables by rules: each exactly once, or none at all."""
from __future__ import annotations

import collections
import dataclasses
import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from tpu_utils import assignment
from tpu_utils.text_table import text_table
from tpu_utils.weights import stored
from tpu_utils.weights.name_map import Rule

if TYPE_CHECKING:
  import keras


@dataclasses.dataclass(frozen=True)
class Report:
  """Variables that a checkpoint set; its text is one line.

  Attributes:
    path: the checkpoint.
    loaded: paths of the variables that were set.
    kept: paths of those that keep their initial values.
    unused: names in the file that no variable took.
    remark: a sentence on other settings taken from the file.
  """

  path: str
  loaded: tuple[str, ...]
  kept: tuple[str, ...]
  unused: tuple[str, ...]
  remark: str = ''

  def __str__(self) -> str:
    kinds = (('kept as they were', self.kept), ('unused in the file', self.unused))
    rest = ''.join(f'; {len(names)} {kind}: {", ".join(names)}' for kind, names in kinds if names)
    remark = f' {self.remark}' if self.remark else ''
    return f'{self.path}: {len(self.loaded)} variables loaded{rest}.{remark}'

  def table(self) -> str:
    """Returns the report as lines: variables loaded, missing in the file, and skipped in it."""
    loaded, *others = (
      ('loaded', len(self.loaded), ''),
      ('missing', len(self.kept), ', '.join(self.kept)),
      ('skipped', len(self.unused), ', '.join(self.unused)),
    )
    lines = textwrap.indent(text_table(loaded, others, left_columns=(0, 2)), '  ')
    return '\n'.join([f'Weights of {self.path}:', lines, *filter(None, [self.remark])])


def assign(
  model: keras.Model,
  rules: Mapping[str, Rule],
  tensors: Mapping[str, np.ndarray | stored.StoredArray],
  path: str,
  keep_initial: Iterable[str] = (),
  allow_missing: Iterable[str] = (),
  allow_unused: Iterable[str] = (),
  reinit_on_mismatch: Iterable[str] = (),
) -> Report:
  """Assigns tensors to the variables of a model.

  Values are read only once all names and shapes fit, and only those that the model takes.

  Args:
    model: a built `keras.Model`.
    rules: {variable.path: `Rule`}, one for each of `model.weights`.
    tensors: {name: array}; no name may stay unused.
    path: the file, for messages.
    keep_initial: see `loading.load`.
    allow_missing: see `loading.load`.
    allow_unused: see `loading.load`.
    reinit_on_mismatch: see `loading.load`.

  Raises:
    ValueError: names are missing, unexpected or of wrong shapes, copies differ, values are NaN or
      infinite, or the rules do not cover the model. No variable has been changed.
  """
  _check_rules(model, rules)
  kept = _absent(model, rules, tensors, tuple(keep_initial), tuple(allow_missing))
  mismatched = _mismatched(model, rules, tensors, tuple(reinit_on_mismatch))
  kept += [path for path in mismatched if path not in kept]
  variables = {v.path: v for v in model.weights if v.path not in kept}
  found = {key: rules[key] for key in variables if rules[key].name in tensors}
  ruled = {name for rule in rules.values() for name in (rule.name, *rule.copies)}
  left = [name for name in tensors if name not in ruled]
  mismatch = assignment.compare(
    variables,
    {key: _shape(rule, tensors) for key, rule in found.items()},
    names={key: rules[key].name for key in variables},
    shapes={key: tensors[rule.name].shape for key, rule in found.items()},
    unexpected=[name for name in left if not name.startswith(tuple(allow_unused))],
  )
  if mismatch:
    raise _error(model, path, mismatch)
  values = _read(path, found, tensors)
  for key, variable in variables.items():
    variable.assign(values[key])
  left += [rules[p].name for p in kept if rules[p].name in tensors]
  return Report(path, tuple(values), tuple(kept), tuple(left))


def _read(path, rules, tensors):
  """Returns {key: value}; reads each array once, as several rules may take slices of one."""
  names = dict.fromkeys(rule.name for rule in rules.values())
  arrays = {name: np.asarray(tensors[name]) for name in names}
  for rule in rules.values():
    _check_copies(path, rule, arrays[rule.name], tensors)
  values = {key: _value(rule, arrays[rule.name]) for key, rule in rules.items()}
  _check_finite(path, rules, values)
  return values


def _check_rules(model, rules):
  unruled = [v.path for v in model.weights if v.path not in rules]
  uses = collections.Counter((rule.name, rule.part) for rule in rules.values())
  twice = [name for (name, _), count in uses.items() if count > 1]
  if unruled or twice:
    raise ValueError(f'Name map of {model.name}: no rule for {unruled}, one name twice: {twice}.')


def _absent(model, rules, tensors, keep_initial, allow_missing):
  """Returns paths to keep: those in `keep_initial`, and `allow_missing` layers not in the file."""
  paths = [variable.path for variable in model.weights]
  given = {path.rpartition('/')[0] for path in paths if rules[path].name in tensors}
  return [
    path
    for path in paths
    if path.startswith(keep_initial)
    or (path.startswith(allow_missing) and path.rpartition('/')[0] not in given)
  ]


def _mismatched(model, rules, tensors, prefixes):
  """Returns paths of all variables of layers with a missing or differently shaped variable."""
  layers = collections.defaultdict(dict)
  for variable in model.weights:
    if variable.path.startswith(prefixes):
      layers[variable.path.rpartition('/')[0]][variable.path] = tuple(variable.shape)
  return [
    path
    for shapes in layers.values()
    if any(_shape(rules[path], tensors) != shape for path, shape in shapes.items())
    for path in shapes
  ]


def _shape(rule, tensors):
  if rule.name not in tensors:
    return None
  return tuple(_value(rule, stored.without_values(tensors[rule.name])).shape)


def _value(rule, array):
  return rule.transform(array) if rule.transform else array


def _check_copies(path, rule, value, tensors):
  for name in rule.copies:
    if name not in tensors:
      continue
    if tensors[name].shape != value.shape or not np.array_equal(tensors[name], value):
      raise ValueError(
        f'{path}: {name} differs from {rule.name}, and they are one variable of this model; '
        'nothing was loaded. Build the model with the two untied.'
      )


def _check_finite(path, rules, values):
  bad = [key for key, value in values.items() if not np.isfinite(value).all()]
  if bad:
    names = [f'{key} ({rules[key].name})' if rules[key].name != key else key for key in bad]
    more = f' and {len(names) - 5} more' if len(names) > 5 else ''
    raise ValueError(
      f'{path}: NaN or infinite values for {", ".join(names[:5])}{more}; nothing was loaded. The '
      'training that wrote it diverged, or the file is damaged: take an earlier or another copy.'
    )


def _error(model, path, mismatch):
  start = f'{path} does not fit {model.name} ({len(model.weights)} variables), nothing was loaded. '
  missing = mismatch.missing
  prefix = _prefix(missing, mismatch.unexpected)
  if prefix:
    return ValueError(
      f'{start}The {len(missing)} names that are missing are in the file with {prefix!r} before '
      f'them, such as {prefix}{missing[0]}. Save it again without that.'
    )
  return ValueError(
    f'{start}{mismatch.text()}. Build the model that the file was saved from, or name the layers '
    'to leave as initialised with keep_initial= and the names to ignore with allow_unused=.'
  )


def _prefix(missing, unexpected):
  """Returns the text before every name in the file, if that is the only difference; else ''."""
  first = min(missing, default='')
  prefixes = [name.removesuffix(first) for name in unexpected if first and name.endswith(first)]
  names = set(unexpected)
  return next((p for p in prefixes if p and names == {p + name for name in missing}), '')
