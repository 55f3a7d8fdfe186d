"""Painted scenes and the digits they are made from."""

import random

import numpy as np
import pytest

from oscar.scenes import canvas, graph
from tpu_utils.images import digits


@pytest.fixture(scope='module')
def inks():
  return {split: canvas.read_inks(split) for split in canvas.SPLITS}


def test_each_split_has_its_digits_cropped_to_their_ink(inks):
  counts = {split: sum(map(len, of_split.values())) for split, of_split in inks.items()}
  assert counts == {'train': digits.NUM_TRAIN_IMAGES, 'val': digits.NUM_EVAL_IMAGES}
  for of_split in inks.values():
    assert list(of_split) == list(graph.DIGITS) and all(of_split.values())
    for ink in of_split['eight']:  # No empty border.
      assert all(edge.max() >= 30 for edge in (ink[0], ink[-1], ink[:, 0], ink[:, -1]))


def test_paint_colours_the_boxes_and_nothing_else(inks):
  scene = graph.sample(random.Random(0), 'key', inks['val'])
  picture = canvas.paint(scene, inks['val'])
  assert picture.shape == (graph.HEIGHT, graph.WIDTH, 3) and picture.dtype == np.uint8
  outside = np.ones(picture.shape[:2], bool)
  for thing in scene.things:
    x1, y1, x2, y2 = thing.box
    outside[y1:y2, x1:x2] = False
    patch = picture[y1:y2, x1:x2].reshape(-1, 3).astype(int)
    nearest = np.abs(patch - graph.look(thing.stamp).rgb).sum(axis=1).min()
    assert nearest < 30  # Somewhere the digit is as bright as its colour.
    assert (np.abs(patch - graph.BACKGROUND).sum(axis=1) < 60).any()
  assert (picture[outside] == graph.BACKGROUND).all()
