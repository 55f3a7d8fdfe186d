"""Noun phrases: partial descriptions of things, their wording, and the things they fit."""

import dataclasses
import functools
import itertools
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from oscar.scenes import graph
from oscar.scenes.theme import HANDWRITTEN, Theme

_T = TypeVar('_T')

NOUNS = HANDWRITTEN.nouns
SIZE_WORDS = {'small': ('small', 'little'), 'large': ('large', 'big')}
RELATION_WORDS = {
  'left': ('to the left of', 'left of'),
  'right': ('to the right of', 'right of'),
  'above': ('above', 'over'),
  'below': ('below', 'under'),
}
# {side: key function; the thing with the smallest value lies furthest to that side}.
EXTREMES: dict[str, Callable[[graph.Thing], float]] = {
  'leftmost': lambda thing: thing.centre[0],
  'rightmost': lambda thing: -thing.centre[0],
  'topmost': lambda thing: thing.centre[1],
  'lowest': lambda thing: -thing.centre[1],
}
NUMBERS = ('no', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten')
_LIKE_CONSONANT = ('one', 'eu', 'uni', 'use')  # They sound like 'won' and 'you'.
_SAME_PLURAL = ('sheep', 'fish', 'deer', 'bison', 'fowl', 'caribou', 'shrimp', 'zebu')
_PLURALS = {'mouse': 'mice', 'tooth': 'teeth', 'goose': 'geese', 'knife': 'knives'}


@dataclasses.dataclass(frozen=True)
class Phrase:
  """A partial description of a thing; None leaves an attribute open.

  `digit` is a class or a super-class of the theme.
  """

  size: str | None = None
  colour: str | None = None
  digit: str | None = None
  theme: Theme = dataclasses.field(default=HANDWRITTEN, compare=False, repr=False)

  def fits(self, thing: graph.Thing) -> bool:
    """Returns whether the description holds for a thing."""
    # Spelled out, as searches for questions spend most of their time here.
    return (
      (self.size is None or self.size == thing.size)
      and (self.colour is None or self.colour == thing.colour)
      and (
        self.digit is None
        or self.digit == thing.digit
        or self.digit in self.theme.supers.get(thing.digit, ())
      )
    )

  def select(self, scene: graph.Scene) -> list[graph.Thing]:
    """Returns the things of a scene that the description fits."""
    return [thing for thing in scene.things if self.fits(thing)]

  def words(self, rng: random.Random, plural: bool = False) -> str:
    """Returns one wording, such as 'large red three' or 'red digit'."""
    noun = self.digit or pick(rng, self.theme.nouns)
    noun = plural_of(noun) if plural else noun
    size = pick(rng, SIZE_WORDS[self.size]) if self.size else None
    colour = self.theme.adjective.format(self.colour) if self.colour else None
    return ' '.join(filter(None, (size, colour, noun)))


def pick(rng: random.Random, items: Sequence[_T]) -> _T:
  """Returns a random item of a sequence."""
  return rng.choice(items)


def phrases(thing: graph.Thing, *, without: str | None = None) -> tuple[Phrase, ...]:
  """Returns each non-empty `Phrase` that fits a thing and leaves the attribute `without` open.

  Without the class there are phrases with super-classes, with it as many of either.
  """
  return _phrases(thing.size, thing.colour, thing.digit, without, thing.theme)


@functools.cache
def _phrases(size, colour, digit, without, theme):
  supers = theme.supers.get(digit, ())
  nouns = supers if without == 'digit' else (digit,) * max(1, len(supers)) + supers
  values = {'size': (size,), 'colour': (colour,) if colour else (), 'digit': nouns}
  # Who asks for the class may name a super-class.
  open_name = None if without == 'digit' else without
  values = {name: found for name, found in values.items() if found and name != open_name}
  names = list(values)
  return tuple(
    Phrase(**dict(zip(chosen, found, strict=True)), theme=theme)
    for number in range(1, 2 ** len(names))
    for chosen in [[name for bit, name in enumerate(names) if number >> bit & 1]]
    for found in itertools.product(*(values[name] for name in chosen))
  )


def some_phrase(rng: random.Random, thing: graph.Thing) -> Phrase:
  """Returns a random `Phrase` that fits a thing and gives its digit or its colour."""
  return pick(rng, [p for p in phrases(thing) if p.colour or p.digit])


def only_phrase(
  rng: random.Random, scene: graph.Scene, thing: graph.Thing, without: str | None = None
) -> Phrase | None:
  """Returns a random `Phrase` that fits only this thing of the scene; None if none does."""
  unique = [p for p in phrases(thing, without=without) if len(p.select(scene)) == 1]
  return pick(rng, unique) if unique else None


def any_phrase(rng: random.Random, theme: Theme = HANDWRITTEN) -> Phrase:
  """Returns a random `Phrase` with a digit, a colour or both, independent of any scene."""
  kinds = pick(rng, (('digit',), ('colour',), ('digit', 'colour')))
  names = {'digit': theme.all_nouns(), 'colour': tuple(theme.colours)}
  return Phrase(**{kind: pick(rng, names[kind]) for kind in kinds}, theme=theme)


def a(words: str) -> str:
  """Prefixes the indefinite article."""
  vowel = words[0] in 'aeiou' and not words.startswith(_LIKE_CONSONANT)
  return f'{"an" if vowel else "a"} {words}'


def plural_of(noun: str) -> str:
  """Returns the plural of a noun in words: 'sixes', 'wild boars', 'pairs of pants'."""
  head, of, rest = noun.partition(' of ')
  before, last = head[: head.rfind(' ') + 1], head[head.rfind(' ') + 1 :]
  if last in _PLURALS:
    last = _PLURALS[last]
  elif last.endswith(('s', 'x', 'ch', 'sh', 'tato', 'mato')) and last not in _SAME_PLURAL:
    last = f'{last}es'
  elif last.endswith('y') and last[-2:-1] not in tuple('aeiou'):
    last = f'{last[:-1]}ies'
  elif not last.endswith(_SAME_PLURAL):
    last = f'{last}s'
  return before + last + of + rest


def listed(parts: Sequence[str]) -> str:
  """Joins parts as 'a, b and c'."""
  return parts[0] if len(parts) == 1 else f'{", ".join(parts[:-1])} and {parts[-1]}'


def relation(rng: random.Random, first: graph.Thing, second: graph.Thing) -> tuple[str, str]:
  """Returns (name, words) of a random relation that holds from the first thing to the second."""
  name = pick(rng, [r for r, holds in graph.RELATIONS.items() if holds(first, second)])
  return name, pick(rng, RELATION_WORDS[name])


def extreme(scene: graph.Scene, name: str) -> graph.Thing:
  """Returns the thing that lies furthest to one side, `name` in `EXTREMES`."""
  return min(scene.things, key=EXTREMES[name])
