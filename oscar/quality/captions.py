"""Captions of scenes: colour words that are right, and baselines that see no picture.

    captions.baselines(tags, references, scenes)['template']['CIDEr']

A colour word is right if the scene holds a thing of that colour, and, where a digit follows ("a big
red seven", "two red sevens"), a digit of that colour; how many is not asked. A caption without
colour words has none to be right or wrong, so `COLOUR_WORDS_EACH` says how many there are.
"""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence

from oscar.metrics import captions as caption_metrics
from oscar.quality.baselines import Results
from oscar.scenes import constraints, graph
from oscar.scenes.words import a, listed

TEMPLATE, REFERENCE = 'template', 'reference'
COLOUR_WORDS, COLOUR_WORDS_EACH = 'colour_words', 'colour_words_per_caption'


def baselines(
  tags: Mapping[str, str],
  references: Mapping[str, Sequence[str]],
  scenes: Mapping[str, graph.Scene],
) -> Results:
  """Computes the baselines of captioning.

  Args:
    tags: {image: text of its tags}.
    references: {image: its captions}, two or more each.
    scenes: {image: its scene}.

  Returns:
    {'template': the scores of "a picture of" and the tags with articles, 'reference': those of one
    caption of an image against its others, the mean over the caption's place}.
  """
  template = {
    key: f'a picture of {listed([a(tag) for tag in own.split()])}' for key, own in tags.items()
  }
  found = {TEMPLATE: _scores(template, references, scenes)}
  count = min(map(len, references.values()))
  turns = [
    _scores(
      {key: own[turn] for key, own in references.items()},
      {key: [*own[:turn], *own[turn + 1 :]] for key, own in references.items()},
      scenes,
    )
    for turn in range(count)
  ]
  names = [name for name in turns[0] if all(name in turn for turn in turns)]
  found[REFERENCE] = {name: sum(turn[name] for turn in turns) / count for name in names}
  return found


def colour_words(
  captions: Mapping[str, str], scenes: Mapping[str, graph.Scene]
) -> dict[str, float]:
  """Returns the share of right colour words and their number for each caption.

  Args:
    captions: {image: its caption}.
    scenes: {image: its scene}.

  Returns:
    {COLOUR_WORDS_EACH: number, COLOUR_WORDS: share}, without the share if there are none.
  """
  right = [value for key, text in captions.items() for value in _right(text, scenes[key])]
  found = {COLOUR_WORDS_EACH: len(right) / len(captions)}
  return {**found, COLOUR_WORDS: sum(right) / len(right)} if right else found


def _right(text: str, scene: graph.Scene) -> Iterable[bool]:
  """Yields for each colour word of a caption whether it is right."""
  forms = constraints.word_forms()
  digit_of = {form: digit for digit in graph.DIGITS for form in forms[digit]}
  said = re.findall(r'\w+', text.lower())
  for word, following in itertools.pairwise([*said, '']):
    if word in graph.COLOURS:
      digit = digit_of.get(following)
      yield any(t.colour == word and digit in (None, t.digit) for t in scene.things)


def _scores(candidates, references, scenes):
  found = caption_metrics.evaluate(candidates, references, 'val', java=False)
  return {**found.means, **colour_words(candidates, scenes)}
