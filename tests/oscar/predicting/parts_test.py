"""Connected parts: the boxes of the scenes' things, and pictures without any."""

import io
import random

import numpy as np
import pytest
from PIL import Image

from oscar.predicting import parts
from oscar.scenes import canvas, graph
from tests.oscar.predicting import papers


def picture(*boxes, size=(40, 60), background=(30, 30, 30)):
  pixels = np.empty((*size, 3), np.uint8)
  pixels[:] = background
  for number, (x1, y1, x2, y2) in enumerate(boxes):
    pixels[y1:y2, x1:x2] = (200, 10 * number, 90)
  return pixels


@pytest.mark.parametrize('split', ['train', 'val'])
def test_the_boxes_of_scenes_are_found_exactly(split):
  inks, rng = canvas.read_inks(split), random.Random(5)
  for number in range(60):
    scene = graph.sample(rng, str(number), inks)
    found = parts.find_boxes(canvas.paint(scene, inks))
    assert {tuple(box) for box in found.tolist()} == {thing.box for thing in scene.things}


def test_most_things_are_found_in_compressed_scenes():
  inks, rng = canvas.read_inks('val'), random.Random(5)
  right, deviations = 0, []
  for number in range(40):
    scene, file = graph.sample(rng, str(number), inks), io.BytesIO()
    Image.fromarray(canvas.paint(scene, inks)).save(file, 'JPEG', quality=95)
    found = parts.find_boxes(np.asarray(Image.open(file)), parts.COMPRESSED)
    right += len(found) == len(scene.things)
    if len(found) == len(scene.things):
      near = np.abs(found[None] - np.array([thing.box for thing in scene.things])[:, None])
      deviations.append(near.max(-1).min(1).mean())
  assert right >= 36 and np.mean(deviations) < 2


def test_parts_that_touch_or_nearly_touch_are_one():
  corner = picture((2, 2, 10, 10), (10, 10, 20, 20))  # Diagonal neighbours.
  assert parts.find_boxes(corner).tolist() == [[2, 2, 20, 20]]
  one_apart = picture((2, 2, 10, 10), (11, 2, 20, 10))
  assert parts.find_boxes(one_apart).tolist() == [[2, 2, 20, 10]]
  two_apart = picture((12, 2, 20, 10), (2, 4, 10, 10))
  assert parts.find_boxes(two_apart).tolist() == [[12, 2, 20, 10], [2, 4, 10, 10]]
  ring = picture((5, 5, 30, 30))
  ring[8:27, 8:27] = 30
  ring[14:20, 14:20] = 250  # Inside, far from the ring: its box is in the ring's.
  assert parts.find_boxes(ring).tolist() == [[5, 5, 30, 30]]
  comb = picture((5, 5, 30, 8), (5, 8, 8, 20), (15, 8, 18, 25), (27, 8, 30, 22))
  assert parts.find_boxes(comb).tolist() == [[5, 5, 30, 25]]
  upside_down = comb[::-1]  # The teeth meet in the last rows.
  assert parts.find_boxes(upside_down).tolist() == [[5, 15, 30, 35]]


def test_parts_at_the_edge_and_on_white():
  found = parts.find_boxes(picture((0, 0, 5, 6), (55, 34, 60, 40), background=(255, 255, 255)))
  assert found.tolist() == [[0, 0, 5, 6], [55, 34, 60, 40]]


def test_labels_agree_with_an_independent_search():
  rng = np.random.default_rng(3)
  for _ in range(20):
    mask = rng.random((12, 15)) < 0.35
    assert sorted(parts._boxes_of_parts(mask)) == sorted(_flooded(mask))


def _flooded(mask):
  """Boxes of the 8-connected parts by flooding."""
  left = {tuple(place) for place in np.argwhere(mask).tolist()}
  while left:
    part, front = set(), [left.pop()]
    while front:
      y, x = front.pop()
      part.add((y, x))
      near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
      left -= near
      front += near
    rows, columns = zip(*part, strict=True)
    yield min(columns), min(rows), max(columns) + 1, max(rows) + 1


def test_pictures_without_parts_are_refused():
  noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
  with pytest.raises(ValueError, match='cat.png: no parts can be found, as its background is not'):
    parts.find_boxes(noise, where='cat.png')
  with pytest.raises(ValueError, match='nothing of at least 3 x 3 pixels stands out'):
    parts.find_boxes(picture((5, 5, 7, 7)))
  dots = picture(size=(200, 200))
  dots[2:198:4, 2:198:4] = 255
  dots[2:198:4, 3:198:4] = 255
  with pytest.raises(ValueError, match='2401 parts stand out from the background'):
    parts.find_boxes(dots)


def test_things_on_paper_look_like_things_on_the_canvas(monkeypatch):
  inks = canvas.read_inks('val')
  for number in range(20):
    scene = graph.sample(random.Random(number), str(number), inks)
    expected, pixels = canvas.paint(scene, inks), papers.painted(scene, inks, monkeypatch)
    boxes = parts.find_boxes(pixels)
    laid = parts.on_canvas(pixels, boxes, graph.BACKGROUND).astype(np.int16)
    for x1, y1, x2, y2 in boxes:
      box = (slice(y1, y2), slice(x1, x2))
      before = np.abs(pixels[box].astype(np.int16) - expected[box]).mean()
      assert np.abs(laid[box] - expected[box]).mean() < 0.15 * before


def test_a_picture_on_the_canvas_stays_as_it_is():
  pixels = picture((5, 5, 20, 20))
  boxes = parts.find_boxes(pixels)
  assert parts.on_canvas(pixels, boxes, (30, 30, 30)) is pixels
  assert parts.on_canvas(pixels, boxes, (50, 40, 30)) is pixels  # As a JPEG may have it.


def test_black_ink_becomes_white_on_a_dark_canvas():
  pixels = picture(background=(255, 250, 240))
  pixels[5:20, 5:20] = 10
  pixels[5:20, 19] = 130  # A soft edge.
  laid = parts.on_canvas(pixels, parts.find_boxes(pixels), (30, 30, 30))
  assert laid[10, 10].tolist() == [245] * 3 and laid[10, 19].tolist() == [125] * 3
  np.testing.assert_array_equal(laid[25:], pixels[25:])
  narrow = parts.on_canvas(pixels, [[7.2, 6, 7.6, 9.5]], (30, 30, 30))
  assert narrow[6:10, 7].tolist() == [[245] * 3] * 4 and narrow[10, 7].tolist() == [10] * 3
