"""Detections for constrained beam search, as of NoCaps' detector of Open Images classes.

They hold what makes the choice of constraints hard:

- several classes an image, and classes of two words ('Red Six');
- super-classes on nearly the same box as a class, with a higher score, which the suppression of
  the paper removes (`suppress_general`; the official code keeps them), and others on looser boxes,
  which it keeps;
- a class that the official code never takes as a constraint ('Wheel', for round digits).

Official choice: microsoft/Oscar, oscar/utils/cbs.py, ConstraintFilter (overlap 0.85, the three
best scores).
"""

import random
from typing import Any

from oscar.datasets import features, region_extraction
from oscar.scenes import graph, words
from oscar.scenes.theme import HANDWRITTEN, Theme

# Digits that no caption of the split 'seen' mentions, like the novel objects of NoCaps.
NOVEL = HANDWRITTEN.novel

_MAX_WORDS = 2  # Of a class that is detected, but for a colour.
_SEEN = 0.4  # Probability that a digit that is not novel is detected.
_TWO_WORDS = 0.5  # Probability that a novel digit is detected with its colour.
_TIGHT = 0.6  # Probability of a super-class on nearly the same box.
_LOOSE = 0.25  # Probability of a super-class on a looser box.
_SHIFT = {'tight': 0.03, 'loose': 0.25}  # Largest shift of an edge, as a part of the box.


def detections(
  scene: graph.Scene, regions: region_extraction.Regions
) -> list[dict[str, Any]]:
  """Returns the detections in a scene, [{class, conf, rect}] as in the official cbs_box file.

  Args:
    scene: the scene graph; its key decides the random choices.
    regions: the detector's predictions, whose tags name the digits.
  """
  rng = random.Random(f'{scene.key} constraints')
  colour_at = {thing.box: thing.colour for thing in scene.things}
  found = []
  boxes = features.boxes(regions.features, regions.width, regions.height)
  for tag, box in zip(regions.tags, boxes.round().astype(int).tolist(), strict=True):
    found += _of_thing(rng, tag, colour_at[tuple(box)], box, scene.theme)
  return rng.sample(found, len(found))


def _of_thing(rng, tag, colour, box, theme):
  """Returns the detections of one thing."""
  found = []
  parents = theme.parents(tag)
  if len(tag.split()) > _MAX_WORDS:  # 'pair of pants': the decoder takes one or two words.
    return found
  if tag in theme.novel or rng.random() < _SEEN:
    coloured = theme.coloured_classes and tag in theme.novel
    name = f'{colour} {tag}' if coloured and rng.random() < _TWO_WORDS else tag
    found.append(_detection(name, rng.uniform(0.5, 0.9), box))
    if rng.random() < _TIGHT:
      name = rng.choice(parents)
      score, moved = rng.uniform(0.8, 0.99), _moved(rng, box, 'tight', theme)
      found.append(_detection(name, score, moved))
  if rng.random() < _LOOSE:
    found.append(_detection(parents[0], rng.uniform(0.1, 0.5), _moved(rng, box, 'loose', theme)))
  if tag in theme.excluded and rng.random() < 0.5:
    score, moved = rng.uniform(0.8, 0.99), _moved(rng, box, 'tight', theme)
    found.append(_detection(theme.excluded[tag], score, moved))
  return found


def _detection(name, score, box):
  """Returns an entry of the official file, which writes classes in title case."""
  rectangle = [round(float(corner), 2) for corner in box]
  return {'class': name.title(), 'conf': round(score, 4), 'rect': rectangle}


def _moved(rng, box, how, theme):
  """Returns a box with shifted edges inside the picture; 'loose' ones grow by at least half."""
  x1, y1, x2, y2 = box
  width, height, shift = x2 - x1, y2 - y1, _SHIFT[how]
  if how == 'loose':  # Enlarged around the thing, so that the overlap stays below 0.85.
    shifts = [-rng.uniform(shift / 2, shift), -rng.uniform(shift / 2, shift)]
    shifts += [rng.uniform(shift / 2, shift), rng.uniform(shift / 2, shift)]
  else:
    shifts = [rng.uniform(-shift, shift) for _ in range(4)]
  moved = [
    corner + part * size
    for corner, part, size in zip(box, shifts, (width, height) * 2, strict=True)
  ]
  edges = theme.canvas * 2
  return [min(max(corner, 0.0), float(edge)) for corner, edge in zip(moved, edges, strict=True)]


def hierarchy(theme: Theme = HANDWRITTEN) -> dict[str, Any]:
  """Returns the tree of classes in the official layout, {LabelName, Subcategory}."""
  return theme.hierarchy()


def word_forms(theme: Theme = HANDWRITTEN) -> dict[str, tuple[str, ...]]:
  """Returns {word of a class: the forms of it that a caption may contain}."""
  nouns = (*theme.all_nouns(), *theme.nouns)
  found = dict.fromkeys(word for noun in nouns for word in noun.split())
  plural = {word: (word, words.plural_of(word)) for word in found}
  colours = theme.colours if theme.coloured_classes else ()
  return {**plural, **{colour: (colour,) for colour in colours}}


def domain(scene: graph.Scene) -> str:
  """Returns NoCaps' domain of an image: whether its classes are all seen, all novel or mixed."""
  novel = [thing.digit in scene.theme.novel for thing in scene.things]
  return 'out-domain' if all(novel) else 'near-domain' if any(novel) else 'in-domain'
