"""NoCaps inputs equal the official loader's; damaged constraint files raise."""

import numpy as np
import pytest

from oscar.datasets import nocaps
from oscar.input import layouts, texts
from tests.oscar import loaders


@pytest.mark.parametrize('with_tags', [0, 1])
def test_captions_to_generate(with_tags, tokenizer, special):
  reader = nocaps.NoCaps(loaders.DATA / 'coco_caption' / 'test.yaml')
  cases = loaders.OUTPUTS[f'captioning/test/od={with_tags}']
  assert [case['key'] for case in cases] == reader.image_ids
  for case in cases:
    tags = texts.words([reader.tags(case['key']) if with_tags else ''], tokenizer)
    layout = layouts.generation_layout(tags, 10, 20 if with_tags else 10, special)
    made = layouts.model_inputs(layout, *loaders.padded(reader.regions[case['key']]), 'caption')
    loaders.check(case['out'], made, case['out'][1], case['out'][3])


def test_constraint_boxes():
  reader = nocaps.NoCaps(loaders.DATA / 'coco_caption' / 'test.yaml')
  boxes = reader.constraint_boxes('215068')
  assert boxes.class_names == ('fire hydrant', 'dog', 'animal')
  np.testing.assert_array_equal(boxes.boxes[0], [5, 5, 40, 90])
  np.testing.assert_allclose(boxes.scores, [0.7, 0.8, 0.85])
  assert reader.constraint_boxes('127532').class_names == ()


def test_an_inverted_constraint_box_raises(data):
  path = data / 'coco_caption' / 'test.cbs_box.tsv'
  path.write_text('316412\t[{"class": "a", "conf": 1, "rect": [9, 0, 1, 5]}]\n')
  with pytest.raises(ValueError, match="test.cbs_box.tsv row 0, key '316412': rect"):
    nocaps.NoCaps(data / 'coco_caption' / 'test.yaml').constraint_boxes('316412')


def test_corners_that_are_not_numbers_raise(data):
  path = data / 'coco_caption' / 'test.cbs_box.tsv'
  path.write_text('316412\t[{"class": "a", "conf": 1, "rect": [null, 0, 1, 5]}]\n')
  with pytest.raises(ValueError, match="row 0, key '316412': 'rect' holds None, expected numbers"):
    nocaps.NoCaps(data / 'coco_caption' / 'test.yaml').constraint_boxes('316412')


def test_a_missing_constraint_file_raises(data):
  path = data / 'coco_caption' / 'test.yaml'
  path.write_text('feature: test.feature.tsv\n')
  with pytest.raises(ValueError, match="'cbs_box' is missing; NoCaps needs"):
    nocaps.NoCaps(path)
