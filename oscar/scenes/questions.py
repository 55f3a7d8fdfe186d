"""Questions on scenes with their answers: simple ones as in VQA, compositional ones as in GQA.

Wording gives no answer away: each question of yes or no is asked of two scenes, of one of which it
is true and of the other false.
"""

import collections
import dataclasses

from oscar.scenes import graph, words
from oscar.scenes.words import Phrase, a, pick

_TRIES = 100  # To find a question that is true of one scene and false of another.
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


def vqa(scenes, rng, count=4):
  """Simple questions on scenes, about half of them of yes or no.

  Args:
    scenes: [`graph.Scene`].
    rng: `random.Random`.
    count: how many on each scene.

  Returns:
    [[`Question`]]: on each scene, all different.
  """
  return _ask(_SIMPLE_OPEN, _SIMPLE_CLOSED, scenes, rng, count)


def gqa(scenes, rng, count=4):
  """Compositional questions on scenes; arguments and result as of `vqa`."""
  return _ask(_COMPOSED_OPEN, _COMPOSED_CLOSED, scenes, rng, count)


def _ask(open_kinds, closed_kinds, scenes, rng, count):
  asked = {scene.key: {} for scene in scenes}
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
  """Asks one question of yes or no of both scenes, if chance finds one that tells them apart."""
  for _ in range(_TRIES):
    kind, (true, false) = pick(rng, kinds), rng.sample(pair, 2)
    text, test = kind(true, rng) or (None, None)
    known = text in asked[true.key] or text in asked[false.key]
    if text is not None and not known and test(false) is False:
      asked[true.key][text] = Question(text, {'yes': 1.0}, kind.__name__)
      asked[false.key][text] = Question(text, {'no': 1.0}, kind.__name__)
      return


# ---- questions with one answer out of many


def colour_of(scene, rng):
  thing, phrase = _only(rng, scene, without='colour')
  if phrase is None:
    return None
  forms = ('what color is the {}?', 'what is the color of the {}?', 'which color does the {} have?')
  return _asked(rng, forms, [phrase.words(rng)], thing.colour, 'colour_of')


def digit_of(scene, rng):
  thing, phrase = _only(rng, scene, without='digit')
  if phrase is None:
    return None
  forms = ('what is the {}?', 'which number is the {}?', 'what does the {} say?')
  return _asked(rng, forms, [phrase.words(rng)], thing.digit, 'digit_of')


def size_of(scene, rng):
  thing, phrase = _only(rng, scene, without='size')
  if phrase is None:
    return None
  forms = ('is the {} small or large?', 'is the {} large or small?', 'what size is the {}?')
  return _asked(rng, forms, [phrase.words(rng)], thing.size, 'size_of')


def how_many(scene, rng):
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


def name_one(scene, rng):
  """Several answers are right: ten annotators each name one, scored as in VQA."""
  name = pick(rng, ('digit', 'colour'))
  named = collections.Counter(
    getattr(pick(rng, scene.things), name) for _ in range(_ANNOTATORS)
  )
  answers = {answer: min(1.0, count / _ENOUGH) for answer, count in sorted(named.items())}
  what = {'digit': pick(rng, words.NOUNS), 'colour': 'color'}[name]
  text = pick(rng, ('name one {} in the picture.', 'what is one {} that you can see?')).format(what)
  return Question(text, answers, 'name_one')


def related(scene, rng):
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


def which_side(scene, rng):
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


def extreme(scene, rng):
  """The digit or colour of what lies furthest to one side."""
  side, name = pick(rng, tuple(words.EXTREMES)), pick(rng, ('digit', 'colour'))
  forms = {
    'digit': ('what is the {} {}?', 'which number is the {} {}?'),
    'colour': ('what color is the {} {}?', 'what is the color of the {} {}?'),
  }[name]
  answer = getattr(words.extreme(scene, side), name)
  return _asked(rng, forms, [side, pick(rng, words.NOUNS)], answer, 'extreme')


def choose(scene, rng):
  """Which of two colours a thing has."""
  thing, phrase = _only(rng, scene, without='colour')
  if phrase is None:
    return None
  other = pick(rng, [colour for colour in graph.COLOURS if colour != thing.colour])
  colours = (thing.colour, other) if rng.random() < 0.5 else (other, thing.colour)
  return _asked(rng, ('is the {} {} or {}?',), [phrase.words(rng), *colours], thing.colour, 'choose')


# ---- questions of yes or no
#
# Each of these gives (text, test), or None. The answer on `scene` is yes; test(another scene) is True,
# False, or None where the question makes no sense.


def exists(scene, rng):
  phrase = words.some_phrase(rng, pick(rng, scene.things))
  form = pick(rng, ('is there {}?', 'can you see {}?', 'does the picture show {}?'))
  return form.format(a(phrase.words(rng))), lambda other: bool(phrase.select(other))


def has_colour(scene, rng):
  thing, phrase = _only(rng, scene, without='colour')
  if phrase is None:
    return None
  form = pick(rng, ('is the {0} {1}?', 'is {1} the color of the {0}?'))

  def test(other):
    found = phrase.select(other)
    return found[0].colour == thing.colour if len(found) == 1 else None

  return form.format(phrase.words(rng), thing.colour), test


def lies_so(scene, rng):
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


def exists_so(scene, rng):
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


def same(scene, rng):
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


def both(scene, rng):
  first, second = rng.sample(scene.things, 2)
  one, two = words.some_phrase(rng, first), words.some_phrase(rng, second)
  form = pick(rng, ('are there both {} and {}?', 'is there {} and {}?'))
  text = form.format(a(one.words(rng)), a(two.words(rng)))

  def test(other):
    # Two things, not one that both words fit.
    return any(x is not y for x in one.select(other) for y in two.select(other))

  return text, test


# ---- helpers


def _only(rng, scene, without=None):
  """(a thing of the scene, a `Phrase` that fits it alone or None)."""
  thing = pick(rng, scene.things)
  return thing, words.only_phrase(rng, scene, thing, without)


def _asked(rng, forms, parts, answer, kind):
  return Question(pick(rng, forms).format(*parts), {answer: 1.0}, kind)


_SIMPLE_OPEN = (colour_of, digit_of, size_of, how_many, name_one)
_SIMPLE_CLOSED = (exists, has_colour)
_COMPOSED_OPEN = (related, related, which_side, extreme, choose)
_COMPOSED_CLOSED = (lies_so, exists_so, same, both)
