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

# Digits that no caption of the split 'seen' mentions, like the novel objects of NoCaps. Captions
# count up to five things, so they would mention smaller digits anyway.
NOVEL = ('six', 'eight', 'nine')

_EXCLUDED = 'Wheel'  # On the official list of classes that never become constraints.
_ROUND = ('zero', 'eight')
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
    found += _of_thing(rng, tag, colour_at[tuple(box)], box)
  return rng.sample(found, len(found))


def _of_thing(rng, tag, colour, box):
  """Returns the detections of one thing."""
  found = []
  if tag in NOVEL or rng.random() < _SEEN:
    name = f'{colour} {tag}' if tag in NOVEL and rng.random() < _TWO_WORDS else tag
    found.append(_detection(name, rng.uniform(0.5, 0.9), box))
    if rng.random() < _TIGHT:
      name = rng.choice(words.NOUNS)
      found.append(_detection(name, rng.uniform(0.8, 0.99), _moved(rng, box, 'tight')))
  if rng.random() < _LOOSE:
    found.append(_detection('digit', rng.uniform(0.1, 0.5), _moved(rng, box, 'loose')))
  if tag in _ROUND and rng.random() < 0.5:
    found.append(_detection(_EXCLUDED, rng.uniform(0.8, 0.99), _moved(rng, box, 'tight')))
  return found


def _detection(name, score, box):
  """Returns an entry of the official file, which writes classes in title case."""
  rectangle = [round(float(corner), 2) for corner in box]
  return {'class': name.title(), 'conf': round(score, 4), 'rect': rectangle}


def _moved(rng, box, how):
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
  edges = (graph.WIDTH, graph.HEIGHT) * 2
  return [min(max(corner, 0.0), float(edge)) for corner, edge in zip(moved, edges, strict=True)]


def hierarchy() -> dict[str, Any]:
  """Returns the tree of classes in the official layout, {LabelName, Subcategory}."""
  digits = [
    _node(digit, [_node(f'{colour} {digit}') for colour in graph.COLOURS if digit in NOVEL])
    for digit in graph.DIGITS
  ]
  numbers = _node('number', [_node('digit', digits)])
  return _node('entity', [numbers, _node(_EXCLUDED)])


def _node(name, children=()):
  node = {'LabelName': name.title()}
  return {**node, 'Subcategory': list(children)} if children else node


def word_forms() -> dict[str, tuple[str, ...]]:
  """Returns {word of a class: the forms of it that a caption may contain}."""
  nouns = (*graph.DIGITS, *words.NOUNS)
  plural = {noun: (noun, words.plural_of(noun)) for noun in nouns}
  return {**plural, **{colour: (colour,) for colour in graph.COLOURS}}


def domain(scene: graph.Scene) -> str:
  """Returns NoCaps' domain of an image: whether its digits are all seen, all novel or mixed."""
  novel = [thing.digit in NOVEL for thing in scene.things]
  return 'out-domain' if all(novel) else 'near-domain' if any(novel) else 'in-domain'
