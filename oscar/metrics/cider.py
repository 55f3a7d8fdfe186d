"""CIDEr-D: consensus of a caption with an image's references, n-grams weighted by their rarity.

The "CIDEr" of the COCO evaluation and of the papers' tables is CIDEr-D with the document
frequencies of the evaluated references. (The class `cider` of the official OSCAR code, without
clipping and length penalty, is another metric that no table uses.) The reward of self-critical
training is CIDEr-D with the document frequencies of the training captions.

Sources: arXiv 1411.5726; `cider_scorer.py` of pycocoevalcap; `ciderD_scorer.py` and
`ScstRewardCriterion` of the official code.
"""

import collections
import dataclasses
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from oscar.metrics.bleu import MAX_ORDER, ngrams
from tpu_utils import files
from tpu_utils.weights import safe_pickle

_SIGMA = 6.0  # Standard deviation of the penalty on differences in length.
_COUNTS, _NUM_IMAGES = 'document_frequency', 'ref_len'  # The official names in files.


@dataclasses.dataclass(frozen=True)
class DocumentFrequencies:
  """In how many images' references each n-gram occurs.

  Attributes:
    counts: {n-gram: images}.
    num_images: number of images.
  """

  counts: Mapping[tuple[str, ...], float]
  num_images: float

  def to_json(self) -> dict[str, Any]:
    """Returns the content of a JSON file for `read`: 'ref_len', 'document_frequency'.

    The latter is {'a red': images}: the words of an n-gram are joined by blanks.
    """
    counts = {' '.join(ngram): count for ngram, count in self.counts.items()}
    return {_NUM_IMAGES: self.num_images, _COUNTS: counts}


def document_frequencies(references: Iterable[Iterable[str]]) -> DocumentFrequencies:
  """Counts in how many images' references each n-gram occurs.

  Args:
    references: the captions of each image, tokens joined by blanks.

  Raises:
    ValueError: there are no images.
  """
  counts: collections.Counter = collections.Counter()
  num_images = 0
  for captions in references:
    counts.update({ngram for caption in captions for ngram in ngrams(caption.split())})
    num_images += 1
  if not num_images:
    raise ValueError('Document frequencies: expected the captions of at least one image.')
  return DocumentFrequencies(counts, num_images)


def read(path: str | os.PathLike[str]) -> DocumentFrequencies:
  """Reads document frequencies: JSON of `to_json` (`.json`), or an official pickle.

  Raises:
    OSError: the file does not exist or cannot be read.
    ValueError: the file is damaged, could run code, or holds something else.
  """
  path = os.fspath(path)
  is_json = path.endswith('.json')
  content = files.read_json(path) if is_json else safe_pickle.load(path)
  counts, num_images = _checked(content, path)
  split = {tuple(ngram.split(' ')) if is_json else ngram: n for ngram, n in counts.items()}
  if not all(isinstance(ngram, tuple) for ngram in split):
    raise ValueError(f'{path}: expected tuples of words in {_COUNTS!r}; see cider_cached_tokens.')
  return DocumentFrequencies(split, num_images)


def _checked(content, path):
  found = content if isinstance(content, dict) else {}
  counts, num_images = found.get(_COUNTS), found.get(_NUM_IMAGES)
  if not isinstance(counts, dict) or not _is_number(num_images) or num_images < 1:
    raise ValueError(
      f'{path}: expected document frequencies, {{{_COUNTS!r}: {{n-gram: images}}, {_NUM_IMAGES!r}: '
      f'number of images}}, found {content!r:.80}.'
    )
  wrong = next((item for item in counts.items() if not _is_number(item[1])), None)
  if wrong:
    raise ValueError(f'{path}: expected a number of images, found {wrong!r:.80}.')
  return counts, num_images


def _is_number(value):
  return type(value) is int or (type(value) is float and math.isfinite(value))


def with_end(caption: str) -> str:
  """Marks a caption's end as the official reward does: one final period becomes ' <eos>'.

  Without the mark, captions that end too early are rewarded.
  """
  return caption.strip().removesuffix('.') + ' <eos>'


def cider_d(
  candidates: Sequence[str],
  references: Sequence[Sequence[str]],
  frequencies: DocumentFrequencies | None = None,
) -> np.ndarray:
  """Computes CIDEr-D.

  Args:
    candidates: captions, tokens joined by blanks.
    references: the captions to compare each with, at least one each.
    frequencies: document frequencies; None counts them in `references`, each candidate's as an
      image, as the evaluation does and, with 'corpus', the official reward.

  Returns:
    Float64 [candidates], 10 at most in practice; tables show 100 times the mean.
  """
  if not candidates:
    return np.zeros(0)
  scorer = _Scorer(frequencies or document_frequencies(references))
  return np.array([scorer.score(c, r) for c, r in zip(candidates, references, strict=True)])


class _Scorer:
  """Scores captions; remembers the vectors of captions, as references recur."""

  def __init__(self, frequencies):
    self._counts = frequencies.counts
    self._log_images = math.log(frequencies.num_images)
    self._vectors = {}

  def score(self, candidate, references):
    mine = self._vector(candidate)
    by_reference = [_similarity(mine, self._vector(reference)) for reference in references]
    return 10 * np.mean(by_reference)

  def _vector(self, caption):
    if caption not in self._vectors:
      self._vectors[caption] = self._weigh(caption.split())
    return self._vectors[caption]

  def _weigh(self, words):
    """Returns the weights of the n-grams of each order, the norms, and the number of bigrams."""
    weights: list[dict] = [{} for _ in range(MAX_ORDER)]
    for ngram, count in ngrams(words).items():
      rarity = self._log_images - math.log(max(1.0, self._counts.get(ngram, 0)))
      weights[len(ngram) - 1][ngram] = count * rarity
    norms = [math.sqrt(sum(weight**2 for weight in order.values())) for order in weights]
    return weights, norms, max(0, len(words) - 1)


def _similarity(candidate, reference):
  """Returns the clipped cosine of each order, lowered by the difference in length."""
  similarity = np.zeros(MAX_ORDER)
  for order, (mine, other) in enumerate(zip(candidate[0], reference[0], strict=True)):
    product = sum(min(mine[ngram], other[ngram]) * other[ngram] for ngram in mine if ngram in other)
    norms = candidate[1][order] * reference[1][order]
    similarity[order] = product / norms if norms else product
  return similarity * math.exp(-((candidate[2] - reference[2]) ** 2) / (2 * _SIGMA**2))
