"""The classes that become constraints, against the machines of the official code."""
import json

import numpy as np
import pytest

from oscar.datasets import nocaps
from oscar.decoding.constrained import filter as constraint_filter
from tests.oscar import loaders

TREE = {
  'LabelName': 'Entity',
  'Subcategory': [
    {'LabelName': 'Animal', 'Subcategory': [{'LabelName': 'Dog'}, {'LabelName': 'Cat'}]},
    {'LabelName': 'Table'},
  ],
}
BOX = [100, 100, 200, 200]


@pytest.fixture
def hierarchy(tmp_path):
  path = tmp_path / 'hierarchy.json'
  path.write_text(json.dumps(TREE))
  return constraint_filter.Hierarchy(path)


def detections(*found):
  """Returns `ConstraintBoxes` of (class, score, box) triples."""
  names, scores, boxes = zip(*found, strict=True) if found else ((), (), ())
  boxes = np.array(boxes, np.float32).reshape(-1, 4)
  return nocaps.ConstraintBoxes(tuple(names), boxes, np.array(scores, np.float32))


def test_official_files():
  """The same classes as in the official machines, goldens fsm_image<i>.npz."""
  reader = nocaps.NoCaps(loaders.DATA / 'coco_caption' / 'test.yaml')
  tree = constraint_filter.Hierarchy(reader.files['cbs_hierarchy'])
  found = [
    constraint_filter.constraints(reader.constraint_boxes(image), tree)
    for image in reader.image_ids
  ]
  by_image = dict(zip(reader.image_ids, found, strict=True))
  assert by_image['316412'] == ['pizza']
  assert by_image['215068'] == ['animal', 'dog', 'fire hydrant']
  assert by_image['179260'] == ['dog', 'pizza', 'cake']
  assert [] in found


def test_heights(hierarchy):
  assert [hierarchy.height(name) for name in ('entity', 'animal', 'dog')] == [2, 1, 0]
  assert hierarchy.height('hot dog') == 0
  assert hierarchy.height('spaceship') == 0  # In no node: as the least general.


def test_general_classes_are_suppressed_on_request(hierarchy):
  near, far = [101, 100, 200, 201], [300, 0, 400, 50]
  found = detections(
    ('animal', 0.9, near), ('dog', 0.8, BOX), ('cat', 0.7, BOX), ('animal', 0.6, far)
  )

  def names(**settings):
    return constraint_filter.constraints(found, hierarchy, **settings)

  assert names() == ['animal', 'dog', 'cat']  # Officially.
  assert names(suppress_general=True) == ['dog', 'cat', 'animal']
  assert names(suppress_general=True, nms_threshold=0.99) == ['animal', 'dog', 'cat']


def test_exclusions_replacements_and_repeated_names(hierarchy):
  found = detections(
    ('person', 0.99, BOX),
    ('dog', 0, BOX),
    ('kitchen & dining room table', 0.9, BOX),
    ('table', 0.8, BOX),
    ('cat', 0.7, BOX),
    ('spaceship', 0.6, BOX),
  )
  # The name that replaces another takes one of the three places, as officially.
  assert constraint_filter.constraints(found, hierarchy) == ['table', 'cat']
  names = constraint_filter.constraints(found, hierarchy, max_given_constraints=5)
  assert names == ['table', 'cat', 'spaceship']
  assert constraint_filter.constraints(detections(), hierarchy) == []


@pytest.mark.parametrize(
  ('tree', 'message'),
  [
    ({'Subcategory': []}, "'LabelName' is missing"),
    ({'LabelName': 'A', 'Subcategory': {}}, "'Subcategory' is {}, expected a list"),
    ({'LabelName': 'A', 'Subcategory': ['B']}, "class 'a': found 'B', expected {LabelName"),
  ],
)
def test_damaged_hierarchies_raise(tree, message, tmp_path):
  path = tmp_path / 'hierarchy.json'
  path.write_text(json.dumps(tree))
  with pytest.raises(ValueError, match=f'{path}.*{message}'):
    constraint_filter.Hierarchy(path)


def test_deep_hierarchies(tmp_path):
  path = tmp_path / 'hierarchy.json'
  depth = 100
  text = '{"LabelName": "a", "Subcategory": [' * depth + '{"LabelName": "b"}' + ']}' * depth
  path.write_text(text)
  assert constraint_filter.Hierarchy(path).height('a') == depth
