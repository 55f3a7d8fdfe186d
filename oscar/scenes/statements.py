"""Statements on two pictures, true or false, as in NLVR2.

Every statement is made twice: of a pair of which it is true, and of one of which it is false. So
the words alone tell nothing, as in the balanced parts of NLVR2.
"""

import dataclasses

from oscar.scenes import graph, words
from oscar.scenes.words import Phrase, a, pick

_TRIES = 60  # Pairs that are tried for one of which a statement is false.
_SIDES = ('left', 'right')


@dataclasses.dataclass(frozen=True)
class Statement:
  """A statement on the pictures of two scenes.

  Attributes:
    text: the statement.
    keys: (left, right), names of the images.
    label: 1 if it is true, else 0.
    kind: the function that made it.
  """

  text: str
  keys: tuple
  label: int
  kind: str


def statements(scenes, rng, count):
  """Statements about pairs of scenes.

  Args:
    scenes: [`graph.Scene`].
    rng: `random.Random`.
    count: how many texts; each comes twice.

  Returns:
    [`Statement`], 2 * count of them.
  """
  made = []
  while len(made) < 2 * count:
    kind = pick(rng, _KINDS)
    pair = _pair(scenes, rng)
    statement = kind(*pair, rng)
    false_pair = statement and _false_pair(statement[1], scenes, rng)
    if not false_pair:
      continue
    two = [
      Statement(statement[0], (left.key, right.key), label, kind.__name__)
      for label, (left, right) in ((1, pair), (0, false_pair))
    ]
    made += two if rng.random() < 0.5 else two[::-1]
  return made


def _pair(scenes, rng):
  return rng.sample(scenes, 2)


def _false_pair(test, scenes, rng):
  pairs = (_pair(scenes, rng) for _ in range(_TRIES))
  return next((pair for pair in pairs if not test(*pair)), None)


# Each of these gives (text, test) or None; the text is true of (left, right), and test(left, right)
# says whether it is of another pair.


def count_in_one(left, right, rng):
  """How many things of a kind the picture on one side shows."""
  side = rng.randrange(2)
  phrase = words.some_phrase(rng, pick(rng, (left, right)[side].things))
  phrase = pick(rng, (phrase, Phrase()))
  number = len(phrase.select((left, right)[side]))
  how, holds = pick(
    rng,
    (
      ('exactly', lambda n: n == number),
      ('at least', lambda n: n >= number),
    ),
  )
  form = pick(
    rng,
    (
      'the {0} image shows {1} {2} {3}',
      'there {4} {1} {2} {3} in the {0} image',
    ),
  )
  what = phrase.words(rng, plural=number != 1)
  verb = 'is' if number == 1 else 'are'
  text = form.format(_SIDES[side], how, words.NUMBERS[number], what, verb)
  return text, lambda *pair: holds(len(phrase.select(pair[side])))


def count_together(left, right, rng):
  """How many things of a kind the pictures show together."""
  phrase = pick(rng, (Phrase(), words.some_phrase(rng, pick(rng, left.things + right.things))))
  number = sum(len(phrase.select(scene)) for scene in (left, right))
  if number < 2:
    return None
  form = pick(rng, ('there are {} {} in total', 'the two images show {} {} together'))
  text = form.format(words.NUMBERS[number], phrase.words(rng, plural=True))
  return text, lambda *pair: number == sum(len(phrase.select(scene)) for scene in pair)


def both_show(left, right, rng):
  phrase = words.some_phrase(rng, pick(rng, left.things))
  if not phrase.select(right):
    return None
  form = pick(rng, ('both images show {}', 'there is {} in each image'))
  return form.format(a(phrase.words(rng))), lambda *pair: all(map(phrase.select, pair))


def one_shows(left, right, rng):
  """Exactly one picture of the two."""
  phrase = words.some_phrase(rng, pick(rng, left.things + right.things))
  if phrase.select(left) and phrase.select(right):
    return None
  form = pick(rng, ('exactly one of the images shows {}', 'only one image shows {}'))

  def test(*pair):
    return sum(bool(phrase.select(scene)) for scene in pair) == 1

  return form.format(a(phrase.words(rng))), test


def neither_shows(left, right, rng):
  phrase = words.any_phrase(rng)
  if phrase.select(left) or phrase.select(right):
    return None
  form = pick(rng, ('neither image shows {}', 'there is not {} in either image'))
  return form.format(a(phrase.words(rng))), lambda *pair: not any(map(phrase.select, pair))


def more(left, right, rng):
  """One picture shows more than the other."""
  phrase = pick(rng, (Phrase(), words.some_phrase(rng, pick(rng, left.things + right.things))))
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


def relation_in_one(left, right, rng):
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


def one_and_other(left, right, rng):
  """One picture shows this, the other that; which is which is left open."""
  one, two = (words.some_phrase(rng, pick(rng, scene.things)) for scene in (left, right))
  form = pick(
    rng,
    ('one image shows {} and the other image shows {}', 'there is {} in one image and {} in the other'),
  )

  def test(*pair):
    return any(bool(one.select(x) and two.select(y)) for x, y in (pair, pair[::-1]))

  return form.format(a(one.words(rng)), a(two.words(rng))), test


_KINDS = (
  count_in_one, count_together, both_show, one_shows, neither_shows, more, relation_in_one,
  one_and_other,
)  # fmt: skip
