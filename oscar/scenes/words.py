"""Noun phrases: from partial descriptions of things to varied words, and how they apply."""

import dataclasses

from oscar.scenes import graph

NOUNS = ('digit', 'number')
SIZE_WORDS = {'small': ('small', 'little'), 'large': ('large', 'big')}
RELATION_WORDS = {
  'left': ('to the left of', 'left of'),
  'right': ('to the right of', 'right of'),
  'above': ('above', 'over'),
  'below': ('below', 'under'),
}
EXTREMES = {
  'leftmost': lambda thing: thing.centre[0],
  'rightmost': lambda thing: -thing.centre[0],
  'topmost': lambda thing: thing.centre[1],
  'lowest': lambda thing: -thing.centre[1],
}
NUMBERS = ('no', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten')
_VOWELS = ('eight', 'orange')  # 'one' begins as 'won' does.


@dataclasses.dataclass(frozen=True)
class Phrase:
  """What is said of a thing; None where nothing is said."""

  size: str = None
  colour: str = None
  digit: str = None

  def fits(self, thing):
    """Whether the thing is so."""
    return all(
      said is None or said == getattr(thing, name) for name, said in vars(self).items()
    )

  def select(self, scene):
    """The things of the scene that are so."""
    return [thing for thing in scene.things if self.fits(thing)]

  def words(self, rng, plural=False):
    """'large red three', 'red digit': varied."""
    noun = self.digit or pick(rng, NOUNS)
    noun = plural_of(noun) if plural else noun
    size = pick(rng, SIZE_WORDS[self.size]) if self.size else None
    return ' '.join(filter(None, (size, self.colour, noun)))


def pick(rng, items):
  """One of a sequence."""
  return rng.choice(items)


def phrases(thing, *, without=None):
  """Every `Phrase` that fits a thing and says something, none of them about `without`."""
  names = [name for name in ('size', 'colour', 'digit') if name != without]
  chosen = [
    {name: getattr(thing, name) for bit, name in enumerate(names) if number >> bit & 1}
    for number in range(1, 2 ** len(names))
  ]
  return [Phrase(**said) for said in chosen]


def some_phrase(rng, thing):
  """A `Phrase` that fits a thing and names its digit or its colour."""
  return pick(rng, [p for p in phrases(thing) if p.colour or p.digit])


def only_phrase(rng, scene, thing, without=None):
  """A `Phrase` that fits this thing of the scene alone; None if there is none."""
  unique = [p for p in phrases(thing, without=without) if len(p.select(scene)) == 1]
  return pick(rng, unique) if unique else None


def any_phrase(rng):
  """A `Phrase` of a digit, a colour or both, from all there are, whatever is in a scene."""
  kinds = pick(rng, (('digit',), ('colour',), ('digit', 'colour')))
  names = {'digit': graph.DIGITS, 'colour': tuple(graph.COLOURS)}
  return Phrase(**{kind: pick(rng, names[kind]) for kind in kinds})


def a(words):
  """The words with their indefinite article."""
  return f'{"an" if words.split()[0] in _VOWELS else "a"} {words}'


def plural_of(noun):
  return noun + ('es' if noun == 'six' else 's')


def listed(parts):
  """'a, b and c'."""
  return parts[0] if len(parts) == 1 else f'{", ".join(parts[:-1])} and {parts[-1]}'


def relation(rng, first, second):
  """(name, words) of one of the two relations of the first thing to the second."""
  name = pick(rng, [r for r, holds in graph.RELATIONS.items() if holds(first, second)])
  return name, pick(rng, RELATION_WORDS[name])


def extreme(scene, name):
  """The thing of the scene that lies furthest to one side; `name` is one of `EXTREMES`."""
  return min(scene.things, key=EXTREMES[name])
