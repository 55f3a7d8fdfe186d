"""Questions about scenes with their answers: simple ones as in VQA, compositional ones as in GQA.

The wording does not give the answer away: each yes/no question is asked about two scenes, with the
answer yes for one and no for the other.
"""

import collections
import dataclasses
import random
from collections.abc import Callable, Sequence

from oscar.scenes import graph, words
from oscar.scenes.words import Phrase, a, pick

_TRIES = 100  # Attempts to find a question with the answers yes and no for a pair of scenes.
_ANNOTATORS = 10  # Simulated annotators of a question with several right answers, as in VQA.
_FULL_SCORE = 3  # Annotators that must agree for VQA's score of 1.

# A yes/no question: its text, and a function from another scene to True (yes), False (no) or None
# (the question makes no sense there). For the scene that it was made from the answer is yes.
ClosedQuestion = tuple[str, Callable[[graph.Scene], bool | None]]


@dataclasses.dataclass(frozen=True)
class Question:
  """A question with its answers.

  Attributes:
    text: the question.
    answers: {answer: score in (0, 1]}; more than one only for `name_one`.
    kind: name of the function that made it.
  """

  text: str
  answers: dict[str, float]
  kind: str


def vqa(
  scenes: Sequence[graph.Scene], rng: random.Random, count: int = 4
) -> list[list[Question]]:
  """Makes simple questions, about half of them yes/no questions.

  Args:
    scenes: the scenes to ask about.
    rng: source of all random choices.
    count: questions per scene.

  Returns:
    For each scene `count` different questions.
  """
  return _ask(_SIMPLE_OPEN, _SIMPLE_CLOSED, scenes, rng, count)


def gqa(
  scenes: Sequence[graph.Scene], rng: random.Random, count: int = 4
) -> list[list[Question]]:
  """Makes compositional questions; arguments and result as for `vqa`."""
  return _ask(_COMPOSED_OPEN, _COMPOSED_CLOSED, scenes, rng, count)


def _ask(open_kinds, closed_kinds, scenes, rng, count):
  asked = {scene.key: {} for scene in scenes}  # {key: {text: Question}}
  for _ in range(count // 2):
    order = rng.sample(scenes, len(scenes))
    for pair in zip(order[::2], order[1::2], strict=False):
      _ask_both(closed_kinds, pair, asked, rng)
  for scene in scenes:
    of_scene = asked[scene.key]
    while len(of_scene) < count:
      question = pick(rng, open_kinds)(scene, rng)
      if question is not None:
        of_scene[question.text] = question
  return [rng.sample(list(asked[scene.key].values()), count) for scene in scenes]


def _ask_both(kinds, pair, asked, rng):
  """Asks both scenes one yes/no question with different answers, if `_TRIES` attempts find one."""
  for _ in range(_TRIES):
    kind, (true, false) = pick(rng, kinds), rng.sample(pair, 2)
    text, test = kind(true, rng) or (None, None)
    known = text in asked[true.key] or text in asked[false.key]
    if text is not None and not known and test(false) is False:
      asked[true.key][text] = Question(text, {'yes': 1.0}, kind.__name__)
      asked[false.key][text] = Question(text, {'no': 1.0}, kind.__name__)
      return


# Open questions: (scene, rng) -> `Question`, or None if the random choices allow none.


def colour_of(scene: graph.Scene, rng: random.Random) -> Question | None:
  """Asks for the colour of a thing."""
  thing, phrase = _only(rng, scene, without='colour')
  if phrase is None:
    return None
  forms = ('what color is the {}?', 'what is the color of the {}?', 'which color does the {} have?')
  return _question(rng, forms, [phrase.words(rng)], thing.colour, 'colour_of')


def digit_of(scene: graph.Scene, rng: random.Random) -> Question | None:
  """Asks for the digit of a thing."""
  thing, phrase = _only(rng, scene, without='digit')
  if phrase is None:
    return None
  forms = ('what is the {}?', 'which number is the {}?', 'what does the {} say?')
  return _question(rng, forms, [phrase.words(rng)], thing.digit, 'digit_of')


def size_of(scene: graph.Scene, rng: random.Random) -> Question | None:
  """Asks for the size of a thing."""
  thing, phrase = _only(rng, scene, without='size')
  if phrase is None:
    return None
  forms = ('is the {} small or large?', 'is the {} large or small?', 'what size is the {}?')
  return _question(rng, forms, [phrase.words(rng)], thing.size, 'size_of')


def how_many(scene: graph.Scene, rng: random.Random) -> Question:
  """Asks for the number of all things, of things like one of the scene, or of any kind."""
  phrase = pick(
    rng,
    (
      Phrase(),
      words.some_phrase(rng, pick(rng, scene.things)),
      pick(rng, (Phrase(colour=pick(rng, scene.things).colour), words.any_phrase(rng))),
    ),
  )
  forms = (
    'how many {} are there?', 'how many {} can you see?', 'how many {} does the picture show?',
  )  # fmt: skip
  number = str(len(phrase.select(scene)))
  return _question(rng, forms, [phrase.words(rng, plural=True)], number, 'how_many')


def name_one(scene: graph.Scene, rng: random.Random) -> Question:
  """Asks for any digit or colour; ten simulated annotators answer, scored as in VQA."""
  name = pick(rng, ('digit', 'colour'))
  named = collections.Counter(
    getattr(pick(rng, scene.things), name) for _ in range(_ANNOTATORS)
  )
  answers = {answer: min(1.0, count / _FULL_SCORE) for answer, count in sorted(named.items())}
  noun = {'digit': pick(rng, words.NOUNS), 'colour': 'color'}[name]
  text = pick(rng, ('name one {} in the picture.', 'what is one {} that you can see?')).format(noun)
  return Question(text, answers, 'name_one')


def related(scene: graph.Scene, rng: random.Random) -> Question | None:
  """Asks for the digit or colour of the only thing with a relation to a given one."""
  anchor, phrase = _only(rng, scene)
  relation = pick(rng, tuple(graph.RELATIONS))
  others = [t for t in scene.things if t != anchor and graph.RELATIONS[relation](t, anchor)]
  if phrase is None or len(others) != 1:
    return None
  place = f'{pick(rng, words.RELATION_WORDS[relation])} the {phrase.words(rng)}'
  noun, name = pick(rng, words.NOUNS), pick(rng, ('digit', 'colour'))
  forms = {
    'digit': ('what is {1}?', 'which {0} is {1}?'),
    'colour': ('what color is the {0} {1}?', 'what is the color of the {0} that is {1}?'),
  }[name]
  return _question(rng, forms, [noun, place], getattr(others[0], name), 'related')


def which_side(scene: graph.Scene, rng: random.Random) -> Question | None:
  """Asks on which of two sides of another thing a thing lies."""
  first, second = rng.sample(scene.things, 2)
  one, two = (words.only_phrase(rng, scene, thing) for thing in (first, second))
  if one is None or two is None:
    return None
  sides = pick(rng, (('left', 'right'), ('above', 'below')))
  answer = next(side for side in sides if graph.RELATIONS[side](first, second))
  sides = sides if rng.random() < 0.5 else sides[::-1]
  form = {
    'left': 'is the {} to the {} or to the {} of the {}?',
    'above': 'is the {} {} or {} the {}?',
  }['left' if 'left' in sides else 'above']
  return _question(rng, (form,), [one.words(rng), *sides, two.words(rng)], answer, 'which_side')


def extreme(scene: graph.Scene, rng: random.Random) -> Question:
  """Asks for the digit or colour of the thing furthest to one side."""
  side, name = pick(rng, tuple(words.EXTREMES)), pick(rng, ('digit', 'colour'))
  forms = {
    'digit': ('what is the {} {}?', 'which number is the {} {}?'),
    'colour': ('what color is the {} {}?', 'what is the color of the {} {}?'),
  }[name]
  answer = getattr(words.extreme(scene, side), name)
  return _question(rng, forms, [side, pick(rng, words.NOUNS)], answer, 'extreme')


def choose(scene: graph.Scene, rng: random.Random) -> Question | None:
  """Asks which of two colours a thing has."""
  thing, phrase = _only(rng, scene, without='colour')
  if phrase is None:
    return None
  other = pick(rng, [colour for colour in graph.COLOURS if colour != thing.colour])
  colours = (thing.colour, other) if rng.random() < 0.5 else (other, thing.colour)
  parts = [phrase.words(rng), *colours]
  return _question(rng, ('is the {} {} or {}?',), parts, thing.colour, 'choose')


# Yes/no questions: (scene, rng) -> `ClosedQuestion`, or None if the random choices allow none.


def exists(scene: graph.Scene, rng: random.Random) -> ClosedQuestion:
  """Asks whether a phrase fits any thing."""
  phrase = words.some_phrase(rng, pick(rng, scene.things))
  form = pick(rng, ('is there {}?', 'can you see {}?', 'does the picture show {}?'))
  return form.format(a(phrase.words(rng))), lambda other: bool(phrase.select(other))


def has_colour(scene: graph.Scene, rng: random.Random) -> ClosedQuestion | None:
  """Asks whether a thing has a colour."""
  thing, phrase = _only(rng, scene, without='colour')
  if phrase is None:
    return None
  form = pick(rng, ('is the {0} {1}?', 'is {1} the color of the {0}?'))

  def test(other):
    things = phrase.select(other)
    return things[0].colour == thing.colour if len(things) == 1 else None

  return form.format(phrase.words(rng), thing.colour), test


def has_relation(scene: graph.Scene, rng: random.Random) -> ClosedQuestion | None:
  """Asks whether a relation holds between two things."""
  first, second = rng.sample(scene.things, 2)
  one, two = (words.only_phrase(rng, scene, thing) for thing in (first, second))
  if one is None or two is None:
    return None
  name, lies = words.relation(rng, first, second)

  def test(other):
    pair = _only_pair(other, one, two)
    return graph.RELATIONS[name](*pair) if pair else None

  return f'is the {one.words(rng)} {lies} the {two.words(rng)}?', test


def exists_related(scene: graph.Scene, rng: random.Random) -> ClosedQuestion | None:
  """Asks whether any thing that a phrase fits has a relation to a given one."""
  first, second = rng.sample(scene.things, 2)
  one, two = words.some_phrase(rng, first), words.only_phrase(rng, scene, second)
  if two is None:
    return None
  name, lies = words.relation(rng, first, second)

  def test(other):
    anchors = two.select(other)
    if len(anchors) != 1:
      return None
    return any(graph.RELATIONS[name](thing, anchors[0]) for thing in one.select(other))

  return f'is there {a(one.words(rng))} {lies} the {two.words(rng)}?', test


def same(scene: graph.Scene, rng: random.Random) -> ClosedQuestion | None:
  """Asks whether two things share an attribute that neither description gives."""
  name = pick(rng, ('colour', 'digit', 'size'))
  first, second = rng.sample(scene.things, 2)
  one, two = (words.only_phrase(rng, scene, t, without=name) for t in (first, second))
  if one is None or two is None or getattr(first, name) != getattr(second, name):
    return None

  def test(other):
    pair = _only_pair(other, one, two)
    return getattr(pair[0], name) == getattr(pair[1], name) if pair else None

  noun = {'colour': 'color', 'digit': 'number', 'size': 'size'}[name]
  form = pick(rng, ('do the {0} and the {1} have the same {2}?', 'has the {0} the {2} of the {1}?'))
  if name == 'digit':
    form = 'are the {0} and the {1} the same {2}?'
  return form.format(one.words(rng), two.words(rng), noun), test


def both(scene: graph.Scene, rng: random.Random) -> ClosedQuestion:
  """Asks whether two different things exist."""
  first, second = rng.sample(scene.things, 2)
  one, two = words.some_phrase(rng, first), words.some_phrase(rng, second)
  form = pick(rng, ('are there both {} and {}?', 'is there {} and {}?'))
  text = form.format(a(one.words(rng)), a(two.words(rng)))

  def test(other):
    # One thing that both phrases fit does not count as two.
    return any(x is not y for x in one.select(other) for y in two.select(other))

  return text, test


def _only(rng, scene, without=None):
  """Returns (a random thing, a `Phrase` that fits only it or None)."""
  thing = pick(rng, scene.things)
  return thing, words.only_phrase(rng, scene, thing, without)


def _only_pair(scene, one, two):
  """Returns the two different things that two phrases describe uniquely; None if they do not."""
  first, second = one.select(scene), two.select(scene)
  if len(first) != 1 or len(second) != 1 or first == second:
    return None
  return first[0], second[0]


def _question(rng, forms, parts, answer, kind):
  return Question(pick(rng, forms).format(*parts), {answer: 1.0}, kind)


_SIMPLE_OPEN = (colour_of, digit_of, size_of, how_many, name_one)
_SIMPLE_CLOSED = (exists, has_colour)
_COMPOSED_OPEN = (related, related, which_side, extreme, choose)
_COMPOSED_CLOSED = (has_relation, exists_related, same, both)
