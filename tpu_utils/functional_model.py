"""Functional Keras models of any depth, and argument checks that their builders share."""
import contextlib
import numbers
import sys
from collections.abc import Collection, Sequence
from typing import Any

import keras

from tpu_utils.names import check_name

_FRAMES = 20_000  # About three for each layer on the longest path.


def functional_model(inputs: Any, outputs: Any, name: str) -> keras.Model:
  """Returns `keras.Model(inputs, outputs, name=name)`, for deep networks too.

  Keras traverses a graph recursively, and Python's usual limit of 1,000 nested calls is too low for
  EfficientNet-L2 or a ResNet with a thousand layers.
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
  """Returns (height, width) from one side of a square or a pair; None leaves a side open.

  Raises:
    ValueError: `image_size` is neither a number of pixels nor a pair.
  """
  pair = tuple(image_size) if isinstance(image_size, (tuple, list)) else (image_size, image_size)
  # Integral includes numpy's integers, and bool.
  sides_valid = all(
    s is None or (isinstance(s, numbers.Integral) and not isinstance(s, bool) and int(s) > 0)
    for s in pair
  )
  if image_size is None or len(pair) != 2 or not sides_valid:
    raise ValueError(
      f'image_size={image_size!r} must be a positive number of pixels or a pair (height, width).'
    )
  height, width = (None if side is None else int(side) for side in pair)
  return height, width


def check_endpoints(endpoints: Sequence[str], known: Collection[str]) -> None:
  """Checks that `endpoints` is a list of one or more of the `known` names.

  Raises:
    ValueError: it is not.
  """
  if isinstance(endpoints, str) or not endpoints:
    raise ValueError(
      f'endpoints={endpoints!r} must be a list of one name or more, as '
      f'endpoints=[{list(known)[-1]!r}].'
    )
  for name in endpoints:
    check_name('endpoint', name, known)
