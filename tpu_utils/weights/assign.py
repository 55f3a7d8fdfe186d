"""Sets a model's variables from named arrays: each exactly once, or none at all."""
import collections
import dataclasses
from collections.abc import Callable

import numpy as np

_SHOWN = 8  # Names listed of each kind of mismatch; the rest is counted.


@dataclasses.dataclass(frozen=True)
class Rule:
  """Where a variable's value comes from: a name in the file, and what to do with that array.

  `part` numbers the rules that take one array, mostly different parts of it. `copies` are names under
  which a file may hold the same array again, as torch files do with tied variables.
  """

  name: str
  transform: Callable | None = None
  part: int | None = None
  copies: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Report:
  """What came of loading a checkpoint; its text is one line."""

  path: str
  loaded: tuple[str, ...]  # Paths of the variables that were set.
  fresh: tuple[str, ...]  # Paths of those that keep their values.
  unused: tuple[str, ...]  # Names in the file that went nowhere.

  def __str__(self):
    kinds = (('kept as they were', self.fresh), ('unused in the file', self.unused))
    rest = ''.join(f'; {len(names)} {kind}: {_some(names)}' for kind, names in kinds if names)
    return f'{self.path}: {len(self.loaded)} variables loaded{rest}.'


def assign(model, rules, tensors, path, fresh=(), optional=(), unused=()):
  """Assigns `tensors` to the variables of `model` according to `rules`.

  Args:
    model: a built `keras.Model`.
    rules: {variable.path: `Rule`}, one for each of `model.weights`.
    tensors: Mapping from name to array; no name may stay unused.
    path: the file, for messages.
    fresh: starts of paths of variables that keep their values.
    optional: starts of paths of layers that do so if the file has none of the layer's variables.
    unused: starts of names that need not be used.

  Returns:
    A `Report`.

  Raises:
    ValueError: names are missing, unexpected, or of another shape, or copies differ. No variable has
      been changed.
  """
  _check_rules(model, rules)
  kept = _kept(model, rules, tensors, tuple(fresh), tuple(optional))
  values, missing, misshapen = {}, [], []
  for variable in model.weights:
    if variable.path in kept:
      continue
    rule = rules[variable.path]
    if rule.name not in tensors:
      missing.append(rule.name)
      continue
    value = np.asarray(tensors[rule.name])
    _check_copies(path, rule, value, tensors)
    found = value.shape
    if rule.transform is not None:
      value = rule.transform(value)
    if tuple(value.shape) != tuple(variable.shape):
      misshapen.append(f'{rule.name} {list(found)} for {variable.path} {list(variable.shape)}')
      continue
    values[variable.path] = value
  known = {name for rule in rules.values() for name in (rule.name, *rule.copies)}
  left = [name for name in tensors if name not in known]
  unexpected = [name for name in left if not name.startswith(tuple(unused))]
  if missing or unexpected or misshapen:
    raise ValueError(_mismatch(model, path, missing, unexpected, misshapen))
  for variable in model.weights:
    if variable.path in values:
      variable.assign(values[variable.path])
  left += [rules[p].name for p in kept if rules[p].name in tensors]
  return Report(path, tuple(values), tuple(kept), tuple(left))


def _check_rules(model, rules):
  unruled = [v.path for v in model.weights if v.path not in rules]
  uses = collections.Counter((rule.name, rule.part) for rule in rules.values())
  twice = [name for (name, _), count in uses.items() if count > 1]
  if unruled or twice:
    raise ValueError(f'Name map of {model.name}: no rule for {unruled}, one name twice: {twice}.')


def _kept(model, rules, tensors, fresh, optional):
  """Paths of the variables that stay as they are."""
  paths = [variable.path for variable in model.weights]
  given = {path.rpartition('/')[0] for path in paths if rules[path].name in tensors}
  return [
    path
    for path in paths
    if path.startswith(fresh) or (path.startswith(optional) and path.rpartition('/')[0] not in given)
  ]


def _check_copies(path, rule, value, tensors):
  for name in rule.copies:
    if name in tensors and not np.array_equal(tensors[name], value):
      raise ValueError(
        f'{path}: {name} differs from {rule.name}, and they are one variable of this model; nothing '
        'was loaded. Build the model with the two untied.'
      )


def _mismatch(model, path, missing, unexpected, misshapen):
  kinds = (('missing', missing), ('unexpected', unexpected), ('wrong shape', misshapen))
  listed = '; '.join(f'{len(names)} {kind}: {_some(names)}' for kind, names in kinds if names)
  return (
    f'{path} does not fit {model.name} ({len(model.weights)} variables), nothing was loaded. {listed}. '
    'Build the model that the file was saved from, or name the layers to start anew with fresh= and '
    'what the file may hold besides with unused=.'
  )


def _some(names):
  shown = ', '.join(names[:_SHOWN])
  return shown if len(names) <= _SHOWN else f'{shown} and {len(names) - _SHOWN} more'
