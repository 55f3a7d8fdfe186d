"""Regions of people's own pictures: features, tags, files, and what is said of bad ones."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import efficientnet
import resnext
from oscar import region_features
from oscar.datasets import coco_retrieval, features, region_files, tsv
from tests.oscar import loaders
from tpu_utils import weights

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (60, 80, 3), np.uint8)
BOXES = [[0, 0, 80, 60], [10.5, 20, 40, 59], [70, 50, 80, 60]]


class Mean:
  """A model that is understood: appearance is the mean colour, the class which channel is brightest."""

  image_size = 8

  def __call__(self, images):
    mean = np.asarray(images).mean(axis=(1, 2))
    probabilities = np.exp(mean / 50)
    return np.tile(mean, (1, 683))[:, :2048], probabilities / probabilities.sum(axis=1, keepdims=True)


def extract(items, labels=('red', 'green', 'blue')):
  return list(region_features.extract(items, Mean(), labels))


def test_crop_takes_the_box():
  picture = np.zeros((60, 80, 3), np.uint8)
  picture[20:40, 10:30] = 200
  inside, half, outside = region_features.crop(
    picture, [[10, 20, 30, 40], [0, 20, 20, 40], [40, 20, 60, 40]], 8
  )
  assert (inside == 200).all() and (outside == 0).all()
  assert (half[:, :3] == 0).all() and (half[:, 5:] == 200).all()


def test_features_are_appearance_then_geometry():
  [found] = extract([('it', PICTURE, BOXES)])
  assert found.features.shape == (3, 2054) and found.features.dtype == np.float32
  np.testing.assert_allclose(found.features[1, -6:], [10.5 / 80, 1 / 3, 0.5, 59 / 60, 29.5 / 80, 39 / 60], rtol=1e-6)
  whole = Image.fromarray(PICTURE).resize((8, 8), Image.Resampling.BILINEAR)
  np.testing.assert_allclose(found.features[0, :3], np.asarray(whole).mean(axis=(0, 1)), rtol=1e-5)
  assert found.width == 80 and found.height == 60


def test_images_share_batches_without_mixing():
  """Whatever their number, each image gets what it gets alone."""
  pictures = RNG.integers(0, 256, (150, 20, 30, 3), np.uint8)
  boxes = [[[0, 0, 30, 20], [5, 5, 10, 10]][: 1 + number % 2] for number in range(150)]
  items = [(str(n), picture, box) for n, (picture, box) in enumerate(zip(pictures, boxes, strict=True))]
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
def test_boxes_that_are_none(boxes, message):
  with pytest.raises(ValueError, match=message):
    extract([('it', PICTURE, boxes)])


def test_features_that_are_none():
  class Broken(Mean):
    def __call__(self, images):
      appearance, probabilities = super().__call__(images)
      appearance[1, 7] = np.nan
      return appearance, probabilities

  with pytest.raises(ValueError, match='second: region 0 holds nan at number 7'):
    list(
      region_features.extract(
        [('first', PICTURE, BOXES[:1]), ('second', PICTURE, BOXES[1:])], Broken(), ('a', 'b', 'c')
      )
    )
  with pytest.raises(ValueError, match='2 labels, but the classifier has 3 classes'):
    extract([('it', PICTURE, BOXES)], labels=('red', 'green'))


def test_grids():
  assert region_features.grid_boxes(80, 60).tolist() == [[0, 0, 80, 60]]
  grid = region_features.grid_boxes(80, 60, 2)
  assert grid.tolist()[1:3] == [[0, 0, 40, 30], [40, 0, 80, 30]]
  assert len(grid) == 5


def test_files_are_those_of_the_official_layout(tmp_path):
  found = extract([('it', PICTURE, BOXES), ('other', PICTURE[:30], BOXES[2:3])][:1])
  assert region_features.write(tmp_path, [('7', found[0])]) == {'7': 0}
  stored = region_files.RegionTsv(tmp_path / 'features.tsv', tmp_path / 'imageid2idx.json')
  np.testing.assert_array_equal(stored['7'], found[0].features)
  # The retrieval reader takes the folder as it is.
  (tmp_path / 'test_captions.json').write_text(json.dumps({'7': ['a caption']}))
  reader = coco_retrieval.CocoRetrieval(str(tmp_path), 'test')
  assert reader.tags('7') == ' '.join(found[0].tags)
  assert region_features.check_file(tmp_path / 'features.tsv') == (1, 3)
  with pytest.raises(ValueError, match="image '7' comes twice"):
    region_features.write(tmp_path / 'new', [('7', found[0])] * 2)
  assert not list((tmp_path / 'new').iterdir())


@pytest.mark.parametrize(
  ('damage', 'message'),
  [
    (lambda r: r[:, 1024:], "features.tsv, image '9': regions are 1030 numbers wide, expected 2054"),
    (lambda r: np.where(r == r[1, 5], np.float32('nan'), r), "image '9': region 1 holds nan at number 5"),
    (lambda r: np.concatenate([r[:, :-6], r[:, -6:] + 0.5], 1), "image '9': region 0 has a box outside"),
  ],
)
def test_checking_a_file_names_the_image(tmp_path, damage, message):
  regions = features.join(RNG.random((3, 2048)), BOXES, 80, 60)
  with tsv.TsvWriter(tmp_path / 'features.tsv') as file:
    file.write('8', 3, features.encode(regions))
    file.write('9', 3, features.encode(np.float32(damage(regions))))
  with pytest.raises(ValueError, match=message):
    region_features.check_file(tmp_path / 'features.tsv')


@pytest.mark.parametrize(
  ('name', 'images'),
  [('coco_ir/features.tsv', 8), ('coco_caption/train.feature.tsv', 8), ('gqa/gqa_img_frcnn_feats.pt', 4)],
)
def test_every_official_kind_of_file_can_be_checked(name, images):
  found, regions = region_features.check_file(loaders.DATA / name)
  assert found == images and images <= regions <= 4 * images
  with pytest.raises(ValueError, match=f"{name}.*2054 numbers wide, expected 2048"):
    region_features.check_file(loaders.DATA / name, dim=2048)


def test_box_files(tmp_path):
  path = tmp_path / 'boxes.json'
  path.write_text(json.dumps(BOXES))
  assert region_features.read_boxes(str(path), ['cat']) == {'cat': BOXES}
  with pytest.raises(ValueError, match='boxes.json: expected {image: .*, found a list'):
    region_features.read_boxes(str(path), ['cat', 'dog'])
  path.write_text(json.dumps({'cat': BOXES}))
  with pytest.raises(ValueError, match="boxes.json has no boxes of image 'dog'; it has cat"):
    region_features.read_boxes(str(path), ['cat', 'dog'])


def test_label_files(tmp_path):
  (tmp_path / 'labels.txt').write_text('cat\ntabby, cat\n')
  (tmp_path / 'labels.json').write_text('["cat", "dog"]')
  assert region_features.read_labels(str(tmp_path / 'labels.txt')) == ['cat', 'tabby, cat']
  assert region_features.read_labels(str(tmp_path / 'labels.json')) == ['cat', 'dog']
  (tmp_path / 'labels.txt').write_text('cat\n\ndog\n')
  with pytest.raises(ValueError, match='labels.txt: expected names, one a line'):
    region_features.read_labels(str(tmp_path / 'labels.txt'))


# ---- with networks


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
  """A ResNeXt of 2048 channels and five classes as a torch file."""
  path = str(tmp_path_factory.mktemp('network') / 'resnext.safetensors')
  model = resnext.build_model('resnext-50-2x4d', num_classes=5, image_size=32)
  weights.save_torch(model, path)
  return path, model


def test_a_network_gives_its_pooled_features_and_its_classes(checkpoint):
  path, model = checkpoint
  network = region_features.Network('resnext-50-2x4d', path, 5, image_size=32)
  images = RNG.integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
  appearance, probabilities = network(images)
  pooled = resnext.build_model(
    'resnext-50-2x4d', num_classes=5, image_size=32, weights=path, include_top=False, pooling='avg'
  )
  np.testing.assert_allclose(appearance, pooled(images).numpy(), atol=1e-5)
  logits = model(images).numpy()
  np.testing.assert_array_equal(probabilities.argmax(axis=1), logits.argmax(axis=1))
  np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_another_classifier_may_give_the_tags(checkpoint, tmp_path, monkeypatch):
  path, _ = checkpoint
  tagger = efficientnet.build_model('efficientnet-b0', num_classes=3, image_size=32)
  monkeypatch.setattr(efficientnet, 'build_model', lambda name, **_: tagger, raising=False)
  network = region_features.Network(
    'resnext-50-2x4d', path, 5, 32, 'efficientnet-b0', None, tag_classes=3
  )
  images = RNG.integers(0, 256, (1, 32, 32, 3)).astype(np.float32)
  appearance, probabilities = network(images)
  assert appearance.shape == (1, 2048) and probabilities.shape == (1, 3)
  expected = np.exp(tagger(images).numpy().astype(np.float64))
  np.testing.assert_allclose(probabilities, expected / expected.sum(), rtol=1e-4)


def test_a_network_of_another_width_is_refused():
  message = '--model_name=resnext-29-1x8d gives 1024 numbers a region, expected 2048'
  with pytest.raises(ValueError, match=message):
    region_features.Network('resnext-29-1x8d', None, 5)


def run(*arguments):
  command = [sys.executable, '-m', 'oscar.region_features', *map(str, arguments)]
  return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command(checkpoint, tmp_path):
  Image.fromarray(PICTURE).save(tmp_path / 'cat.png')
  Image.fromarray(PICTURE[:30, :40]).convert('L').save(tmp_path / 'dog.png')
  (tmp_path / 'boxes.json').write_text(json.dumps({'cat': BOXES, 'dog': BOXES[1:2]}))
  (tmp_path / 'labels.txt').write_text('a\nb\nc\nd\ne\n')
  network = (
    '--model_name=resnext-50-2x4d', f'--weights={checkpoint[0]}', '--image_size=32',
    f'--labels={tmp_path}/labels.txt', f'--output={tmp_path}/out',
  )  # fmt: skip
  pictures = (tmp_path / 'cat.png', tmp_path / 'dog.png')
  done = run(*pictures, f'--boxes={tmp_path}/boxes.json', *network)
  assert done.returncode == 1 and 'Traceback' not in done.stderr
  assert "boxes.json, image 'dog': box 0 is" in done.stderr.splitlines()[-1]
  assert not (tmp_path / 'out').exists()

  done = run(*pictures, '--grid=2', *network)
  assert done.returncode == 0, done.stderr
  assert 'features and tags of 2 images' in done.stdout
  stored = region_files.RegionTsv(tmp_path / 'out' / 'features.tsv')
  assert {key: regions.shape for key, regions in stored.items()} == {'cat': (5, 2054), 'dog': (5, 2054)}
  done = run(f'--check={tmp_path}/out/features.tsv')
  assert '2 images, 10 regions, nothing wrong' in done.stdout


def test_mistakes_take_one_line(tmp_path):
  (tmp_path / 'no.png').write_text('no picture')
  for arguments, message in (
    ([], 'No image is given'),
    (['cat.png', '--output=out'], '--weights is missing'),
    ([f'--check={tmp_path}/none.tsv'], 'none.tsv does not exist'),
    (
      [tmp_path / 'no.png', '--output=o', '--weights=w', f'--labels={tmp_path}/no.png'],
      'no.png is no image that Pillow can read',
    ),
  ):
    done = run(*arguments)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1] and 'Traceback' not in done.stderr
