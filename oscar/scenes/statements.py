"""True and false statements about two pictures, as in NLVR2.

Kinds take turns. Every text occurs twice, with a pair for which it is true and with a pair for
which it is false. So the words alone tell nothing, as in the balanced parts of NLVR2.
"""

import dataclasses
import random
from collections.abc import Callable, Sequence

from oscar.scenes import graph, questions, words
from oscar.scenes.words import Phrase, a, pick

_TRIES = 100  # Pairs tried to find one for which a kind of statement is true.
_FALSE_TRIES = 60  # Pairs tried to find one for which a statement is false.
_SIDES = ('left', 'right')

# A text, and a function (left, right) -> whether it is true for that pair of scenes.
TestableText = tuple[str, Callable[[graph.Scene, graph.Scene], bool]]


@dataclasses.dataclass(frozen=True)
class Statement:
  """A statement about the pictures of two scenes.

  Attributes:
    text: the statement.
    keys: (left, right) names of the images.
    label: 1 if it is true, else 0.
    kind: name of the function that made it.
    group: number of the text; NLVR2's consistency counts the groups that are answered right
      throughout.
    pair: number of the pair of images within its group.
  """

  text: str
  keys: tuple[str, str]
  label: int
  kind: str
  group: int
  pair: int

  def identifier(self, split: str) -> str:
    """Returns an official identifier, 'SPLIT-SET-PAIR-SENTENCE'; the set is the group."""
    return f'{split}-{self.group}-{self.pair}-0'


def statements(
  scenes: Sequence[graph.Scene], rng: random.Random, count: int, first_group: int = 0
) -> list[Statement]:
  """Makes statements about random pairs of scenes.

  Args:
    scenes: the scenes, two or more.
    rng: source of all random choices.
    count: number of texts.
    first_group: group of the first text.

  Returns:
    2 * count statements: each text once true and once false, adjacent in random order.
  """
  kinds = questions.turns(_KINDS, count, rng)
  made: list[Statement] = []
  for group, kind in enumerate(rng.sample(kinds, count), first_group):
    found = None
    while found is None:
      found = _find(kind, scenes, rng)
      kind = kind if found else pick(rng, _KINDS)
    text, *pairs = found
    labelled = rng.sample(list(zip((1, 0), pairs, strict=True)), 2)
    made += [
      Statement(text, (left.key, right.key), label, kind.__name__, group, number)
      for number, (label, (left, right)) in enumerate(labelled)
    ]
  return made


def _find(kind, scenes, rng):
  """Returns (text, pair for which it is true, pair for which it is false), or None."""
  for _ in range(_TRIES):
    true_pair = rng.sample(scenes, 2)
    text, test = kind(*true_pair, rng) or (None, None)
    false_pair = _false_pair(test, scenes, rng) if text else None
    if false_pair is not None:
      return text, true_pair, false_pair
  return None


def _false_pair(test, scenes, rng):
  """Returns a random pair for which the test is false; None if `_FALSE_TRIES` pairs have none."""
  pairs = (rng.sample(scenes, 2) for _ in range(_FALSE_TRIES))
  return next((pair for pair in pairs if not test(*pair)), None)


# (left, right, rng) -> `TestableText` that is true for the pair; None if the random choices allow
# none.


def count_in_one(
  left: graph.Scene, right: graph.Scene, rng: random.Random
) -> TestableText:
  """Counts the things of a kind in the picture on one side."""
  side = rng.randrange(2)
  phrase = words.some_phrase(rng, pick(rng, (left, right)[side].things))
  phrase = pick(rng, (phrase, Phrase(theme=left.theme)))
  number = len(phrase.select((left, right)[side]))
  how = pick(rng, ('exactly', 'at least'))
  form = pick(
    rng,
    (
      'the {0} image shows {1} {2} {3}',
      'there {4} {1} {2} {3} in the {0} image',
    ),
  )
  noun = phrase.words(rng, plural=number != 1)
  verb = 'is' if number == 1 else 'are'
  text = form.format(_SIDES[side], how, words.NUMBERS[number], noun, verb)

  def test(*pair):
    count = len(phrase.select(pair[side]))
    return count == number if how == 'exactly' else count >= number

  return text, test


def count_together(
  left: graph.Scene, right: graph.Scene, rng: random.Random
) -> TestableText | None:
  """Counts the things of a kind in both pictures together."""
  thing = Phrase(theme=left.theme)
  phrase = pick(rng, (thing, words.some_phrase(rng, pick(rng, left.things + right.things))))
  number = sum(len(phrase.select(scene)) for scene in (left, right))
  if number < 2:
    return None
  form = pick(rng, ('there are {} {} in total', 'the two images show {} {} together'))
  text = form.format(words.NUMBERS[number], phrase.words(rng, plural=True))
  return text, lambda *pair: number == sum(len(phrase.select(scene)) for scene in pair)


def both_show(
  left: graph.Scene, right: graph.Scene, rng: random.Random
) -> TestableText | None:
  """Says that both pictures show a thing."""
  phrase = words.some_phrase(rng, pick(rng, left.things))
  if not phrase.select(right):
    return None
  form = pick(rng, ('both images show {}', 'there is {} in each image'))
  return form.format(a(phrase.words(rng))), lambda *pair: all(map(phrase.select, pair))


def one_shows(
  left: graph.Scene, right: graph.Scene, rng: random.Random
) -> TestableText | None:
  """Says that exactly one of the pictures shows a thing."""
  phrase = words.some_phrase(rng, pick(rng, left.things + right.things))
  if phrase.select(left) and phrase.select(right):
    return None
  form = pick(rng, ('exactly one of the images shows {}', 'only one image shows {}'))

  def test(*pair):
    return sum(bool(phrase.select(scene)) for scene in pair) == 1

  return form.format(a(phrase.words(rng))), test


def neither_shows(
  left: graph.Scene, right: graph.Scene, rng: random.Random
) -> TestableText | None:
  """Says that neither picture shows a thing."""
  phrase = words.any_phrase(rng, left.theme)
  if phrase.select(left) or phrase.select(right):
    return None
  form = pick(rng, ('neither image shows {}', 'there is not {} in either image'))
  return form.format(a(phrase.words(rng))), lambda *pair: not any(map(phrase.select, pair))


def more(
  left: graph.Scene, right: graph.Scene, rng: random.Random
) -> TestableText | None:
  """Says that one picture shows more things of a kind than the other."""
  thing = Phrase(theme=left.theme)
  phrase = pick(rng, (thing, words.some_phrase(rng, pick(rng, left.things + right.things))))
  counts = [len(phrase.select(scene)) for scene in (left, right)]
  if counts[0] == counts[1]:
    return None
  most = int(counts[1] > counts[0])
  form = pick(
    rng,
    (
      'the {0} image has more {2} than the {1} image',
      'there are more {2} in the {0} image than in the {1} one',
      'the {1} image has fewer {2} than the {0} one',
    ),
  )
  text = form.format(_SIDES[most], _SIDES[1 - most], phrase.words(rng, plural=True))
  return text, lambda *pair: len(phrase.select(pair[most])) > len(phrase.select(pair[1 - most]))


def relation_in_one(
  left: graph.Scene, right: graph.Scene, rng: random.Random
) -> TestableText:
  """Relates two things in the picture on one side."""
  side = rng.randrange(2)
  scene = (left, right)[side]
  first, second = rng.sample(scene.things, 2)
  one, two = words.some_phrase(rng, first), words.some_phrase(rng, second)
  name, lies = words.relation(rng, first, second)
  form = pick(rng, ('in the {0} image {1} is {2} {3}', 'the {0} image shows {1} {2} {3}'))
  text = form.format(_SIDES[side], a(one.words(rng)), lies, a(two.words(rng)))

  def test(*pair):
    scene = pair[side]
    return any(
      graph.RELATIONS[name](x, y) for x in one.select(scene) for y in two.select(scene) if x != y
    )

  return text, test


def one_and_other(
  left: graph.Scene, right: graph.Scene, rng: random.Random
) -> TestableText:
  """Says that one picture shows one thing and the other another, in either order."""
  one, two = (words.some_phrase(rng, pick(rng, scene.things)) for scene in (left, right))
  form = pick(
    rng,
    (
      'one image shows {} and the other image shows {}',
      'there is {} in one image and {} in the other',
    ),
  )

  def test(*pair):
    return any(bool(one.select(x) and two.select(y)) for x, y in (pair, pair[::-1]))

  return form.format(a(one.words(rng)), a(two.words(rng))), test


_KINDS: tuple[Callable[..., TestableText | None], ...] = (
  count_in_one, count_together, both_show, one_shows, neither_shows, more, relation_in_one,
  one_and_other,
)  # fmt: skip
