"""Noun phrases: partial descriptions of things, their wording, and the things they fit."""

import dataclasses
import functools
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from oscar.scenes import graph

_T = TypeVar('_T')

NOUNS = ('digit', 'number')
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
_TAKES_AN = ('eight', 'orange')  # Not 'one', which sounds like 'won'.


@dataclasses.dataclass(frozen=True)
class Phrase:
  """A partial description of a thing; None leaves an attribute open."""

  size: str | None = None
  colour: str | None = None
  digit: str | None = None

  def fits(self, thing: graph.Thing) -> bool:
    """Returns whether the description holds for a thing."""
    # Spelled out, as searches for questions spend most of their time here.
    return (
      (self.size is None or self.size == thing.size)
      and (self.colour is None or self.colour == thing.colour)
      and (self.digit is None or self.digit == thing.digit)
    )

  def select(self, scene: graph.Scene) -> list[graph.Thing]:
    """Returns the things of a scene that the description fits."""
    return [thing for thing in scene.things if self.fits(thing)]

  def words(self, rng: random.Random, plural: bool = False) -> str:
    """Returns one wording, such as 'large red three' or 'red digit'."""
    noun = self.digit or pick(rng, NOUNS)
    noun = plural_of(noun) if plural else noun
    size = pick(rng, SIZE_WORDS[self.size]) if self.size else None
    return ' '.join(filter(None, (size, self.colour, noun)))


def pick(rng: random.Random, items: Sequence[_T]) -> _T:
  """Returns a random item of a sequence."""
  return rng.choice(items)


def phrases(thing: graph.Thing, *, without: str | None = None) -> tuple[Phrase, ...]:
  """Returns each non-empty `Phrase` that fits a thing and leaves the attribute `without` open."""
  return _phrases(thing.size, thing.colour, thing.digit, without)


@functools.cache
def _phrases(size, colour, digit, without):
  values = {'size': size, 'colour': colour, 'digit': digit}
  names = [name for name in values if name != without]
  return tuple(
    Phrase(**{name: values[name] for bit, name in enumerate(names) if number >> bit & 1})
    for number in range(1, 2 ** len(names))
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


def any_phrase(rng: random.Random) -> Phrase:
  """Returns a random `Phrase` with a digit, a colour or both, independent of any scene."""
  kinds = pick(rng, (('digit',), ('colour',), ('digit', 'colour')))
  names = {'digit': graph.DIGITS, 'colour': tuple(graph.COLOURS)}
  return Phrase(**{kind: pick(rng, names[kind]) for kind in kinds})


def a(words: str) -> str:
  """Prefixes the indefinite article."""
  return f'{"an" if words.split()[0] in _TAKES_AN else "a"} {words}'


def plural_of(noun: str) -> str:
  """Returns the plural of a digit's name or of one of `NOUNS`."""
  return noun + ('es' if noun == 'six' else 's')


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
