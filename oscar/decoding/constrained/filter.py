"""Chooses the detections of an image that its caption must mention.

Source: microsoft/Oscar, `ConstraintFilter` of oscar/utils/cbs.py; nocaps, arXiv 1812.08658,
appendix.
"""
import os
from collections.abc import Mapping

import numpy as np

from oscar.datasets import records
from oscar.datasets.nocaps import ConstraintBoxes

# Classes that never become constraints: rare, hardly ever mentioned, or well covered by COCO.
EXCLUDED = frozenset((
  '__background__', 'auto part', 'bathroom accessory', 'bicycle wheel', 'boy', 'building',
  'clothing', 'door handle', 'fashion accessory', 'footwear', 'girl', 'hiking equipment',
  'human arm', 'human beard', 'human body', 'human ear', 'human eye', 'human face', 'human foot',
  'human hair', 'human hand', 'human head', 'human leg', 'human mouth', 'human nose',
  'land vehicle', 'mammal', 'man', 'person', 'personal care', 'plant', 'plumbing fixture',
  'seat belt', 'skull', 'sports equipment', 'tire', 'tree', 'vehicle registration plate', 'wheel',
  'woman',
))  # fmt: skip
REPLACEMENTS = {
  'band-aid': 'bandaid',
  'kitchen & dining room table': 'table',
  'luggage and bags': 'luggage',
  'power plugs and sockets': 'power plugs',
  'salt and pepper shakers': 'salt and pepper',
  'wood-burning stove': 'wood burning stove',
}


class Hierarchy:
  """The tree of detector classes, by which a class is more or less general.

  Args:
    path: the official JSON file of nested {'LabelName', 'Subcategory': [...]}.

  Raises:
    OSError: the file cannot be read.
    ValueError: it is not such a tree.
  """

  def __init__(self, path: str | os.PathLike[str]) -> None:
    self._nodes = _read_nodes(path)
    self._heights: dict[str, int] = {}

  def height(self, class_name: str) -> int:
    """Returns the levels of classes below a class; 0 if the tree lacks it.

    As officially, the class is the first node, parents before children, whose name is part of
    `class_name`. (The official code fails for a class that the tree lacks.)
    """
    if class_name not in self._heights:
      matches = (height for name, height in self._nodes if name in class_name)
      self._heights[class_name] = next(matches, 0)
    return self._heights[class_name]

  def __contains__(self, class_name: str) -> bool:
    """Returns whether a node's name is part of a class, so that `height` knows it."""
    return any(name in class_name for name, _ in self._nodes)


def admitted(found: ConstraintBoxes) -> list[int]:
  """Returns the indices of the detections that may become constraints: scored, not excluded."""
  return [
    i for i, name in enumerate(found.class_names) if found.scores[i] > 0 and name not in EXCLUDED
  ]


def constraints(
  found: ConstraintBoxes,
  hierarchy: Hierarchy,
  max_given_constraints: int = 3,
  nms_threshold: float = 0.85,
  suppress_general: bool = False,
) -> list[str]:
  """Chooses the classes that a caption must mention.

  Detections without score and excluded classes are left out, of the others those with the highest
  scores are taken, their names replaced by what people say, and repeated names left out. (The
  official code takes the names from a set, in an order that changes between processes.)

  Args:
    found: the detections in an image.
    hierarchy: the tree of classes.
    max_given_constraints: classes to take at most, before repeated names are left out.
    nms_threshold: overlap (intersection over union) above which two boxes show the same thing.
    suppress_general: whether the more general of two classes on the same thing is left out, as the
      paper describes. The official code means to, but keeps every class: it compares the heights
      of two classes the wrong way round. Its results need False.

  Returns:
    Names of classes, the highest score first.
  """
  names = candidates(found, hierarchy, max_given_constraints, nms_threshold, suppress_general)
  return list(dict.fromkeys(names))


def candidates(
  found: ConstraintBoxes,
  hierarchy: Hierarchy,
  max_given_constraints: int = 3,
  nms_threshold: float = 0.85,
  suppress_general: bool = False,
) -> list[str]:
  """Returns the names that `constraints` takes, before it leaves out repeated ones."""
  kept = admitted(found)
  heights = {i: hierarchy.height(found.class_names[i]) for i in kept}
  kept.sort(key=lambda i: heights[i])
  if suppress_general:
    kept = _suppress(kept, heights, found.boxes, nms_threshold)
  kept.sort(key=lambda i: -found.scores[i])
  names = (found.class_names[i] for i in kept[:max_given_constraints])
  return [REPLACEMENTS.get(name, name) for name in names]


def _suppress(order, heights, boxes, threshold):
  """Drops boxes that overlap an earlier one of a less general class; `order` goes by height."""
  kept = []
  for i in order:
    same = (j for j in kept if _overlap(boxes[i], boxes[j]) > threshold)
    if all(heights[i] <= heights[j] for j in same):
      kept.append(i)
  return kept


def _overlap(a, b):
  """Returns the intersection over union of two boxes; corners count as pixels, as officially."""
  width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]) + 1
  intersection = max(width, 0) * max(height, 0)
  areas = [np.prod(box[2:] - box[:2] + 1) for box in (a, b)]
  return intersection / (sum(areas) - intersection)


def _read_nodes(path):
  """Returns [(lower-case name, height)] of a tree, parents before their children."""
  names, parents = [], []
  waiting = [(records.read_json(path), -1)]  # Nodes with the number of their parent.
  while waiting:
    node, parent = waiting.pop()
    where = f'{path}, class {names[parent]!r}' if names else str(path)
    if not isinstance(node, Mapping):
      raise ValueError(f'{where}: found {node!r:.80}, expected {{LabelName, Subcategory}}.')
    children = records.field(node, 'Subcategory', list, where) if 'Subcategory' in node else []
    waiting += [(child, len(names)) for child in reversed(children)]
    names.append(records.field(node, 'LabelName', str, where).lower())
    parents.append(parent)
  heights = [0] * len(names)
  for child in reversed(range(1, len(names))):  # Children come after their parents.
    heights[parents[child]] = max(heights[parents[child]], heights[child] + 1)
  return list(zip(names, heights, strict=True))
