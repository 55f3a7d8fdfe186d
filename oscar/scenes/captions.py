"""Makes true captions of a scene in varied words."""

import collections
import random

from oscar.scenes import graph, words
from oscar.scenes.words import Phrase, a, listed, pick

_OPENINGS = ('', 'there is ', 'the picture shows ', 'a picture of ', 'you can see ')


def captions(scene: graph.Scene, rng: random.Random) -> list[str]:
  """Returns five captions of different kinds, some of them vague, in random order."""
  kinds = (_inventory, _in_order, _groups, _relation, pick(rng, (_count, _extreme)))
  return _make(kinds, scene, rng)


def detailed(scene: graph.Scene, rng: random.Random) -> list[str]:
  """Returns five captions that each mention every thing, to distinguish the scene from others."""
  return _make((_inventory, _inventory, _in_order, _in_order, _groups), scene, rng)


def _make(kinds, scene, rng):
  """Returns one caption per kind, shuffled."""
  made = [kind(scene, rng) for kind in kinds]
  rng.shuffle(made)
  return made


def _inventory(scene, rng):
  """Lists every thing."""
  return pick(rng, _OPENINGS) + _list(rng.sample(scene.things, len(scene.things)), rng)


def _in_order(scene, rng):
  """Lists every thing from one side to the other."""
  axis = rng.randrange(2)
  things = _list(sorted(scene.things, key=lambda thing: thing.centre[axis]), rng)
  order = ('from left to right', 'from top to bottom')[axis]
  return pick(rng, ('{1} {0}', '{0} you can see {1}', '{0} there is {1}')).format(order, things)


def _list(things, rng):
  """Returns a list of things in words, each with digit and, if any, colour."""
  return listed(
    [
      a(Phrase(pick(rng, (thing.size, None)), thing.colour, thing.digit, thing.theme).words(rng))
      for thing in things
    ]
  )


def _groups(scene, rng):
  """Counts the things of each digit or, if all have one, of each colour."""
  name = pick(rng, ('digit', 'colour'))
  if not all(thing.colour for thing in scene.things):
    name = 'digit'
  counts = collections.Counter(getattr(thing, name) for thing in scene.things)
  parts = []
  for value in rng.sample(list(counts), len(counts)):
    phrase, count = Phrase(**{name: value}, theme=scene.theme), counts[value]
    parts.append(
      a(phrase.words(rng))
      if count == 1
      else f'{words.NUMBERS[count]} {phrase.words(rng, plural=True)}'
    )
  return pick(rng, _OPENINGS[2:]) + listed(parts)


def _count(scene, rng):
  """Counts all things and mentions one."""
  number, noun = words.NUMBERS[len(scene.things)], pick(rng, scene.theme.nouns)
  thing = a(words.some_phrase(rng, pick(rng, scene.things)).words(rng))
  return pick(
    rng,
    (
      f'{number} {noun}s, among them {thing}',
      f'there are {number} {noun}s and one of them is {thing}',
      f'{thing} is one of {number} {noun}s',
    ),
  )


def _relation(scene, rng):
  """Relates one thing to another."""
  first, second = rng.sample(scene.things, 2)
  _, lies = words.relation(rng, first, second)
  one, two = (a(words.some_phrase(rng, thing).words(rng)) for thing in (first, second))
  return pick(rng, ('{} {} {}', '{} is {} {}', 'there is {} {} {}')).format(one, lies, two)


def _extreme(scene, rng):
  """Says which thing lies furthest to one side."""
  name = pick(rng, tuple(words.EXTREMES))
  noun = pick(rng, scene.theme.nouns)
  thing = a(words.some_phrase(rng, words.extreme(scene, name)).words(rng))
  return pick(rng, (f'the {name} {noun} is {thing}', f'{thing} is the {name} {noun}'))
