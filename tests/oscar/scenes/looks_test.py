"""Features gathered by look equal those of whole pictures, and each look is detected once."""

import random

import numpy as np

from oscar.datasets import region_extraction
from oscar.scenes import canvas, graph, looks
from tests.oscar.scenes.plain_detector import PlainDetector


def sample(blocks, seed):
  return graph.sample(random.Random(seed), str(seed), blocks)


def test_pictures_and_regions_equal_those_of_the_painted_scene(blocks):
  memory = looks.Looks(blocks, PlainDetector())
  scenes = [sample(blocks, seed) for seed in range(6)]
  memory.detect(scenes)
  pictures = [canvas.paint(scene, blocks) for scene in scenes]
  items = [
    (scene.key, picture, [thing.box for thing in scene.things])
    for scene, picture in zip(scenes, pictures, strict=True)
  ]
  plain = PlainDetector()
  for scene, picture, found in zip(
    scenes, pictures, region_extraction.extract(items, plain, plain.labels), strict=True
  ):
    np.testing.assert_array_equal(memory.picture(scene), picture)
    regions = memory.regions(scene)
    order = np.argsort(-found.scores, kind='stable')
    np.testing.assert_allclose(regions.features, found.features[order], rtol=1e-6)
    assert regions.tags == memory.tags(scene) == tuple(found.tags[i] for i in order)
    np.testing.assert_array_equal(regions.scores, found.scores[order])
    assert [memory.tag_of(scene.things[i]) for i in order] == list(regions.tags)


def test_each_look_is_detected_once(blocks):
  plain = PlainDetector()
  memory = looks.Looks(blocks, plain)
  scenes = [sample(blocks, seed) for seed in range(300)]
  memory.detect(scenes)
  things = [thing for scene in scenes for thing in scene.things]
  met = {thing.stamp for thing in things}
  assert len(met) < len(things) / 2  # 10 digits, 6 colours, 2 sizes, 3 samples.
  assert len(met) <= plain.seen < 1.5 * len(met)  # Batches are filled up.
  once = plain.seen
  memory.detect(scenes)
  for scene in scenes:
    memory.regions(scene)
  assert plain.seen == once


def test_regions_are_detected_when_asked_for(blocks):
  plain = PlainDetector()
  scene = sample(blocks, 1)
  regions = looks.Looks(blocks, plain).regions(scene)
  assert regions.features.shape == (len(scene.things), 2054) and plain.seen
