"""Sets a model's variables from named arrays: each exactly once, or none at all."""
import collections
import dataclasses
from collections.abc import Callable

import numpy as np


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
  remark: str = ''  # What else was taken from the file.

  def __str__(self):
    kinds = (('kept as they were', self.fresh), ('unused in the file', self.unused))
    rest = ''.join(f'; {len(names)} {kind}: {", ".join(names)}' for kind, names in kinds if names)
    remark = f' {self.remark}' if self.remark else ''
    return f'{self.path}: {len(self.loaded)} variables loaded{rest}.{remark}'

  def table(self):
    """The same as lines: how many variables were loaded, and which were skipped and missing."""
    rows = (
      ('loaded', len(self.loaded), ''),
      ('missing', len(self.fresh), ', '.join(self.fresh)),  # New, as the model was built.
      ('skipped', len(self.unused), ', '.join(self.unused)),
    )
    lines = [f'  {kind:8}{count:5}  {names}'.rstrip() for kind, count, names in rows]
    return '\n'.join([f'Weights of {self.path}:', *lines, *filter(None, [self.remark])])


def assign(model, rules, tensors, path, fresh=(), optional=(), unused=(), replaceable=()):
  """Assigns `tensors` to the variables of `model` according to `rules`.

  Args:
    model: a built `keras.Model`.
    rules: {variable.path: `Rule`}, one for each of `model.weights`.
    tensors: Mapping from name to array; no name may stay unused.
    path: the file, for messages.
    fresh: starts of paths of variables that keep their values.
    optional: starts of paths of layers that do so if the file has none of the layer's variables.
    unused: starts of names that need not be used.
    replaceable: starts of paths of layers that keep their values if the file's do not fit them.

  Returns:
    A `Report`.

  Raises:
    ValueError: names are missing, unexpected, or of another shape, or copies differ. No variable has
      been changed.
  """
  _check_rules(model, rules)
  kept = _kept(model, rules, tensors, tuple(fresh), tuple(optional))
  kept += [path for path in _unfit(model, rules, tensors, tuple(replaceable)) if path not in kept]
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


def _unfit(model, rules, tensors, starts):
  """Paths of the variables of those layers of which something is missing or of another shape."""
  layers = collections.defaultdict(dict)
  for variable in model.weights:
    if variable.path.startswith(starts):
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
  value = np.asarray(tensors[rule.name])
  return tuple((rule.transform(value) if rule.transform else value).shape)


def _check_copies(path, rule, value, tensors):
  for name in rule.copies:
    if name in tensors and not np.array_equal(tensors[name], value):
      raise ValueError(
        f'{path}: {name} differs from {rule.name}, and they are one variable of this model; nothing '
        'was loaded. Build the model with the two untied.'
      )


def _mismatch(model, path, missing, unexpected, misshapen):
  start = f'{path} does not fit {model.name} ({len(model.weights)} variables), nothing was loaded. '
  missing = list(dict.fromkeys(missing))  # Several rules may take parts of one array.
  prefix = _prefix(missing, unexpected)
  if prefix:
    return (
      f'{start}The {len(missing)} names that are missing are in the file with {prefix!r} before them, such as '
      f'{prefix}{missing[0]}. Save it again without that.'
    )
  kinds = (('missing', missing), ('unexpected', unexpected), ('wrong shape', misshapen))
  listed = '; '.join(f'{len(names)} {kind}: {", ".join(names)}' for kind, names in kinds if names)
  return (
    f'{start}{listed}. Build the model that the file was saved from, or name the layers to start anew with '
    'fresh= and what the file may hold besides with unused=.'
  )


def _prefix(missing, unexpected):
  """What stands before every name in the file, where nothing else is wrong with them; else ''."""
  first = min(missing, default='')
  prefixes = [name.removesuffix(first) for name in unexpected if first and name.endswith(first)]
  wanted = set(unexpected)
  return next((p for p in prefixes if p and wanted == {p + name for name in missing}), '')
