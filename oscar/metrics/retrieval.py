"""Ranks and recall of image-text retrieval, from images to texts (i2t) and from texts to images.

Source: microsoft/Oscar, `compute_ranks` and `evaluate` of oscar/run_retrieval.py.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

KS = (1, 5, 10)
OBJECTIVE = 'i2t_R@1'  # Selects the best checkpoint, as officially.
# {direction: name in the official result file}.
_OFFICIAL = {'i2t': 'i2t_retrieval', 't2i': 't2i_retrieval'}


def rank(scores: np.ndarray, matches: np.ndarray) -> int:
  """Returns the rank of the best match, from 0; without a match the number of candidates.

  Equal scores are ordered as the official `argsort()[::-1]` of float64 orders them: mostly the
  later one comes first, but numpy guarantees no order.

  Args:
    scores: [candidates] numbers, larger is better.
    matches: bool [candidates].

  Raises:
    ValueError: a score is not a number: the model diverged.
  """
  scores = np.asarray(scores, np.float64)
  if np.isnan(scores).any():
    raise ValueError('a score is not a number: the weights of the model are ruined.')
  places = np.flatnonzero(np.asarray(matches)[np.argsort(scores)[::-1]])
  return int(places[0]) if len(places) else len(scores)


def ranks(scores: Iterable[np.ndarray], matches: Iterable[np.ndarray]) -> list[int]:
  """Returns the `rank` of each query; scores and matches of one query after the other."""
  return [rank(*query) for query in zip(scores, matches, strict=True)]


def cross_ranks(
  rows: Iterable[np.ndarray], columns: Iterable[np.ndarray], owner: np.ndarray
) -> tuple[list[int], list[int]]:
  """Returns the ranks (i2t, t2i) of all images with all captions.

  Args:
    rows: scores [captions] of one image after the other.
    columns: scores [images] of one caption after the other.
    owner: int [captions], the image that each caption belongs to.
  """
  images = np.arange(owner.max() + 1)
  i2t = ranks(rows, (owner == image for image in images))
  t2i = ranks(columns, (images == own for own in owner))
  return i2t, t2i


def recalls(i2t: Sequence[int], t2i: Sequence[int] = ()) -> dict[str, float]:
  """Returns {'i2t_R@1', 'i2t_R@5', ..., 't2i_R@10'}: the share of ranks below 1, 5 and 10.

  Args:
    i2t: ranks of the images' best captions.
    t2i: ranks of the captions' images; empty where candidates are re-ranked.
  """
  found: dict[str, float] = {}
  for direction, values in (('i2t', i2t), ('t2i', t2i)):
    if len(values):
      found |= {f'{direction}_R@{k}': float(np.mean(np.asarray(values) < k)) for k in KS}
  return found


def mean(folds: Sequence[Mapping[str, float]]) -> dict[str, float]:
  """Returns the means of metrics over folds."""
  return {name: float(np.mean([fold[name] for fold in folds])) for name in folds[0]}


def official(found: Mapping[str, float]) -> dict[str, dict[str, float]]:
  """Returns `recalls` under the names of the official result file."""
  made: dict[str, dict[str, float]] = {}
  for name, value in found.items():
    direction, key = name.split('_')
    made.setdefault(_OFFICIAL[direction], {})[key] = value
  return made
