"""Scene graphs: digits with position, colour and size, and the relations between them.

A scene is sampled at random; its picture (`canvas`) and all texts about it (`captions`,
`questions`, `statements`) derive from it.
"""

import dataclasses
import functools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tpu_utils.images.digits import NAMES as DIGITS

WIDTH, HEIGHT = 160, 120
BACKGROUND = (30, 30, 30)  # RGB of the canvas.
COLOURS = {
  'red': (215, 40, 40),
  'orange': (235, 130, 30),
  'yellow': (235, 215, 60),
  'green': (50, 170, 70),
  'blue': (60, 90, 220),
  'purple': (150, 60, 190),
}
SIZES = {'small': (16, 22), 'large': (34, 44)}  # Height in pixels: smallest, largest.
COUNTS = (2, 3, 4, 5)  # Things in a scene.
# {relation: predicate on (first thing, second thing)}. Of left and right, and of above and below,
# exactly one holds, as no two centres of a scene share a row or a column.
RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
  'left': lambda a, b: a.centre[0] < b.centre[0],
  'right': lambda a, b: a.centre[0] > b.centre[0],
  'above': lambda a, b: a.centre[1] < b.centre[1],
  'below': lambda a, b: a.centre[1] > b.centre[1],
}

_MIN_OFFSET = 6  # Pixels between two centres on each axis: enough for a person to see.
_GAP = 2  # Pixels between two boxes.
_JITTER = 12  # Standard deviation of a colour's channels.
_FEW = 0.25  # Probability that a scene uses two colours only, or two digits, so that things repeat.
_TRIES = 200  # Positions tried for a thing.


class Stamp(NamedTuple):
  """The look of a thing: one handwritten digit in one colour and size.

  Things with equal stamps look alike to the pixel, so their features need computing only once.

  Attributes:
    digit: one of `DIGITS`, 'zero' to 'nine'.
    colour: one of `COLOURS`.
    size: one of `SIZES`.
    sample: index among the handwritten samples of the digit.
  """

  digit: str
  colour: str
  size: str
  sample: int


class Look(NamedTuple):
  """The exact look of a stamp: its height in pixels, and its RGB colour, 0 to 255 each."""

  height: int
  rgb: tuple[int, ...]


@functools.cache
def look(stamp: Stamp) -> Look:
  """Returns the look of a stamp: it varies from one stamp to another, but not between scenes."""
  rng = random.Random(' '.join(map(str, stamp)))
  rgb = tuple(min(max(round(rng.gauss(v, _JITTER)), 0), 255) for v in COLOURS[stamp.colour])
  return Look(rng.randint(*SIZES[stamp.size]), rgb)


@dataclasses.dataclass(frozen=True)
class Thing:
  """A digit in a scene.

  Attributes:
    digit, colour, size, sample: as in `Stamp`.
    box: (x1, y1, x2, y2) in whole pixels, x2 and y2 exclusive.
  """

  digit: str
  colour: str
  size: str
  box: tuple[int, ...]
  sample: int = 0

  @property
  def centre(self) -> tuple[float, float]:
    """The centre of the box, (x, y) in pixels."""
    return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2

  @property
  def stamp(self) -> Stamp:
    """The look of the thing."""
    return Stamp(self.digit, self.colour, self.size, self.sample)


@dataclasses.dataclass(frozen=True)
class Scene:
  """The contents of a picture.

  Attributes:
    key: name of the image.
    things: 2 to 5 things, in no particular order.
  """

  key: str
  things: tuple[Thing, ...]


def sample(rng: random.Random, key: str, inks: Mapping[str, Sequence[Any]]) -> Scene:
  """Samples a scene with disjoint boxes inside the canvas.

  Args:
    rng: source of all random choices.
    key: name of the image.
    inks: {digit: [uint8 [height, width]]}, the handwritten digits to choose from.
  """
  count = rng.choice(COUNTS)
  digits = _few(rng, DIGITS)
  colours = _few(rng, list(COLOURS))
  things: list[Thing] = []
  while len(things) < count:
    thing = _place(rng, things, rng.choice(digits), rng.choice(colours), inks)
    things = [*things, thing] if thing else []  # No room left: start over.
  return Scene(key, tuple(things))


def _few(rng, names):
  return rng.sample(names, 2) if rng.random() < _FEW else names


def _place(rng, others, digit, colour, inks):
  """Returns a `Thing` apart from the others; None if no tried position is free."""
  size = rng.choice(list(SIZES))
  stamp = Stamp(digit, colour, size, rng.randrange(len(inks[digit])))
  height, ink = look(stamp).height, inks[digit][stamp.sample]
  width = max(8, round(height * ink.shape[1] / ink.shape[0]))
  for _ in range(_TRIES):
    x, y = rng.randint(0, WIDTH - width), rng.randint(0, HEIGHT - height)
    thing = Thing(digit, colour, size, (x, y, x + width, y + height), stamp.sample)
    if all(_are_apart(thing, other) for other in others):
      return thing
  return None


def _are_apart(a, b):
  disjoint = any(
    one.box[axis + 2] + _GAP <= two.box[axis]
    for one, two in ((a, b), (b, a))
    for axis in (0, 1)
  )
  offsets = [abs(p - q) for p, q in zip(a.centre, b.centre, strict=True)]
  return disjoint and min(offsets) >= _MIN_OFFSET
