"""Arrays in files: known by name, shape and dtype, and read only when their values are needed.

A file can claim arrays of any size. Their shapes are compared with the model first (`assign`), so
that the values read are never more than the model's.
"""
from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class StoredArray:
  """An array in a file; `np.asarray` reads it.

  Attributes:
    shape: of the array.
    dtype: of the array, after any conversion.
    read: function() -> the values; raises ValueError or OSError if the file is damaged or gone.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  read: Callable[[], np.ndarray]

  @property
  def nbytes(self) -> int:
    """Bytes that the values take in memory."""
    return math.prod(self.shape) * self.dtype.itemsize

  def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    """Reads the values, for `np.asarray`."""
    del copy  # Each call reads a new array.
    return np.asarray(self.read(), dtype)


def without_values(array: np.ndarray | StoredArray) -> np.ndarray:
  """Returns an array of the same shape and dtype that takes no memory, for its shape alone."""
  return np.broadcast_to(np.zeros((), array.dtype), array.shape)
