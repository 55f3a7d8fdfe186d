"""The map of tags and regions: t-SNE and the shares that the page states."""

import numpy as np
import pytest

from oscar.demo_page import maps


def test_neighbours_stay_neighbours():
  rng = np.random.default_rng(0)
  centres = rng.normal(0, 4, [4, 16])
  x = np.repeat(centres, 12, axis=0) + rng.normal(0, 0.3, [48, 16])
  y = maps.embed(x - x.mean(axis=0))
  assert y.shape == (48, 2) and np.isfinite(y).all()
  labels = np.repeat(np.arange(4), 12)
  distances = ((y[:, None] - y) ** 2).sum(axis=-1)
  np.fill_diagonal(distances, np.inf)
  assert (labels[distances.argmin(axis=1)] == labels).all()
  np.testing.assert_array_equal(y, maps.embed(x - x.mean(axis=0)))


@pytest.mark.parametrize('count', [1, 3, 6])
def test_few_points_have_places(count):
  x = np.random.default_rng(1).normal(size=[count, 8])
  assert np.isfinite(maps.embed(x - x.mean(axis=0))).all()


def test_neighbours_of_the_same_scene_do_not_count():
  hidden = np.array([[1, 0], [1, 0.1], [0, 1], [1, 0.2]], np.float32)
  points = [
    ('region', 'two', 'a', 0), ('tag', 'one', 'a', 0),
    ('tag', 'one', 'b', 0), ('tag', 'two', 'b', 1),
  ]  # fmt: skip
  assert maps.nearest(hidden, points, 'region', 'tag') == (1.0, 0.5)
  assert maps.nearest(hidden, points[:2], 'region', 'tag') == (0.0, 0.0)
