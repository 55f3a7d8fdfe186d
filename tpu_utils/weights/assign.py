"""Sets a model's variables from named arrays: each exactly once, or none at all."""
import collections
import dataclasses
from collections.abc import Callable

import numpy as np

_SHOWN = 8  # Names listed of each kind of mismatch; the rest is counted.


@dataclasses.dataclass(frozen=True)
class Rule:
  """Where a variable's value comes from: a name in the file, and what to do with that array.

  `part` numbers the rules whose transforms take different parts of one array.
  """

  name: str
  transform: Callable | None = None
  part: int | None = None


def assign(model, rules, tensors, path):
  """Assigns `tensors` to the variables of `model` according to `rules`.

  Args:
    model: a built `keras.Model`.
    rules: {variable.path: `Rule`}, one for each of `model.weights`.
    tensors: Mapping from name to array; no name may stay unused.
    path: the file, for messages.

  Raises:
    ValueError: names are missing, unexpected, or of another shape. No variable has been changed.
  """
  unruled = [v.path for v in model.weights if v.path not in rules]
  uses = collections.Counter((rule.name, rule.part) for rule in rules.values())
  twice = [name for (name, _), count in uses.items() if count > 1]
  if unruled or twice:
    raise ValueError(f'Name map of {model.name}: no rule for {unruled}, one name twice: {twice}.')

  values, missing, misshapen = {}, [], []
  for variable in model.weights:
    rule = rules[variable.path]
    if rule.name not in tensors:
      missing.append(rule.name)
      continue
    value = np.asarray(tensors[rule.name])
    found = value.shape
    if rule.transform is not None:
      value = rule.transform(value)
    if tuple(value.shape) != tuple(variable.shape):
      misshapen.append(f'{rule.name} {list(found)} for {variable.path} {list(variable.shape)}')
      continue
    values[variable.path] = value
  used = {rule.name for rule in rules.values()}
  unexpected = [name for name in tensors if name not in used]
  if missing or unexpected or misshapen:
    raise ValueError(_mismatch(model, path, missing, unexpected, misshapen))
  for variable in model.weights:
    variable.assign(values[variable.path])


def _mismatch(model, path, missing, unexpected, misshapen):
  kinds = (('missing', missing), ('unexpected', unexpected), ('wrong shape', misshapen))
  listed = '; '.join(f'{len(names)} {kind}: {_some(names)}' for kind, names in kinds if names)
  return (
    f'{path} does not fit {model.name} ({len(model.weights)} variables), nothing was loaded. {listed}. '
    'Build the model that the file was saved from.'
  )


def _some(names):
  shown = ', '.join(names[:_SHOWN])
  return shown if len(names) <= _SHOWN else f'{shown} and {len(names) - _SHOWN} more'
