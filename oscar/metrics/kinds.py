"""Means of a score by the kind of the examples."""

import collections
import re
from collections.abc import Iterable


def means(name: str, scored: Iterable[tuple[str | None, float]]) -> dict[str, float]:
  """Returns {'NAME_KIND': mean of the scores of that kind}, sorted by kind.

  Args:
    name: name of the score.
    scored: (kind, score) of each example; kind None is left out.
  """
  by_kind = collections.defaultdict(list)
  for kind, score in scored:
    if kind is not None:
      by_kind[re.sub(r'\W+', '_', kind)].append(score)
  return {f'{name}_{kind}': sum(s) / len(s) for kind, s in sorted(by_kind.items())}
