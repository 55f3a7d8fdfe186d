"""Assignment of arrays to variables: to all of them, or to none."""
from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Mismatch:
  """Differences between variables and the arrays for them; false if there are none.

  Attributes:
    missing: names of arrays that variables need and the file lacks.
    unexpected: names of arrays that no variable takes.
    misshapen: names of arrays with a wrong shape, each followed by both shapes.
  """

  missing: tuple[str, ...] = ()
  unexpected: tuple[str, ...] = ()
  misshapen: tuple[str, ...] = ()

  def __bool__(self) -> bool:
    return bool(self.missing or self.unexpected or self.misshapen)

  def text(self, most: int | None = None) -> str:
    """Returns '1 missing: a; 2 unexpected: b, c', with at most `most` names of each kind."""
    kinds = {
      'missing': self.missing, 'unexpected': self.unexpected, 'wrong shape': self.misshapen,
    }  # fmt: skip
    return '; '.join(
      f'{len(names)} {kind}: {_listed(names, most)}' for kind, names in kinds.items() if names
    )


def assign(
  variables: Mapping[str, Any],
  values: Mapping[str, np.ndarray],
  error: Callable[[Mismatch], Exception],
  *,
  names: Mapping[str, str] | None = None,
  shapes: Mapping[str, tuple[int, ...]] | None = None,
  unexpected: Iterable[str] = (),
) -> None:
  """Checks arrays against variables, then sets every variable.

  Args:
    variables: {key: variable}, each with `shape` and `assign`.
    values: {key: array}; keys without a variable are ignored (see `unexpected`).
    error: function(`Mismatch`) -> the exception to raise.
    names: {key: name of the array in its file}, for messages; by default the key.
    shapes: {key: shape of the array in its file}, for messages; by default the array's.
    unexpected: names of arrays that no variable takes; any is an error.

  Raises:
    Exception: the one that `error` returns, if an array is missing, unexpected or has a wrong
      shape. No variable has been changed.
  """
  mismatch = compare(
    variables, {key: value.shape for key, value in values.items()}, names, shapes, unexpected
  )
  if mismatch:
    raise error(mismatch)
  for key, variable in variables.items():
    variable.assign(values[key])


def compare(
  variables: Mapping[str, Any],
  value_shapes: Mapping[str, tuple[int, ...]],
  names: Mapping[str, str] | None = None,
  shapes: Mapping[str, tuple[int, ...]] | None = None,
  unexpected: Iterable[str] = (),
) -> Mismatch:
  """Compares the shapes of arrays with those of variables; needs no values.

  Args:
    variables: {key: variable}, each with `shape`.
    value_shapes: {key: shape of the array for it}.
    names: see `assign`.
    shapes: see `assign`.
    unexpected: see `assign`.
  """
  names, shapes = names or {}, shapes or {}
  misshapen = [
    _misshapen(names.get(key, key), shapes.get(key, value_shapes[key]), key, variable.shape)
    for key, variable in variables.items()
    if key in value_shapes and tuple(value_shapes[key]) != tuple(variable.shape)
  ]
  # Variables may be slices of one array: it is listed once.
  missing = dict.fromkeys(names.get(key, key) for key in variables if key not in value_shapes)
  return Mismatch(tuple(missing), tuple(unexpected), tuple(misshapen))


def _misshapen(name, shape, key, expected):
  shape, expected = list(shape), list(expected)
  if name == key:
    return f'{name} is {shape}, not {expected}'
  return f'{name} {shape} for {key} {expected}'


def _listed(names, most):
  shown = ', '.join(names[:most])
  return f'{shown} and {len(names) - most} more' if most and len(names) > most else shown
