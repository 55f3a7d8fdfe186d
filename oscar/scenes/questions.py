"""Questions about scenes with their answers: simple ones as in VQA, compositional ones as in GQA.

Half of them are yes/no questions. Kinds take turns: the kind is drawn first, and scenes are then
searched for a question of that kind, so rare kinds are as frequent as others. The wording does not
give the answer away: each yes/no question is asked about two scenes, with the answer yes for one
and no for the other, and the answers to the open questions of a kind are kept balanced.
"""

import collections
import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from oscar.scenes import graph, words
from oscar.scenes.words import Phrase, a, pick

_T = TypeVar('_T')

_TRIES = 100  # Attempts to make a question of a given kind.
_CANDIDATES = 25  # Scenes searched for one to answer a yes/no question with no.
_PROPOSALS = 8  # Open questions made, to ask the one with the rarest answer.
ANNOTATORS = 10  # Simulated annotators of a question, as in VQA.
_AGREEING = 3  # Annotators that must agree for VQA's score of 1.

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
    votes: {answer: how many of ten annotators gave it}; empty if all gave the only answer.
  """

  text: str
  answers: dict[str, float]
  kind: str
  votes: dict[str, int] = dataclasses.field(default_factory=dict)

  def annotations(self) -> list[str]:
    """Returns the answers of the ten annotators."""
    votes = self.votes or dict.fromkeys(self.answers, ANNOTATORS)
    return [answer for answer, count in votes.items() for _ in range(count)]


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
    _ask_closed(closed_kinds, scenes, asked, rng)
  _ask_open(open_kinds, scenes, asked, count, rng)
  return [rng.sample(list(asked[scene.key].values()), count) for scene in scenes]


def turns(kinds: Sequence[_T], count: int, rng: random.Random) -> list[_T]:
  """Returns `count` kinds, each equally often up to one, in the order of `kinds`."""
  extra = rng.sample(range(len(kinds)), count % len(kinds))
  return [
    kind
    for number, kind in enumerate(kinds)
    for _ in range(count // len(kinds) + (number in extra))
  ]


def _ask_closed(kinds, scenes, asked, rng):
  """Asks each scene one yes/no question, two scenes the same one; a few may go without."""
  waiting = list(scenes)
  for kind in turns(kinds, len(scenes) // 2, rng):
    # An easier kind takes the place of one that no two of the waiting scenes allow.
    for chosen in (kind, *reversed(kinds)):
      if _ask_both(chosen, waiting, asked, rng):
        break


def _ask_both(kind, waiting, asked, rng):
  """Asks two waiting scenes, one with the answer yes, one no; returns whether any allow it."""
  for _ in range(_TRIES):
    if len(waiting) < 2:
      return False
    true = pick(rng, waiting)
    text, test = kind(true, rng) or (None, None)
    if text is None or text in asked[true.key]:
      continue
    for false in rng.sample(waiting, min(len(waiting), _CANDIDATES)):
      # The answer is yes for `true` itself.
      if text not in asked[false.key] and test(false) is False:
        asked[true.key][text] = Question(text, {'yes': 1.0}, kind.__name__)
        asked[false.key][text] = Question(text, {'no': 1.0}, kind.__name__)
        waiting.remove(true)
        waiting.remove(false)
        return True
  return False


def _ask_open(kinds, scenes, asked, count, rng):
  """Asks open questions until each scene has `count` questions in all."""
  waiting = [scene for scene in scenes if len(asked[scene.key]) < count]
  total = sum(count - len(asked[scene.key]) for scene in waiting)
  answered = {kind: collections.Counter() for kind in kinds}  # {kind: {answer: questions}}
  for kind in turns(kinds, total, rng):
    found = None
    while found is None:
      found = _propose(kind, waiting, asked, answered[kind], rng)
      kind = kind if found else pick(rng, kinds)
    scene, question = found
    asked[scene.key][question.text] = question
    answered[kind].update(question.answers)
    if len(asked[scene.key]) == count:
      waiting.remove(scene)


def _propose(kind, waiting, asked, answered, rng):
  """Returns (scene, `Question`) with the rarest answer of several; None if no attempt succeeds."""
  best, proposals = None, 0
  for _ in range(_TRIES):
    scene = pick(rng, waiting)
    question = kind(scene, rng)
    if question is None or question.text in asked[scene.key]:
      continue
    times = max(answered[answer] for answer in question.answers)
    if best is None or times < best[0]:
      best = times, scene, question
    proposals += 1
    if proposals == _PROPOSALS or not times:
      break
  return best[1:] if best else None


# Open questions: (scene, rng) -> `Question`, or None if the random choices allow none.


def colour_of(scene: graph.Scene, rng: random.Random) -> Question | None:
  """Asks for the colour of a thing."""
  thing, phrase = _only(rng, scene, without='colour')
  if phrase is None or thing.colour is None:
    return None
  forms = scene.theme.wording['colour_of']
  return _question(rng, forms, [phrase.words(rng)], thing.colour, 'colour_of')


def digit_of(scene: graph.Scene, rng: random.Random) -> Question | None:
  """Asks for the digit of a thing."""
  thing, phrase = _only(rng, scene, without='digit')
  if phrase is None:
    return None
  forms = scene.theme.wording['digit_of']
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
      Phrase(theme=scene.theme),
      words.some_phrase(rng, pick(rng, scene.things)),
      pick(rng, (_coloured(rng, scene), words.any_phrase(rng, scene.theme))),
    ),
  )
  forms = (
    'how many {} are there?', 'how many {} can you see?', 'how many {} does the picture show?',
  )  # fmt: skip
  number = str(len(phrase.select(scene)))
  return _question(rng, forms, [phrase.words(rng, plural=True)], number, 'how_many')


def _coloured(rng, scene):
  return Phrase(colour=pick(rng, scene.things).colour, theme=scene.theme)


def name_one(scene: graph.Scene, rng: random.Random) -> Question | None:
  """Asks for any digit or colour; ten simulated annotators answer, scored as in VQA.

  Their answers score 0.3, 0.6, 0.9 or 1, as `vqa_score` says.
  """
  name = pick(rng, ('digit', 'colour'))
  things = [thing for thing in scene.things if getattr(thing, name)]
  if not things:
    return None
  named = collections.Counter(getattr(pick(rng, things), name) for _ in range(ANNOTATORS))
  votes = dict(sorted(named.items()))
  answers = {answer: vqa_score(count) for answer, count in votes.items()}
  noun = {'digit': pick(rng, scene.theme.nouns), 'colour': scene.theme.attributes['colour']}[name]
  text = pick(rng, ('name one {} in the picture.', 'what is one {} that you can see?')).format(noun)
  return Question(text, answers, 'name_one', votes)


def vqa_score(count: int) -> float:
  """Returns VQA's score of an answer that `count` of ten annotators gave.

  The rule compares an answer with those of nine annotators, min(1, those who agree / 3), and
  averages over the ten choices of nine: 0.3, 0.6, 0.9, and 1 from four annotators on.
  """
  with_all = (ANNOTATORS - count) * min(_AGREEING, count)  # One who disagrees is left out.
  with_one_less = count * min(_AGREEING, count - 1)
  return (with_all + with_one_less) / (ANNOTATORS * _AGREEING)


def related(scene: graph.Scene, rng: random.Random) -> Question | None:
  """Asks for the digit or colour of the only thing with a relation to a given one."""
  anchor, phrase = _only(rng, scene)
  relation = pick(rng, tuple(graph.RELATIONS))
  others = [t for t in scene.things if t != anchor and graph.RELATIONS[relation](t, anchor)]
  if phrase is None or len(others) != 1:
    return None
  place = f'{pick(rng, words.RELATION_WORDS[relation])} the {phrase.words(rng)}'
  noun, name = pick(rng, scene.theme.nouns), pick(rng, ('digit', 'colour'))
  answer = getattr(others[0], name)
  if answer is None:
    return None
  return _question(rng, scene.theme.wording[f'related {name}'], [noun, place], answer, 'related')


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


def extreme(scene: graph.Scene, rng: random.Random) -> Question | None:
  """Asks for the digit or colour of the thing furthest to one side."""
  side, name = pick(rng, tuple(words.EXTREMES)), pick(rng, ('digit', 'colour'))
  answer = getattr(words.extreme(scene, side), name)
  if answer is None:
    return None
  forms = scene.theme.wording[f'extreme {name}']
  return _question(rng, forms, [side, pick(rng, scene.theme.nouns)], answer, 'extreme')


def choose(scene: graph.Scene, rng: random.Random) -> Question | None:
  """Asks which of two colours a thing has."""
  thing, phrase = _only(rng, scene, without='colour')
  if phrase is None or thing.colour is None:
    return None
  other = pick(rng, [colour for colour in scene.theme.colours if colour != thing.colour])
  colours = (thing.colour, other) if rng.random() < 0.5 else (other, thing.colour)
  parts = [phrase.words(rng), *colours]
  return _question(rng, scene.theme.wording['choose'], parts, thing.colour, 'choose')


# Yes/no questions: (scene, rng) -> `ClosedQuestion`, or None if the random choices allow none.


def exists(scene: graph.Scene, rng: random.Random) -> ClosedQuestion:
  """Asks whether a phrase fits any thing."""
  phrase = words.some_phrase(rng, pick(rng, scene.things))
  form = pick(rng, ('is there {}?', 'can you see {}?', 'does the picture show {}?'))
  return form.format(a(phrase.words(rng))), lambda other: bool(phrase.select(other))


def has_colour(scene: graph.Scene, rng: random.Random) -> ClosedQuestion | None:
  """Asks whether a thing has a colour."""
  thing, phrase = _only(rng, scene, without='colour')
  if phrase is None or thing.colour is None:
    return None
  form = pick(rng, scene.theme.wording['has_colour'])

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
  name = pick(rng, tuple(scene.theme.attributes))
  first, second = rng.sample(scene.things, 2)
  one, two = (words.only_phrase(rng, scene, t, without=name) for t in (first, second))
  value = getattr(first, name)
  if one is None or two is None or value is None or value != getattr(second, name):
    return None

  def test(other):
    values = [getattr(thing, name) for thing in _only_pair(other, one, two) or ()]
    # Whether two things without colour share it is moot.
    return values[0] == values[1] if any(values) else None

  noun = scene.theme.attributes[name]
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


# The kinds that fit the fewest scenes come first, while there are most scenes to choose from.
_SIMPLE_OPEN = (colour_of, digit_of, size_of, how_many, name_one)
_SIMPLE_CLOSED = (has_colour, exists)
_COMPOSED_OPEN = (related, which_side, choose, extreme)
_COMPOSED_CLOSED = (same, has_relation, exists_related, both)
