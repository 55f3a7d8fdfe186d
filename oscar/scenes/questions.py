"""Questions on a scene with their answers: simple ones as in VQA, compositional ones as in GQA.

Wording gives no answer away: a question that is answered yes or no is made to be true of some
scene, and then asked of that scene or, as often, of another one of which it is false.
"""

import collections
import dataclasses

from oscar.scenes import graph, words
from oscar.scenes.words import Phrase, a, pick

_TRIES = 3  # To find something that is true of a scene.
_DONORS = 60  # Scenes that are tried to find a statement that is false of a given one.
_ANNOTATORS = 10  # Who answer a question with several right answers; VQA's score counts them.
_ENOUGH = 3  # So many annotators make an answer right in full.


@dataclasses.dataclass(frozen=True)
class Question:
  """A question.

  Attributes:
    text: the question.
    answers: {answer: score in (0, 1]}; more than one only for `name_one`.
    kind: the function that made it.
  """

  text: str
  answers: dict
  kind: str


def vqa(scene, scenes, rng, count=4):
  """Simple questions on a scene.

  Args:
    scene: `graph.Scene`.
    scenes: the scenes of the split, from which wrong yes-or-no questions are taken.
    rng: `random.Random`.
    count: how many.

  Returns:
    [`Question`], all different.
  """
  return _questions(_SIMPLE, scene, scenes, rng, count)


def gqa(scene, scenes, rng, count=4):
  """Compositional questions on a scene; arguments and result as of `vqa`."""
  return _questions(_COMPOSED, scene, scenes, rng, count)


def _questions(kinds, scene, scenes, rng, count):
  made = {}
  while len(made) < count:
    question = pick(rng, kinds)(scene, scenes, rng)
    if question is not None:
      made[question.text] = question
  return list(made.values())


# ---- questions with one answer out of many


def colour_of(scene, scenes, rng):
  thing, phrase = _only(rng, scene, without='colour')
  if phrase is None:
    return None
  forms = ('what color is the {}?', 'what is the color of the {}?', 'which color does the {} have?')
  return _asked(rng, forms, [phrase.words(rng)], thing.colour, 'colour_of')


def digit_of(scene, scenes, rng):
  thing, phrase = _only(rng, scene, without='digit')
  if phrase is None:
    return None
  forms = ('what is the {}?', 'which number is the {}?', 'what does the {} say?')
  return _asked(rng, forms, [phrase.words(rng)], thing.digit, 'digit_of')


def size_of(scene, scenes, rng):
  thing, phrase = _only(rng, scene, without='size')
  if phrase is None:
    return None
  forms = ('is the {} small or large?', 'is the {} large or small?', 'what size is the {}?')
  return _asked(rng, forms, [phrase.words(rng)], thing.size, 'size_of')


def how_many(scene, scenes, rng):
  """Of all things, of things as one of the scene, or of any kind."""
  phrase = pick(
    rng,
    (
      Phrase(),
      words.some_phrase(rng, pick(rng, scene.things)),
      pick(rng, (Phrase(colour=pick(rng, scene.things).colour), words.any_phrase(rng))),
    ),
  )
  forms = ('how many {} are there?', 'how many {} can you see?', 'how many {} does the picture show?')
  number = str(len(phrase.select(scene)))
  return _asked(rng, forms, [phrase.words(rng, plural=True)], number, 'how_many')


def name_one(scene, scenes, rng):
  """Several answers are right: ten annotators each name one, scored as in VQA."""
  name = pick(rng, ('digit', 'colour'))
  named = collections.Counter(
    getattr(pick(rng, scene.things), name) for _ in range(_ANNOTATORS)
  )
  answers = {answer: min(1.0, count / _ENOUGH) for answer, count in sorted(named.items())}
  what = {'digit': pick(rng, words.NOUNS), 'colour': 'color'}[name]
  text = pick(rng, ('name one {} in the picture.', 'what is one {} that you can see?')).format(what)
  return Question(text, answers, 'name_one')


def related(scene, scenes, rng):
  """The digit or colour of the only thing that lies so to a given one."""
  anchor, phrase = _only(rng, scene)
  relation = pick(rng, tuple(graph.RELATIONS))
  found = [t for t in scene.things if t != anchor and graph.RELATIONS[relation](t, anchor)]
  if phrase is None or len(found) != 1:
    return None
  place = f'{pick(rng, words.RELATION_WORDS[relation])} the {phrase.words(rng)}'
  noun, name = pick(rng, words.NOUNS), pick(rng, ('digit', 'colour'))
  forms = {
    'digit': ('what is {1}?', 'which {0} is {1}?'),
    'colour': ('what color is the {0} {1}?', 'what is the color of the {0} that is {1}?'),
  }[name]
  return _asked(rng, forms, [noun, place], getattr(found[0], name), 'related')


def which_side(scene, scenes, rng):
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
  return _asked(rng, (form,), [one.words(rng), *sides, two.words(rng)], answer, 'which_side')


def extreme(scene, scenes, rng):
  """The digit or colour of what lies furthest to one side."""
  side, name = pick(rng, tuple(words.EXTREMES)), pick(rng, ('digit', 'colour'))
  forms = {
    'digit': ('what is the {} {}?', 'which number is the {} {}?'),
    'colour': ('what color is the {} {}?', 'what is the color of the {} {}?'),
  }[name]
  answer = getattr(words.extreme(scene, side), name)
  return _asked(rng, forms, [side, pick(rng, words.NOUNS)], answer, 'extreme')


def choose(scene, scenes, rng):
  """Which of two colours a thing has."""
  thing, phrase = _only(rng, scene, without='colour')
  if phrase is None:
    return None
  other = pick(rng, [colour for colour in graph.COLOURS if colour != thing.colour])
  colours = (thing.colour, other) if rng.random() < 0.5 else (other, thing.colour)
  return _asked(rng, ('is the {} {} or {}?',), [phrase.words(rng), *colours], thing.colour, 'choose')


# ---- questions of yes or no


def exists(scene, scenes, rng):
  return _yes_or_no(_exists, scene, scenes, rng, 'exists')


def has_colour(scene, scenes, rng):
  return _yes_or_no(_has_colour, scene, scenes, rng, 'has_colour')


def lies_so(scene, scenes, rng):
  return _yes_or_no(_lies_so, scene, scenes, rng, 'lies_so')


def exists_so(scene, scenes, rng):
  return _yes_or_no(_exists_so, scene, scenes, rng, 'exists_so')


def same(scene, scenes, rng):
  return _yes_or_no(_same, scene, scenes, rng, 'same')


def both(scene, scenes, rng):
  return _yes_or_no(_both, scene, scenes, rng, 'both')


def _exists(scene, rng):
  """Each of these gives (text, test) or None; test(any scene) is True, False, or None if senseless.

  The text is true of `scene`.
  """
  phrase = words.some_phrase(rng, pick(rng, scene.things))
  form = pick(rng, ('is there {}?', 'can you see {}?', 'does the picture show {}?'))
  return form.format(a(phrase.words(rng))), lambda other: bool(phrase.select(other))


def _has_colour(scene, rng):
  thing, phrase = _only(rng, scene, without='colour')
  if phrase is None:
    return None
  form = pick(rng, ('is the {0} {1}?', 'is {1} the color of the {0}?'))

  def test(other):
    found = phrase.select(other)
    return found[0].colour == thing.colour if len(found) == 1 else None

  return form.format(phrase.words(rng), thing.colour), test


def _lies_so(scene, rng):
  first, second = rng.sample(scene.things, 2)
  one, two = (words.only_phrase(rng, scene, thing) for thing in (first, second))
  if one is None or two is None:
    return None
  name, lies = words.relation(rng, first, second)

  def test(other):
    found = one.select(other), two.select(other)
    if [len(things) for things in found] != [1, 1] or found[0] == found[1]:
      return None
    return graph.RELATIONS[name](found[0][0], found[1][0])

  return f'is the {one.words(rng)} {lies} the {two.words(rng)}?', test


def _exists_so(scene, rng):
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


def _same(scene, rng):
  """Whether two things are alike in one way; described by nothing that would tell."""
  name = pick(rng, ('colour', 'digit', 'size'))
  first, second = rng.sample(scene.things, 2)
  one, two = (words.only_phrase(rng, scene, t, without=name) for t in (first, second))
  if one is None or two is None or getattr(first, name) != getattr(second, name):
    return None

  def test(other):
    found = one.select(other), two.select(other)
    if [len(things) for things in found] != [1, 1] or found[0] == found[1]:
      return None
    return getattr(found[0][0], name) == getattr(found[1][0], name)

  what = {'colour': 'color', 'digit': 'number', 'size': 'size'}[name]
  form = pick(rng, ('do the {0} and the {1} have the same {2}?', 'has the {0} the {2} of the {1}?'))
  if name == 'digit':
    form = 'are the {0} and the {1} the same {2}?'
  return form.format(one.words(rng), two.words(rng), what), test


def _both(scene, rng):
  first, second = rng.sample(scene.things, 2)
  one, two = words.some_phrase(rng, first), words.some_phrase(rng, second)
  form = pick(rng, ('are there both {} and {}?', 'is there {} and {}?'))
  text = form.format(a(one.words(rng)), a(two.words(rng)))

  def test(other):
    # Two things, not one that both words fit.
    return any(x is not y for x in one.select(other) for y in two.select(other))

  return text, test


def _yes_or_no(make, scene, scenes, rng, kind):
  """A question on `scene` that `make` finds true, or with equal chance a false one.

  Where only one of them can be made there is none: else one answer would prevail.
  """
  made = (make(scene, rng) for _ in range(_TRIES))
  true = next(filter(None, made), None)
  others = (make(pick(rng, scenes), rng) for _ in range(_DONORS)) if true else ()
  false = next((other for other in others if other and other[1](scene) is False), None)
  if not false:
    return None
  text, answer = pick(rng, ((true[0], 'yes'), (false[0], 'no')))
  return Question(text, {answer: 1.0}, kind)


# ---- helpers


def _only(rng, scene, without=None):
  """(a thing of the scene, a `Phrase` that fits it alone or None)."""
  thing = pick(rng, scene.things)
  return thing, words.only_phrase(rng, scene, thing, without)


def _asked(rng, forms, parts, answer, kind):
  return Question(pick(rng, forms).format(*parts), {answer: 1.0}, kind)


_SIMPLE = (colour_of, digit_of, size_of, how_many, name_one, exists, exists, has_colour, has_colour)
_COMPOSED = (
  related, related, which_side, extreme, choose, lies_so, exists_so, same, both,
)  # fmt: skip
