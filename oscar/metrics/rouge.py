"""ROUGE-L of captions, as the COCO evaluation computes it.

Source: `rouge.py` of pycocoevalcap.
"""

from collections.abc import Sequence

import numpy as np

_BETA = 1.2  # Weight of the recall.


def rouge_l(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
  """Computes ROUGE-L: the F-measure of the longest common subsequence.

  Args:
    candidates: a caption of each image, tokens joined by blanks.
    references: the captions to compare each with, at least one an image.

  Returns:
    Float64 [images]. Precision and recall are the best over the references, each for itself.
  """
  return np.array([_score(c, r) for c, r in zip(candidates, references, strict=True)], np.float64)


def _score(candidate, references):
  words = candidate.split(' ')  # As officially, an empty caption is one empty word.
  others = [reference.split(' ') for reference in references]
  common = [_common(words, other) for other in others]
  precision = max(common) / len(words)
  recall = max(count / len(other) for count, other in zip(common, others, strict=True))
  if not precision or not recall:
    return 0.0
  return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def _common(first, second):
  """Returns the length of the longest common subsequence."""
  row = [0] * (len(second) + 1)
  for word in first:
    left_above = 0
    for column, other in enumerate(second, 1):
      above = row[column]
      row[column] = left_above + 1 if word == other else max(above, row[column - 1])
      left_above = above
  return row[-1]
