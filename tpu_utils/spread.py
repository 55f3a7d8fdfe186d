"""Comparison of results over several seeds, in plain words."""
import math
import statistics
from collections.abc import Sequence

_CLEAR = 2  # Standard errors from which a difference counts.


def difference(
  values: Sequence[float],
  reference: Sequence[float],
  larger_is_better: bool = True,
  form: str = '+.3f',
) -> str:
  """Says how the mean of a result differs from a reference.

  A difference counts if it is at least two standard errors of the difference of means, from two or
  more seeds each.

  Args:
    values: the result of each seed.
    reference: likewise.
    larger_is_better: whether larger results are better.
    form: format of the difference.

  Returns:
    Text such as '+0.120 (clearly better)'.
  """
  change = statistics.mean(values) - statistics.mean(reference)
  text = f'{change:{form}}'
  if min(len(values), len(reference)) < 2:
    return f'{text} (one seed, which tells nothing about chance)'
  error = math.sqrt(sum(statistics.variance(one) / len(one) for one in (values, reference)))
  if abs(change) < _CLEAR * error or not change:
    return f'{text} (no difference that the spread of the seeds could not make)'
  return f'{text} (clearly {"better" if (change > 0) == larger_is_better else "worse"})'
