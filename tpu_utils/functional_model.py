"""Functional Keras models of any depth, and the checks that their builders share."""
import contextlib
import numbers
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from tpu_utils.names import check_name

_FRAMES = 20_000  # Three or so for each layer on the longest path.


def functional_model(inputs: Any, outputs: Any, name: str) -> keras.Model:
  """Returns `keras.Model(inputs, outputs, name=name)`, for deep networks too.

  Keras follows a graph recursively, a call for each layer, and Python's usual limit of 1,000 calls
  is less than EfficientNet-L2 or a ResNet of a thousand layers takes, the more so in a notebook or
  under a test runner.
  """
  with _recursion(_FRAMES):
    return keras.Model(inputs, outputs, name=name)


@contextlib.contextmanager
def _recursion(frames):
  limit = sys.getrecursionlimit()
  sys.setrecursionlimit(max(limit, frames))
  try:
    yield
  finally:
    sys.setrecursionlimit(limit)


def height_and_width(image_size: int | Sequence[int | None]) -> tuple[int | None, int | None]:
  """Returns (height, width) of a number of pixels a side or a pair; None leaves a side open.

  Raises:
    ValueError: neither of these.
  """
  pair = tuple(image_size) if isinstance(image_size, (tuple, list)) else (image_size, image_size)
  # Integral takes numpy's integers, too; True is one of them.
  sides_valid = all(
    s is None or (isinstance(s, numbers.Integral) and not isinstance(s, bool) and s > 0)
    for s in pair
  )
  if image_size is None or len(pair) != 2 or not sides_valid:
    raise ValueError(
      f'image_size={image_size!r} must be a positive number of pixels or a pair (height, width).'
    )
  return tuple(None if side is None else int(side) for side in pair)


def check_endpoints(endpoints: Sequence[str], known: Iterable[str]) -> None:
  """Raises ValueError unless `endpoints` is a list of some of the `known` names."""
  if isinstance(endpoints, str) or not endpoints:
    raise ValueError(
      f'endpoints={endpoints!r} must be a list of one name or more, as '
      f'endpoints=[{list(known)[-1]!r}].'
    )
  for name in endpoints:
    check_name('endpoint', name, known)
