"""Scene graphs: which digits stand where, in which colour and size, and how they lie to each other.

A scene is drawn at random and known exactly; the pictures (`canvas`) and all language (`captions`,
`questions`, `statements`) are made from it.
"""

import dataclasses

from tpu_utils.images.digits import NAMES as DIGITS

WIDTH, HEIGHT = 160, 120
COLOURS = {
  'red': (215, 40, 40),
  'orange': (235, 130, 30),
  'yellow': (235, 215, 60),
  'green': (50, 170, 70),
  'blue': (60, 90, 220),
  'purple': (150, 60, 190),
}
SIZES = {'small': (16, 22), 'large': (34, 44)}  # Pixels of height, from and to.
COUNTS = (2, 3, 4, 5)
# For two things: whether the first lies so to the second. Exactly one of each two holds, as the
# centres of a scene never share a row or a column.
RELATIONS = {
  'left': lambda a, b: a.centre[0] < b.centre[0],
  'right': lambda a, b: a.centre[0] > b.centre[0],
  'above': lambda a, b: a.centre[1] < b.centre[1],
  'below': lambda a, b: a.centre[1] > b.centre[1],
}

_APART = 6  # Pixels between the centres, across and down: enough for a person to see.
_GAP = 2  # Pixels between two boxes.
_JITTER = 12  # Standard deviation of a colour's channels.
_FEW = 0.25  # How often a scene keeps to two colours, and to two digits, so that things repeat.
_TRIES = 200


@dataclasses.dataclass(frozen=True)
class Thing:
  """A digit in a scene.

  Attributes:
    digit: one of `DIGITS`, 'zero' to 'nine'.
    colour: one of `COLOURS`.
    size: one of `SIZES`.
    box: (x1, y1, x2, y2) in whole pixels, x2 and y2 exclusive.
    sample: which of the handwritten digits of that kind.
    rgb: the very colour it is painted in.
  """

  digit: str
  colour: str
  size: str
  box: tuple
  sample: int = 0
  rgb: tuple = ()

  @property
  def centre(self):
    return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


@dataclasses.dataclass(frozen=True)
class Scene:
  """A picture's contents: `key` names the image, `things` has 2 to 5 of them, in no special order."""

  key: str
  things: tuple
  background: tuple = (30, 30, 30)


def sample(rng, key, inks):
  """Draws a scene.

  Args:
    rng: `random.Random`.
    key: name of the image.
    inks: {digit: [uint8 [height, width]]}, the handwritten digits to choose from.

  Returns:
    `Scene` whose boxes lie apart and inside the canvas.
  """
  count = rng.choice(COUNTS)
  digits = _few(rng, DIGITS)
  colours = _few(rng, list(COLOURS))
  things = []
  while len(things) < count:
    thing = _place(rng, things, rng.choice(digits), rng.choice(colours), inks)
    things = [*things, thing] if thing else []  # No room left: begin again.
  return Scene(key, tuple(things), tuple(rng.randrange(10, 50) for _ in range(3)))


def _few(rng, names):
  return rng.sample(names, 2) if rng.random() < _FEW else names


def _place(rng, others, digit, colour, inks):
  """A `Thing` apart from the others, or None if chance finds no place for it."""
  size = rng.choice(list(SIZES))
  number = rng.randrange(len(inks[digit]))
  ink = inks[digit][number]
  height = rng.randint(*SIZES[size])
  width = max(8, round(height * ink.shape[1] / ink.shape[0]))
  rgb = tuple(min(max(round(rng.gauss(v, _JITTER)), 0), 255) for v in COLOURS[colour])
  for _ in range(_TRIES):
    x, y = rng.randint(0, WIDTH - width), rng.randint(0, HEIGHT - height)
    thing = Thing(digit, colour, size, (x, y, x + width, y + height), number, rgb)
    if all(_apart(thing, other) for other in others):
      return thing
  return None


def _apart(a, b):
  separate = any(
    one.box[axis + 2] + _GAP <= two.box[axis]
    for one, two in ((a, b), (b, a))
    for axis in (0, 1)
  )
  return separate and all(abs(p - q) >= _APART for p, q in zip(a.centre, b.centre, strict=True))
