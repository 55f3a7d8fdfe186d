"""Region features and tags of images: crops, tags, files, networks, and errors for bad boxes."""

import json

import numpy as np
import pytest
from PIL import Image

import efficientnet
import resnext
from oscar.datasets import coco_retrieval, region_extraction, region_files
from tpu_utils import weights

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (60, 80, 3), np.uint8)
BOXES = [[0, 0, 80, 60], [10.5, 20, 40, 59], [70, 50, 80, 60]]


class Mean:
  """A simple model: the appearance is the mean colour, the class the brightest channel."""

  image_size = 8

  def __call__(self, images):
    mean = np.asarray(images).mean(axis=(1, 2))
    probabilities = np.exp(mean / 50)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return np.tile(mean, (1, 683))[:, :2048], probabilities


def extract(items, labels=('red', 'green', 'blue')):
  return list(region_extraction.extract(items, Mean(), labels))


def test_crop_cuts_and_stretches_the_boxes():
  picture = np.zeros((60, 80, 3), np.uint8)
  picture[20:40, 10:30] = 200
  inside, half, outside = region_extraction.crop(
    picture, [[10, 20, 30, 40], [0, 20, 20, 40], [40, 20, 60, 40]], 8
  )
  assert (inside == 200).all() and (outside == 0).all()
  assert (half[:, :3] == 0).all() and (half[:, 5:] == 200).all()


def test_features_are_appearance_then_geometry():
  [found] = extract([('it', PICTURE, BOXES)])
  assert found.features.shape == (3, 2054) and found.features.dtype == np.float32
  geometry = [10.5 / 80, 1 / 3, 0.5, 59 / 60, 29.5 / 80, 39 / 60]
  np.testing.assert_allclose(found.features[1, -6:], geometry, rtol=1e-6)
  whole = Image.fromarray(PICTURE).resize((8, 8), Image.Resampling.BILINEAR)
  np.testing.assert_allclose(found.features[0, :3], np.asarray(whole).mean(axis=(0, 1)), rtol=1e-5)
  assert found.width == 80 and found.height == 60


def test_images_share_batches_without_mixing():
  """Each image gets the same regions alone and among 150 images."""
  pictures = RNG.integers(0, 256, (150, 20, 30, 3), np.uint8)
  boxes = [[[0, 0, 30, 20], [5, 5, 10, 10]][: 1 + number % 2] for number in range(150)]
  items = [(str(n), *item) for n, item in enumerate(zip(pictures, boxes, strict=True))]
  together = extract(items)
  assert len(together) == 150
  for item, found in zip(items[::37], together[::37], strict=True):
    [alone] = extract([item])
    np.testing.assert_allclose(found.features, alone.features, rtol=1e-6)
    assert found.tags == alone.tags


def test_tags_are_the_likeliest_labels():
  picture = np.zeros((60, 80, 3), np.uint8)
  picture[:, :40, 0], picture[:, 40:, 2] = 250, 250
  [found] = extract([('it', picture, [[0, 0, 40, 60], [40, 0, 80, 60]])])
  assert found.tags == ('red', 'blue') and (found.scores > 0.9).all()
  assert found.objects()[1] == {
    'class': 'blue', 'conf': round(float(found.scores[1]), 4), 'rect': [40, 0, 80, 60],
  }  # fmt: skip


@pytest.mark.parametrize(
  ('boxes', 'message'),
  [
    ([[0, 0, 81, 60]], r'it: box 0 is \[0.0, 0.0, 81.0, 60.0\]; expected .* x2 <= 80'),
    ([[0, 0, 9, 9], [9, 0, 9, 9]], r'it: box 1 is .* expected 0 <= x1 < x2'),
    ([[0, 0, float('nan'), 9]], 'it: box 0 is .*nan'),
    ([[0, 0, 9]], r'it: \[\[0, 0, 9\]\]; expected a list of \[x1, y1, x2, y2\]'),
    ([['a', 0, 9, 9]], 'expected a list of'),
    ([], 'it: no boxes'),
  ],
)
def test_bad_boxes_are_refused(boxes, message):
  with pytest.raises(ValueError, match=message):
    extract([('it', PICTURE, boxes)])


def test_bad_features_and_labels_are_refused():
  class Broken(Mean):
    def __call__(self, images):
      appearance, probabilities = super().__call__(images)
      appearance[1, 7] = np.nan
      return appearance, probabilities

  with pytest.raises(ValueError, match='second: region 0 holds nan at number 7'):
    list(
      region_extraction.extract(
        [('first', PICTURE, BOXES[:1]), ('second', PICTURE, BOXES[1:])], Broken(), ('a', 'b', 'c')
      )
    )
  with pytest.raises(ValueError, match='2 labels, but the classifier has 3 classes'):
    extract([('it', PICTURE, BOXES)], labels=('red', 'green'))


def test_grid_boxes():
  assert region_extraction.grid_boxes(80, 60).tolist() == [[0, 0, 80, 60]]
  grid = region_extraction.grid_boxes(80, 60, 2)
  assert grid.tolist()[1:3] == [[0, 0, 40, 30], [40, 0, 80, 30]]
  assert len(grid) == 5


def test_written_files_have_the_official_layout(tmp_path):
  found = extract([('it', PICTURE, BOXES), ('other', PICTURE[:30], BOXES[2:3])][:1])
  assert region_extraction.write(tmp_path, [('7', found[0])]) == {'7': 0}
  stored = region_files.RegionTsv(tmp_path / 'features.tsv', tmp_path / 'imageid2idx.json')
  np.testing.assert_array_equal(stored['7'], found[0].features)
  # The retrieval reader reads the same folder.
  (tmp_path / 'test_captions.json').write_text(json.dumps({'7': ['a caption']}))
  reader = coco_retrieval.CocoRetrieval(str(tmp_path), 'test')
  assert reader.tags('7') == ' '.join(found[0].tags)
  with pytest.raises(ValueError, match="image '7' comes twice"):
    region_extraction.write(tmp_path / 'new', [('7', found[0])] * 2)
  assert not list((tmp_path / 'new').iterdir())


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
  """A ResNeXt of 2048 channels and five classes as a torch file."""
  path = str(tmp_path_factory.mktemp('network') / 'resnext.safetensors')
  model = resnext.build_model('resnext-50-2x4d', num_classes=5, image_size=32)
  weights.save_torch(model, path)
  return path, model


@pytest.mark.slow
def test_a_network_returns_pooled_features_and_class_probabilities(checkpoint):
  path, model = checkpoint
  network = region_extraction.RegionNetwork('resnext-50-2x4d', path, 5, image_size=32)
  images = RNG.integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
  appearance, probabilities = network(images)
  pooled = resnext.build_model(
    'resnext-50-2x4d', num_classes=5, image_size=32, weights=path, include_top=False, pooling='avg'
  )
  np.testing.assert_allclose(appearance, pooled(images).numpy(), atol=1e-5)
  logits = model(images).numpy()
  np.testing.assert_array_equal(probabilities.argmax(axis=1), logits.argmax(axis=1))
  np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_another_classifier_can_provide_the_tags(checkpoint, tmp_path, monkeypatch):
  path, _ = checkpoint
  tagger = efficientnet.build_model('efficientnet-b0', num_classes=3, image_size=32)
  monkeypatch.setattr(efficientnet, 'build_model', lambda name, **_: tagger, raising=False)
  network = region_extraction.RegionNetwork(
    'resnext-50-2x4d', path, 5, 32, 'efficientnet-b0', None, tag_classes=3
  )
  images = RNG.integers(0, 256, (1, 32, 32, 3)).astype(np.float32)
  appearance, probabilities = network(images)
  assert appearance.shape == (1, 2048) and probabilities.shape == (1, 3)
  expected = np.exp(tagger(images).numpy().astype(np.float64))
  np.testing.assert_allclose(probabilities, expected / expected.sum(), rtol=1e-4)


def test_a_network_of_another_width_is_refused():
  message = '--model_name=resnext-29-1x8d gives 1024 numbers per region, expected 2048'
  with pytest.raises(ValueError, match=message):
    region_extraction.RegionNetwork('resnext-29-1x8d', None, 5)
