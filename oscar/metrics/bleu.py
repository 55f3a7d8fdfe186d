"""BLEU-1 to BLEU-4 of captions, as the COCO evaluation computes them.

Source: `bleu_scorer.py` of pycocoevalcap with the closest reference length.
"""

import collections
from collections.abc import Sequence

import numpy as np

MAX_ORDER = 4
# Keep the ratios of empty candidates finite; part of the official numbers.
_TINY, _SMALL = 1e-15, 1e-9


def bleu(
  candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[np.ndarray, np.ndarray]:
  """Computes BLEU.

  Args:
    candidates: a caption of each image, tokens joined by blanks.
    references: the captions to compare each with, at least one an image.

  Returns:
    (float64 [4], float64 [4, images]): BLEU-1 to BLEU-4 over all images, and of each.
  """
  pairs = zip(candidates, references, strict=True)
  counts = np.array([_counts(candidate, others) for candidate, others in pairs], np.float64)
  return _scores(counts.sum(axis=0)[None])[:, 0], _scores(counts)


def _counts(candidate, references):
  """Returns the two lengths, n-grams found in the references, and n-grams of the candidate."""
  words = candidate.split()
  allowed: collections.Counter = collections.Counter()
  for reference in references:
    allowed |= ngrams(reference.split())
  found = [0] * MAX_ORDER
  for ngram, count in ngrams(words).items():
    found[len(ngram) - 1] += min(count, allowed[ngram])
  size = len(words)
  closest = min((len(r.split()) for r in references), key=lambda n: (abs(n - size), n))
  return [size, closest, *found, *(max(0, size - order) for order in range(MAX_ORDER))]


def ngrams(words: Sequence[str]) -> collections.Counter:
  """Counts the n-grams of one to four words, as tuples; unigrams come first."""
  return collections.Counter(
    tuple(words[start : start + order])
    for order in range(1, MAX_ORDER + 1)
    for start in range(len(words) - order + 1)
  )


def _scores(counts):
  size, closest, found, possible = np.split(counts, [1, 2, 2 + MAX_ORDER], axis=1)
  precision = np.cumprod((found + _TINY) / (possible + _SMALL), axis=1)
  ratio = (size + _TINY) / (closest + _SMALL)
  brevity = np.exp(np.minimum(0, 1 - 1 / ratio))
  return (precision ** (1 / np.arange(1, MAX_ORDER + 1)) * brevity).T
