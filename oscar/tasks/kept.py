"""What a job has read: files that its length, its input and its results need, read once a job.

Another job of the same process, such as a prediction after the training, reads them again: they may
have changed.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

_Result = TypeVar('_Result')
_KEEPING: list[Any] = []  # All functions whose results are kept.


def once_a_job(
  maxsize: int,
) -> Callable[[Callable[..., _Result]], 'functools._lru_cache_wrapper[_Result]']:
  """Creates a decorator for a function that reads files, whose last results a job keeps.

  Args:
    maxsize: results to keep.
  """

  def decorate(function):
    keeping = functools.lru_cache(maxsize=maxsize)(function)
    _KEEPING.append(keeping)
    return keeping

  return decorate


def forget() -> None:
  """Forgets all results, as a new job begins."""
  for function in _KEEPING:
    function.cache_clear()
