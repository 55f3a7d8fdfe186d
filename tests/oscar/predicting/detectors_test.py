"""Pictures to regions: boxes given, a grid or connected parts, with the scenes' detector."""

import dataclasses
import random
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

from oscar.datasets import features, region_extraction
from oscar.predicting import detectors, images
from oscar.scenes import canvas, detector, graph, looks
from tests.oscar.predicting import papers


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
  """(folder, scene, its regions as in the data sets); the detector has random weights."""
  folder = tmp_path_factory.mktemp('scenes')
  keras.utils.set_random_seed(1)
  network = detector.Detector()
  network.save(folder / 'detector.weights.h5')
  (folder / 'world.json').write_text('{}')
  inks = canvas.read_inks('val')
  made = looks.Looks(inks, network)
  scene = graph.sample(random.Random(4), '200000', inks)
  Image.fromarray(made.picture(scene)).save(folder / 'scene.png')
  return folder, scene, made.regions(scene)


@pytest.fixture(scope='module')
def reader(scenes):
  opened = detectors.open_detector(str(scenes[0]))
  return images.ImageReader(2054, needs_tags=True, separated=True, detector=opened)


def test_a_scene_gives_the_regions_of_the_data_set(scenes, reader):
  folder, scene, expected = scenes
  found = reader.read(folder / 'scene.png')
  assert found.origin == 'connected parts on a plain background'
  assert found.tags == ' '.join(expected.tags)
  np.testing.assert_allclose(found.features, expected.features, atol=1e-4)
  given = reader.read({'image': f'{folder}/scene.png', 'boxes': [t.box for t in scene.things]})
  assert given.origin == 'boxes given' and given.tags == found.tags
  np.testing.assert_allclose(given.features, expected.features, atol=1e-4)
  pixels = np.asarray(Image.open(folder / 'scene.png'))
  np.testing.assert_array_equal(reader.read(pixels).features, found.features)


def test_scenes_of_another_version_are_refused(scenes, tmp_path):
  """Its detector gives other features than those on which models were trained."""
  folder, scene, regions = scenes
  shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
  (tmp_path / 'images').mkdir()
  shutil.copy(folder / 'scene.png', tmp_path / 'images' / f'{scene.key}.png')
  place = tmp_path / 'official' / 'features'
  region_extraction.write(place, [(scene.key, regions)])
  opened = detectors.open_detector(str(tmp_path))
  assert opened.canvas.tolist() == list(graph.BACKGROUND)
  content = regions.features.copy()
  content[:, :-6] *= 10
  region_extraction.write(place, [(scene.key, dataclasses.replace(regions, features=content))])
  with pytest.raises(ValueError, match="features.tsv, image '200000': the features are not those"):
    detectors.open_detector(str(tmp_path))


def test_things_on_paper_give_the_features_of_the_canvas(scenes, monkeypatch):
  """A detector that has seen light things on black alone reads coloured ink on paper, too."""
  folder, scene, _ = scenes
  opened = detectors.open_detector(str(folder))
  opened = dataclasses.replace(opened, canvas=np.array(graph.BACKGROUND))
  inks = canvas.read_inks('val')
  light = papers.painted(scene, inks, monkeypatch)
  want, _ = opened.detect(canvas.paint(scene, inks))
  as_it_is, _ = dataclasses.replace(opened, canvas=None).detect(light)
  boxes = features.boxes(want.features, 160, 120).round()
  for found in (opened.detect(light)[0], opened.detect(light, boxes)[0]):
    assert distance(found, want) < 0.2 * distance(as_it_is, want)


def distance(found, want):
  return np.linalg.norm(found.features.sum(0) - want.features.sum(0))


def test_a_grid_has_the_whole_picture_and_its_parts(scenes, reader):
  found = reader.read({'image': f'{scenes[0]}/scene.png', 'grid': 2})
  assert found.origin == 'the whole picture and a grid of 2 x 2'
  boxes = features.boxes(found.features, 160, 120)
  assert sorted(boxes.tolist()) == sorted(
    [[0, 0, 160, 120], [0, 0, 80, 60], [80, 0, 160, 60], [0, 60, 80, 120], [80, 60, 160, 120]]
  )
  whole = reader.read({'image': f'{scenes[0]}/scene.png', 'grid': 0})
  assert whole.origin == 'the whole picture' and len(whole.features) == 1


def test_networks_for_photographs_take_a_grid_in_its_order(scenes):
  network = detectors.open_detector(str(scenes[0])).model
  opened = detectors.Detector('resnext', network, network.labels, grid=1, by_score=False)
  noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
  found, origin = opened.detect(noise)
  assert origin == 'the whole picture and a grid of 1 x 1' and len(found.tags) == 2
  np.testing.assert_allclose(features.boxes(found.features, 60, 40), [[0, 0, 60, 40]] * 2)


def test_a_jpeg_and_a_file_of_several_pictures(scenes, reader, tmp_path):
  picture = Image.open(scenes[0] / 'scene.png')
  picture.save(tmp_path / 'scene.jpg', quality=95)
  expected = scenes[2].features
  found = reader.read(tmp_path / 'scene.jpg')
  assert len(found.features) == len(expected)
  picture.save(tmp_path / 'scene.gif', save_all=True, append_images=[picture.rotate(180)])
  found = reader.read({'image': str(tmp_path / 'scene.gif'), 'grid': 0})
  assert found.origin == 'the whole picture, in the first of several pictures'


def test_bad_pictures_are_one_clear_line(scenes, reader, tmp_path):
  (tmp_path / 'no.png').write_text('no picture')
  noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
  Image.fromarray(noise).save(tmp_path / 'noise.png')
  good = f'{scenes[0]}/scene.png'
  for given, message in (
    (f'{tmp_path}/none.png', 'No such file or directory'),
    (str(tmp_path), 'Is a directory'),
    (f'{tmp_path}/no.png', 'no.png: its 10 bytes are no image of a known format'),
    (f'{tmp_path}/noise.png', 'noise.png: no parts can be found, as its background is not plain'),
    ({'image': good, 'boxes': [[0, 0, 900, 9]]}, r'scene.png: box 0 is \[0.0, 0.0, 900.0, 9.0\]'),
    ({'image': good, 'boxes': []}, 'scene.png: no boxes'),
    ({'image': good, 'boxes': 'all'}, 'expected a list of'),
    ({'image': good, 'grid': -1}, "'grid' is -1, expected parts per side"),
    ({'image': 3}, 'the picture is 3, expected the path'),
  ):
    with pytest.raises((ValueError, OSError), match=message) as error:
      reader.read(given)
    assert '\n' not in str(error.value)


def test_detectors_that_cannot_be_opened(scenes, tmp_path):
  with pytest.raises(ValueError, match='has no world.json: expected a folder that'):
    detectors.open_detector(str(tmp_path))
  with pytest.raises(ValueError, match="'runs/scene' is no folder; a ResNeXt of this name needs"):
    detectors.open_detector('runs/scene')
  (tmp_path / 'world.json').write_text('{}')
  with pytest.raises(ValueError, match='weights.h5 does not exist; build the scenes again'):
    detectors.open_detector(str(tmp_path))
  content = (scenes[0] / 'detector.weights.h5').read_bytes()
  (tmp_path / 'detector.weights.h5').write_bytes(content[:5000])
  with pytest.raises(ValueError, match="cannot be read as weights of the scenes' detector"):
    detectors.open_detector(str(tmp_path))


