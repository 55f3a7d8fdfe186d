"""Sets variables from arrays: all of them, or none."""
from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Mismatch:
  """Lists the differences between variables and the arrays for them; false without any.

  Attributes:
    missing: names of arrays that variables need.
    unexpected: names of arrays that no variable takes.
    misshapen: names of arrays of a wrong shape, each with both shapes.
  """

  missing: tuple[str, ...] = ()
  unexpected: tuple[str, ...] = ()
  misshapen: tuple[str, ...] = ()

  def __bool__(self) -> bool:
    return bool(self.missing or self.unexpected or self.misshapen)

  def text(self, most: int | None = None) -> str:
    """Returns '1 missing: a; 2 unexpected: b, c'; with `most`, at most so many names of a kind."""
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
    values: {key: array}; other keys are ignored, `unexpected` says which are wrong.
    error: returns the exception to raise for a `Mismatch`.
    names: {key: name of the array in its file}, for messages; by default the key.
    shapes: {key: shape of the array in its file}, for messages; by default the array's.
    unexpected: names of arrays that no variable takes.

  Raises:
    Exception: the one of `error`, if an array is missing, unexpected or of a wrong shape. No
      variable has been changed.
  """
  names, shapes = names or {}, shapes or {}
  misshapen = [
    _misshapen(names.get(key, key), shapes.get(key, values[key].shape), key, variable.shape)
    for key, variable in variables.items()
    if key in values and tuple(values[key].shape) != tuple(variable.shape)
  ]
  # Several variables may be slices of one array, which is missing once.
  missing = dict.fromkeys(names.get(key, key) for key in variables if key not in values)
  mismatch = Mismatch(tuple(missing), tuple(unexpected), tuple(misshapen))
  if mismatch:
    raise error(mismatch)
  for key, variable in variables.items():
    variable.assign(values[key])


def _misshapen(name, found, key, wanted):
  found, wanted = list(found), list(wanted)
  return f'{name} is {found}, not {wanted}' if name == key else f'{name} {found} for {key} {wanted}'


def _listed(names, most):
  shown = ', '.join(names[:most])
  return f'{shown} and {len(names) - most} more' if most and len(names) > most else shown
