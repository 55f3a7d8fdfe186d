"""What a world's scenes are about: the nouns, colours, sizes and canvas that all texts share.

`HANDWRITTEN` is the world of coloured digits. `stamps.read` makes the photographic one. The makers
of texts know the attributes of things by fixed names: `digit` is the class, whatever it is.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tpu_utils.images.digits import NAMES


@dataclasses.dataclass(frozen=True, eq=False)
class Theme:
  """The vocabulary and the canvas of a world.

  Attributes:
    classes: nouns of the classes.
    nouns: nouns that fit everything.
    colours: {name: RGB, 0 to 255 each}.
    sizes: {'small' or 'large': (smallest, largest) measure in pixels}.
    canvas: (width, height) in pixels.
    background: RGB of the canvas.
    novel: classes that no caption of the split 'seen' mentions.
    excluded: {class: a class that is detected with it and never becomes a constraint}.
    wording: {kind of question: its forms, where they depend on the world}.
    attributes: {attribute that two things may be asked to share: its noun}.
    supers: {class: nouns of its super-classes, the nearest first}; absent for a class without.
    adjective: the form of a colour as an adjective.
    by_longest_side: whether sizes measure the longest side of a thing; if not, its height.
    colours_of: {class: the colours of its things}, half of which have none then; empty if each
      thing has any of the colours.
    families: groups of classes that a scene may be restricted to.
    coloured_classes: whether a novel class may be detected with its colour, as a class of its own.
  """

  classes: Sequence[str]
  nouns: Sequence[str]
  colours: Mapping[str, tuple[int, int, int]]
  sizes: Mapping[str, tuple[int, int]]
  canvas: tuple[int, int]
  background: tuple[int, int, int]
  novel: Sequence[str]
  excluded: Mapping[str, str]
  wording: Mapping[str, tuple[str, ...]]
  attributes: Mapping[str, str]
  supers: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
  adjective: str = '{}'
  by_longest_side: bool = False
  colours_of: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
  families: Sequence[Sequence[str]] = ()
  coloured_classes: bool = True

  def parents(self, name: str) -> Sequence[str]:
    """Returns the super-classes of a class, the nearest first: `nouns` if it has no other."""
    return self.supers.get(name, self.nouns)

  def all_nouns(self) -> Sequence[str]:
    """Returns the classes, then super-classes that are not classes themselves."""
    above = dict.fromkeys(noun for nouns in self.supers.values() for noun in nouns)
    return (*self.classes, *(noun for noun in above if noun not in self.classes))

  def hierarchy(self) -> dict[str, Any]:
    """Returns the tree of classes in the official layout, {LabelName, Subcategory}."""
    tree: dict[str, Any] = {}
    place = tree
    for noun in reversed(self.nouns):
      place = place.setdefault(noun, {})
    for name in self.classes:
      node = place
      for noun in reversed(self.supers.get(name, ())):
        node = node.setdefault(noun, {})
      node = node.setdefault(name, {})
      if self.coloured_classes and name in self.novel:
        node.update({f'{colour} {name}': {} for colour in self.colours})
    tree.update({noun: {} for noun in sorted(set(self.excluded.values()))})
    return _node('entity', tree)


def _node(name, below):
  node = {'LabelName': name.title()}
  if below:
    node['Subcategory'] = [_node(child, deeper) for child, deeper in below.items()]
  return node


HANDWRITTEN = Theme(
  classes=NAMES,
  nouns=('digit', 'number'),
  colours={
    'red': (215, 40, 40),
    'orange': (235, 130, 30),
    'yellow': (235, 215, 60),
    'green': (50, 170, 70),
    'blue': (60, 90, 220),
    'purple': (150, 60, 190),
  },
  sizes={'small': (16, 22), 'large': (34, 44)},
  canvas=(160, 120),
  background=(30, 30, 30),
  # Captions count up to five things, so they would mention smaller digits anyway.
  novel=('six', 'eight', 'nine'),
  excluded={'zero': 'wheel', 'eight': 'wheel'},
  wording={
    'colour_of': (
      'what color is the {}?', 'what is the color of the {}?', 'which color does the {} have?',
    ),
    'digit_of': ('what is the {}?', 'which number is the {}?', 'what does the {} say?'),
    'related digit': ('what is {1}?', 'which {0} is {1}?'),
    'related colour': ('what color is the {0} {1}?', 'what is the color of the {0} that is {1}?'),
    'extreme digit': ('what is the {} {}?', 'which number is the {} {}?'),
    'extreme colour': ('what color is the {} {}?', 'what is the color of the {} {}?'),
    'choose': ('is the {} {} or {}?',),
    'has_colour': ('is the {0} {1}?', 'is {1} the color of the {0}?'),
  },
  attributes={'colour': 'color', 'digit': 'number', 'size': 'size'},
)  # fmt: skip
