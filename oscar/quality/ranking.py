"""Baselines of retrieval that see no picture: chance, and the words that caption and tags share.

Ties are broken at random: a result is the mean over all orders of equal scores.
"""

import collections
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from oscar.quality.baselines import CHANCE, TEXT_AND_TAGS, Results

KS = (1, 5, 10)


def rankings(captions: Sequence[Sequence[str]], tags: Sequence[str]) -> Results:
  """Computes {baseline: {'i2t_R@1': ..., 't2i_R@10': ...}} for ranking all captions and images.

  Args:
    captions: the captions of each image.
    tags: text of the tags of each image.
  """
  texts = [text for own in captions for text in own]
  owner = np.repeat(np.arange(len(captions)), [len(own) for own in captions])
  scores = overlaps(texts, tags)
  return {
    CHANCE: recalls(np.zeros_like(scores), owner), TEXT_AND_TAGS: recalls(scores, owner)
  }  # fmt: skip


def overlaps(texts: Sequence[str], tags: Sequence[str]) -> np.ndarray:
  """Scores images and texts by the tags they share: sum of the smaller counts / of the larger ones.

  Of a text only the words count that are a tag of some image, also in the plural.

  Args:
    texts: the texts.
    tags: text of the tags of each image.

  Returns:
    float64 [images, texts] in [0, 1].
  """
  known = sorted({tag for own in tags for tag in own.lower().split()})
  place_of = {form: i for i, tag in enumerate(known) for form in (tag, f'{tag}s', f'{tag}es')}
  images = [_counts(own.lower().split(), place_of, len(known)) for own in tags]
  words = np.stack([
    _counts(re.findall(r'\w+', text.lower()), place_of, len(known)) for text in texts
  ])
  shared = np.stack([np.minimum(image, words).sum(axis=-1) for image in images])
  larger = np.sum(images, axis=-1)[:, None] + words.sum(axis=-1) - shared
  return shared / np.maximum(larger, 1)


def recalls(scores: np.ndarray, owner: np.ndarray) -> dict[str, float]:
  """Returns the expected recall at 1, 5 and 10 in both directions.

  Args:
    scores: [images, texts], larger is better.
    owner: int [texts], the image of each.
  """
  matches = owner[None] == np.arange(len(scores))[:, None]
  found = {}
  for name, each, right in (('i2t', scores, matches), ('t2i', scores.T, matches.T)):
    for k in KS:
      values = [_in_first(row, own, k) for row, own in zip(each, right, strict=True)]
      found[f'{name}_R@{k}'] = float(np.mean(values))
  return found


def _in_first(scores, matches, k):
  """Returns the probability that a match is among the first k, if ties are broken at random."""
  if not matches.any():
    return 0.0
  best = scores[matches].max()
  room = k - int((scores > best).sum())
  tied, right = int((scores == best).sum()), int((scores[matches] == best).sum())
  if room <= 0:
    return 0.0
  if room > tied - right:
    return 1.0
  return 1 - math.comb(tied - right, room) / math.comb(tied, room)


def _counts(words: Sequence[str], place_of: Mapping[str, int], size: int) -> np.ndarray:
  counts = np.zeros([size])
  found = collections.Counter(place_of[word] for word in words if word in place_of)
  for place, count in found.items():
    counts[place] = count
  return counts
