"""The COCO evaluation of captions: BLEU, METEOR, ROUGE-L, CIDEr and SPICE.

BLEU, ROUGE-L, CIDEr and the tokenizer are our own and need no Java. METEOR and SPICE are Java
programs in pycocoevalcap; where they cannot run, their scores are left out and a note says why.
"""

import dataclasses
import importlib.util
import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from oscar.metrics import ptb
from oscar.metrics.bleu import bleu
from oscar.metrics.cider import cider_d
from oscar.metrics.rouge import rouge_l
from tpu_utils.errors import one_line

_SPICE_MODELS = 'stanford-corenlp-3.6.0-models.jar'


@dataclasses.dataclass(frozen=True)
class CaptionScores:
  """Scores of the captions of a split.

  Attributes:
    means: {official name: score over all images}: 'Bleu_1' to 'Bleu_4', 'METEOR', 'ROUGE_L',
      'CIDEr', 'SPICE', as fractions (papers show 100 times as much).
    by_image: {image: {name: score}}.
    notes: a line for each peculiarity: empty captions, metrics left out.
  """

  means: dict[str, float]
  by_image: dict[Any, dict[str, float]]
  notes: tuple[str, ...]


def evaluate(
  candidates: Mapping[Any, str],
  references: Mapping[Any, Sequence[str]],
  where: str,
  java: bool = True,
) -> CaptionScores:
  """Scores the captions of a split.

  Args:
    candidates: {image: its caption}, as text. An empty caption is scored.
    references: {image: captions to compare with}, as text; of the same images.
    where: the split or file of the captions, for errors and notes.
    java: whether to compute METEOR and SPICE, too, where they can run.

  Raises:
    ValueError: the images of the two differ, there are none, or one has no reference; or a Java
      program fails.
  """
  _check(candidates, references, where)
  # The order of the references, as officially; `ptb.tokenize` says why it matters.
  found = ptb.tokenize({image: [candidates[image]] for image in references})
  tokens = [found[image][0] for image in references]
  others = list(ptb.tokenize(references).values())
  over_all, by_image = bleu(tokens, others)
  means = {f'Bleu_{n}': float(score) for n, score in enumerate(over_all, 1)}
  scores = {f'Bleu_{n}': values for n, values in enumerate(by_image, 1)}
  rouge, cider = rouge_l(tokens, others), cider_d(tokens, others)
  for name, values in (('ROUGE_L', rouge), ('CIDEr', cider)):
    means[name], scores[name] = float(np.mean(values)), values
  notes = _empty(candidates, tokens, references, where)
  if java:
    for name, reason in _runnable().items():
      if reason:
        notes.append(f'{name} is left out: {reason}')
      else:
        means[name], scores[name] = _java_scores(name, tokens, others)
  rows = {
    image: {name: float(values[i]) for name, values in scores.items()}
    for i, image in enumerate(references)
  }
  return CaptionScores(means, rows, tuple(notes))


def _check(candidates, references, where):
  missing = [image for image in references if image not in candidates]
  unknown = [image for image in candidates if image not in references]
  if missing or unknown:
    raise ValueError(
      f'{where}: {len(missing)} images without caption{_first(missing)}, {len(unknown)} captions '
      f'of images without references{_first(unknown)}; scores need both of every image.'
    )
  bare = [image for image, captions in references.items() if not captions]
  if bare or not references:
    found = f'{len(bare)} images have none{_first(bare)}' if references else 'there are no images'
    raise ValueError(f'{where}: expected at least one reference of every image; {found}.')


def _first(images):
  return f' (first: {images[0]!r})' if images else ''


def _empty(candidates, tokens, references, where):
  empty = [image for image, text in zip(references, tokens, strict=True) if not text]
  if not empty:
    return []
  return [
    f'{where}: {len(empty)} of {len(candidates)} captions have no words (first: {empty[0]!r}); '
    'they score 0.'
  ]


def _runnable():
  """Returns {Java metric: reason why it cannot run, or None}."""
  package = importlib.util.find_spec('pycocoevalcap')
  if package is None or not package.submodule_search_locations:
    reason = 'pycocoevalcap is not installed (pip install pycocoevalcap).'
    return {'METEOR': reason, 'SPICE': reason}
  if shutil.which('java') is None:
    reason = 'no `java` on the PATH (for example apt-get install default-jre-headless).'
    return {'METEOR': reason, 'SPICE': reason}
  models = os.path.join(package.submodule_search_locations[0], 'spice', 'lib', _SPICE_MODELS)
  reason = (
    f'{models} does not exist; `python -m pycocoevalcap.spice.get_stanford_models` downloads it.'
  )
  return {'METEOR': None, 'SPICE': None if os.path.exists(models) else reason}


def _java_scores(name, tokens, others):
  """Returns the score over all images and [images] from a Java program."""
  candidates = {index: [text] for index, text in enumerate(tokens)}
  references = dict(enumerate(others))
  scorer = None
  try:
    scorer = _scorer(name)
    over_all, scores = scorer.compute_score(references, candidates)
  except Exception as error:  # Whatever the package raises when its program fails.
    if scorer is not None and getattr(scorer, 'lock', None) and scorer.lock.locked():
      scorer.lock.release()  # Its destructor would wait for it for ever.
    reason = one_line(error) or type(error).__name__
    raise ValueError(
      f'{name}: the Java program of pycocoevalcap failed ({reason}); try `java -version`.'
    ) from error
  if name == 'SPICE':
    scores = [score['All']['f'] for score in scores]
  return float(over_all), scores


def _scorer(name):
  if name == 'METEOR':
    from pycocoevalcap.meteor.meteor import Meteor

    return Meteor()
  from pycocoevalcap.spice.spice import Spice

  return Spice()
