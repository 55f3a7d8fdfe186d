"""Scene graphs: digits, or other things, with position, colour and size, and their relations.

A scene is sampled at random; its picture (`canvas`) and all texts about it (`captions`,
`questions`, `statements`) derive from it.
"""

import dataclasses
import functools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from oscar.scenes.theme import HANDWRITTEN, Theme

DIGITS = HANDWRITTEN.classes
WIDTH, HEIGHT = HANDWRITTEN.canvas
BACKGROUND = HANDWRITTEN.background  # RGB of the canvas.
COLOURS = HANDWRITTEN.colours
SIZES = HANDWRITTEN.sizes  # Height in pixels: smallest, largest.
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
_FAMILY = 0.4  # Probability that the things of a scene are of one family, where a theme has some.
_PLAIN = 0.5  # Probability that a thing has no colour, where a theme allows that.
_TRIES = 200  # Positions tried for a thing.


class Stamp(NamedTuple):
  """The look of a thing: one handwritten digit, or cut-out, in one colour and size.

  Things with equal stamps look alike to the pixel, so their features need computing only once.

  Attributes:
    digit: its class: of digits one of `DIGITS`, 'zero' to 'nine'.
    colour: one of the theme's colours; None for a thing that the theme leaves without.
    size: one of `SIZES`, 'small' or 'large'.
    sample: index among the samples of the class.
  """

  digit: str
  colour: str | None
  size: str
  sample: int


class Look(NamedTuple):
  """The exact look of a stamp: its measure in pixels, and its RGB colour, 0 to 255 each.

  The measure is the height, or the longest side, as the theme says; `rgb` is empty without colour.
  """

  height: int
  rgb: tuple[int, ...]


@functools.cache
def look(stamp: Stamp, theme: Theme = HANDWRITTEN) -> Look:
  """Returns the look of a stamp: it varies from one stamp to another, but not between scenes."""
  rng = random.Random(' '.join(map(str, stamp)))
  colour = theme.colours[stamp.colour] if stamp.colour else ()
  rgb = tuple(min(max(round(rng.gauss(v, _JITTER)), 0), 255) for v in colour)
  return Look(rng.randint(*theme.sizes[stamp.size]), rgb)


@dataclasses.dataclass(frozen=True)
class Thing:
  """A digit, or another thing, in a scene.

  Attributes:
    digit, colour, size, sample: as in `Stamp`.
    box: (x1, y1, x2, y2) in whole pixels, x2 and y2 exclusive.
    theme: the vocabulary that names it.
  """

  digit: str
  colour: str | None
  size: str
  box: tuple[int, ...]
  sample: int = 0
  theme: Theme = dataclasses.field(default=HANDWRITTEN, compare=False, repr=False)

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

  @property
  def theme(self) -> Theme:
    """The vocabulary of its things."""
    return self.things[0].theme

  def row(self) -> dict[str, Any]:
    """Returns the scene as JSON values."""
    names = ('digit', 'colour', 'size', 'box', 'sample')
    return {'key': self.key, 'things': [{n: getattr(t, n) for n in names} for t in self.things]}


def sample(
  rng: random.Random,
  key: str,
  inks: Mapping[str, Sequence[Any]],
  theme: Theme = HANDWRITTEN,
) -> Scene:
  """Samples a scene with disjoint boxes inside the canvas.

  Args:
    rng: source of all random choices.
    key: name of the image.
    inks: {digit: [uint8 [height, width, ...]]}, the handwritten digits, or the samples of other
      classes, to choose from.
    theme: the classes, colours and sizes to choose from.
  """
  count = rng.choice(COUNTS)
  classes = theme.classes
  if theme.families and rng.random() < _FAMILY:
    classes = rng.choice(theme.families)
  digits = _few(rng, classes)
  colours = _few(rng, list(theme.colours))
  things: list[Thing] = []
  while len(things) < count:
    digit = rng.choice(digits)
    thing = _place(rng, things, digit, _colour(rng, colours, digit, theme), inks, theme)
    things = [*things, thing] if thing else []  # No room left: start over.
  return Scene(key, tuple(things))


def _few(rng, names):
  return rng.sample(names, 2) if rng.random() < _FEW else names


def _colour(rng, colours, digit, theme):
  """Returns a random colour for a thing; None for none."""
  if theme.colours_of:
    colours = theme.colours_of[digit]
    if not colours or rng.random() < _PLAIN:
      return None
  return rng.choice(colours)


def _place(rng, others, digit, colour, inks, theme):
  """Returns a `Thing` apart from the others; None if no tried position is free."""
  size = rng.choice(list(theme.sizes))
  stamp = Stamp(digit, colour, size, rng.randrange(len(inks[digit])))
  width, height = extent(stamp, inks[digit][stamp.sample].shape, theme)
  for _ in range(_TRIES):
    x, y = rng.randint(0, theme.canvas[0] - width), rng.randint(0, theme.canvas[1] - height)
    thing = Thing(digit, colour, size, (x, y, x + width, y + height), stamp.sample, theme)
    if all(_are_apart(thing, other) for other in others):
      return thing
  return None


def extent(stamp: Stamp, shape: Sequence[int], theme: Theme) -> tuple[int, int]:
  """Returns (width, height) in pixels of a stamp; `shape` is its sample's, (height, width, ...)."""
  measure = look(stamp, theme).height
  whole = max(shape[:2]) if theme.by_longest_side else shape[0]
  height, width = (max(8, round(measure * side / whole)) for side in shape[:2])
  return width, height


def _are_apart(a, b):
  disjoint = any(
    one.box[axis + 2] + _GAP <= two.box[axis]
    for one, two in ((a, b), (b, a))
    for axis in (0, 1)
  )
  offsets = [abs(p - q) for p, q in zip(a.centre, b.centre, strict=True)]
  return disjoint and min(offsets) >= _MIN_OFFSET
