"""Functional Keras models of any depth."""
import contextlib
import sys

import keras

_FRAMES = 20_000  # Three or so for each layer on the longest path.


def functional_model(inputs, outputs, name):
  """`keras.Model(inputs, outputs, name=name)`, for deep networks too.

  Keras follows a graph recursively, a call for each layer, and Python's usual limit of 1,000 calls is less than
  EfficientNet-L2 or a ResNet of a thousand layers takes, the more so in a notebook or under a test runner.

  Args:
    inputs: as for `keras.Model`.
    outputs: as for `keras.Model`.
    name: str.

  Returns:
    The `keras.Model`.
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
