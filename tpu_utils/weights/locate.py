"""Finds a model's network in a file that holds more than it.

Programs save networks inside others ('model.', 'efficientnetb0/'), with losses, second networks or
layers of their own beside them, and with a classifier of another name.
"""
from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from tpu_utils.weights.name_map import Rule

if TYPE_CHECKING:
  import keras

_MAX_PREFIX = 3  # Greatest number of parts in a prefix, such as 'student.model.backbone.'.


@dataclasses.dataclass(frozen=True)
class Names:
  """How a file's names are built.

  Attributes:
    rules: function(names in the file) -> {variable.path: `Rule`}.
    separator: character between the parts of a name.
    network: prefixes of all names in such networks, however large; empty if unknown.
    classifier: prefix of the paths of the model's classifier, if any.
    classifier_names: prefixes of its names in files.
  """

  rules: Callable[[Collection[str]], dict[str, Rule]]
  separator: str
  network: tuple[str, ...] = ()
  classifier: str | None = None
  classifier_names: tuple[str, ...] = ()


def locate(
  model: keras.Model,
  tensors: Mapping[str, Any],
  names: Names,
  path: str,
  optional: tuple[str, ...] = (),
  allow_unused: tuple[str, ...] = (),
) -> tuple[Mapping[str, Any], dict[str, Rule], tuple[str, ...]]:
  """Finds the network among the tensors of a file.

  Args:
    model: the model.
    tensors: {name: array} of the file.
    names: how they are built.
    path: the file, for messages.
    optional: path prefixes of variables that the file may lack.
    allow_unused: prefixes of names that are no part of the network.

  Returns:
    (tensors, without the prefix of the network's names; rules for them; names of the tensors beside
    the network, only if all of it has been found).

  Raises:
    ValueError: several networks in the file fit the model.
  """
  tensors, outside = _without_prefix(model, tensors, names, path)
  rules = _with_head(names.rules(list(tensors)), tensors, names, allow_unused)
  paths = [variable.path for variable in model.weights]
  if any(rules[p].name not in tensors for p in paths if not p.startswith(optional)):
    return tensors, rules, ()
  ruled = {name for rule in rules.values() for name in (rule.name, *rule.copies)}
  others = (
    [name for name in tensors if name not in ruled and not name.startswith(names.network)]
    if names.network
    else []
  )
  return tensors, rules, tuple(dict.fromkeys([*outside, *others]))


def _without_prefix(model, tensors, names, path):
  """Returns (tensors without a prefix before the network's names, names of the other tensors)."""

  def fit(prefix):
    found = {name.removeprefix(prefix) for name in tensors if name.startswith(prefix)}
    try:
      rules = names.rules(list(found))
    except ValueError:  # No such network in that program.
      return 0
    return sum(rule.name in found for rule in rules.values())

  separator = names.separator
  counts = collections.Counter(
    ''.join(f'{part}{separator}' for part in parts[:depth])
    for parts in (name.split(separator) for name in tensors)
    for depth in range(1, min(len(parts), _MAX_PREFIX + 1))
  )
  candidates = [prefix for prefix, count in counts.items() if 2 * count >= len(model.weights)]
  fits = {prefix: fit(prefix) for prefix in ('', *candidates)}
  best = max(fits.values())
  if fits[''] == best:
    return tensors, ()
  prefixes = [prefix for prefix in candidates if fits[prefix] == best]
  if len(prefixes) > 1:
    raise ValueError(
      f'{path} holds several networks that fit {model.name}, under {", ".join(prefixes)}; nothing '
      'was loaded. Save one of them without its prefix.'
    )
  (prefix,) = prefixes
  outside = tuple(name for name in tensors if not name.startswith(prefix))
  renamed = {name.removeprefix(prefix): value for name, value in tensors.items()}
  if len(renamed) < len(tensors):  # The same name with and without the prefix.
    return tensors, ()
  return renamed, outside


def _with_head(rules, tensors, names, allow_unused):
  """Returns the rules with the file's name of the classifier, if that can only be one layer.

  That is the only other layer in the file: with a second one, the classifier would not stand on the
  network's features. Layers of losses and the like have variables of other names.
  """
  if names.classifier is None:
    return rules
  head = {path: rule for path, rule in rules.items() if path.startswith(names.classifier)}
  if not head or any(rule.name in tensors for rule in head.values()):
    return rules
  ruled = {rule.name for rule in rules.values()}
  free = [name for name in tensors if name not in ruled and not name.startswith(allow_unused)]
  of_network = tuple(prefix for prefix in names.network if prefix not in names.classifier_names)
  if any(name.startswith(of_network) for name in free):
    return rules  # Another network, such as a larger one.
  layers = collections.defaultdict(dict)
  for name in free:
    layer, _, variable = name.rpartition(names.separator)
    layers[layer][variable] = name
  own = {rule.name.rpartition(names.separator)[2] for rule in rules.values()}
  others = [
    found for found in layers.values() if any(name in own or name.isdigit() for name in found)
  ]
  wanted = {rule.name.rpartition(names.separator)[2]: path for path, rule in head.items()}
  if len(others) != 1 or set(others[0]) != set(wanted):
    return rules
  return rules | {
    path: dataclasses.replace(rules[path], name=others[0][variable])
    for variable, path in wanted.items()
  }
