"""The script for regions of your own images: boxes, labels, checks and one-line errors."""

import base64
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import resnext
from oscar import region_features
from oscar.datasets import features, region_files, tsv
from tests.oscar import loaders
from tests.tpu_utils.images import bombs
from tests.tpu_utils.images.animations import ANIMATED
from tests.tpu_utils.images.preparation.deep_pixels_test import tiff
from tests.tpu_utils.images.preparation.published import encoded
from tpu_utils import weights
from tpu_utils.images.preparation import encoding

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (60, 80, 3), np.uint8)
BOXES = [[0, 0, 80, 60], [10.5, 20, 40, 59], [70, 50, 80, 60]]


@pytest.mark.parametrize(
  ('damage', 'message'),
  [
    (
      lambda r: r[:, 1024:],
      "features.tsv, image '9': regions are 1030 numbers wide, expected 2054",
    ),
    (
      lambda r: np.where(r == r[1, 5], np.float32('nan'), r),
      "image '9': region 1 holds nan at number 5",
    ),
    (
      lambda r: np.concatenate([r[:, :-6], r[:, -6:] + 0.5], 1),
      "image '9': region 0 has a box outside",
    ),
  ],
)
def test_check_file_names_the_damaged_image(tmp_path, damage, message):
  regions = features.join(RNG.random((3, 2048)), BOXES, 80, 60)
  with tsv.TsvWriter(tmp_path / 'features.tsv') as file:
    file.write('8', 3, features.encode(regions))
    file.write('9', 3, features.encode(np.float32(damage(regions))))
  with pytest.raises(ValueError, match=message):
    region_features.check_file(tmp_path / 'features.tsv')


@pytest.mark.parametrize(
  ('name', 'images'),
  [
    ('coco_ir/features.tsv', 8),
    ('coco_caption/train.feature.tsv', 8),
    ('gqa/gqa_img_frcnn_feats.pt', 4),
  ],
)
def test_every_official_kind_of_file_can_be_checked(name, images):
  found, regions = region_features.check_file(loaders.DATA / name)
  assert found == images and images <= regions <= 4 * images
  with pytest.raises(ValueError, match=f"{name}.*2054 numbers wide, expected 2048"):
    region_features.check_file(loaders.DATA / name, dim=2048)


def test_a_detectors_file_is_named_and_converted(tmp_path):
  path, out = tmp_path / 'predictions.tsv', f'{tmp_path}/out'
  feature = base64.b64encode(np.ones(2048, np.float32).tobytes()).decode()
  box = {'rect': [1, 2, 30, 40], 'class': 'dog', 'conf': 0.5, 'feature': feature}
  row = json.dumps({'image_h': 60, 'image_w': 80, 'objects': [box] * 3})
  path.write_text(f'7\t{row}\n')
  with pytest.raises(ValueError, match=r"predictions.tsv, image '7': detections of VinVL .*--conv"):
    region_features.SCRIPT.call([f'--check={path}'])
  with pytest.raises(ValueError, match='--output is missing'):
    region_features.SCRIPT.call([f'--convert={path}'])
  region_features.SCRIPT.call([f'--convert={path}', f'--output_dir={out}'])
  assert region_features.check_file(f'{out}/features.tsv') == (1, 3)


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
  (tmp_path / 'marked.txt').write_text('\ufeffcat\n', encoding='utf-8')
  assert region_features.read_labels(str(tmp_path / 'marked.txt')) == ['cat']
  (tmp_path / 'labels.txt').write_text('cat\n\ndog\n')
  with pytest.raises(ValueError, match='labels.txt: expected names, one per line'):
    region_features.read_labels(str(tmp_path / 'labels.txt'))


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
  """A ResNeXt of 2048 channels and five classes as a torch file."""
  path = str(tmp_path_factory.mktemp('network') / 'resnext.safetensors')
  model = resnext.build_model('resnext-50-2x4d', num_classes=5, image_size=32)
  weights.save_torch(model, path)
  return path, model


def run(*arguments):
  command = [sys.executable, '-m', 'oscar.region_features', *map(str, arguments)]
  return subprocess.run(command, capture_output=True, text=True, check=False)


def call(*arguments):
  region_features.SCRIPT.call([str(argument) for argument in arguments])


@pytest.mark.slow
def test_the_command_extracts_and_checks(checkpoint, tmp_path, capsys):
  Image.fromarray(PICTURE).save(tmp_path / 'cat.png')
  Image.fromarray(PICTURE[:30, :40]).convert('L').save(tmp_path / 'dog.png')
  (tmp_path / 'boxes.json').write_text(json.dumps({'cat': BOXES, 'dog': BOXES[1:2]}))
  (tmp_path / 'labels.txt').write_text('a\nb\nc\nd\ne\n')
  network = (
    '--model_name=resnext-50-2x4d', f'--weights={checkpoint[0]}', '--image_size=32',
    f'--labels={tmp_path}/labels.txt', f'--output={tmp_path}/out',
  )  # fmt: skip
  pictures = (tmp_path / 'cat.png', tmp_path / 'dog.png')
  with pytest.raises(ValueError, match="boxes.json, image 'dog': box 0 is"):
    call(*pictures, f'--boxes={tmp_path}/boxes.json', *network)
  assert not (tmp_path / 'out').exists()

  done = run(*pictures, '--grid=2', *network)
  assert done.returncode == 0, done.stderr
  assert 'features and tags of 2 images' in done.stdout
  stored = region_files.RegionTsv(tmp_path / 'out' / 'features.tsv')
  shapes = {key: regions.shape for key, regions in stored.items()}
  assert shapes == {'cat': (5, 2054), 'dog': (5, 2054)}
  call(f'--check={tmp_path}/out/features.tsv')
  assert '2 images, 10 regions, nothing wrong' in capsys.readouterr().out


@pytest.mark.slow
def test_mistakes_take_one_line(tmp_path):
  (tmp_path / 'no.png').write_text('no picture')
  (tmp_path / 'empty.tsv').touch()
  for arguments, message in (
    ([], 'No image is given'),
    (['cat.png', '--output=out'], '--weights is missing'),
    ([f'--check={tmp_path}/none.tsv'], 'none.tsv does not exist'),
    ([f'--check={tmp_path}/empty.tsv'], 'empty.tsv is empty: it has no image'),
    (
      [tmp_path / 'no.png', '--output=o', '--weights=w', f'--labels={tmp_path}/no.png'],
      'no.png: its 10 bytes are no image of a known format.',
    ),
  ):
    with pytest.raises((ValueError, OSError)) as error:
      call(*arguments)
    assert message in str(error.value) and '\n' not in str(error.value)
  done = run(*arguments)
  assert done.returncode == 1
  assert done.stderr.splitlines()[-1] == f'Error: {error.value}' and 'Traceback' not in done.stderr


def boxes_of(*paths, **settings):
  return region_features._boxes_of([str(path) for path in paths], config(**settings))


def config(**settings):
  return region_features.RegionConfig(**settings)


def test_pixels_are_those_of_the_prepared_images(tmp_path):
  """Deep, turned, animated and other pictures, by the rule of tpu_utils.images.prepare."""
  values = np.linspace(0, 65535, 54).reshape(6, 9).astype(np.uint16)
  pictures = {
    'deep.tif': tiff(values), 'turned.tif': tiff(values, orientation=6),
    'turned.jpg': jpeg_turned(), 'animated.gif': ANIMATED['GIF'], 'animated.webp': ANIMATED['WebP'],
    'palette.bmp': encoded(1, kind='BMP', mode='P'),
  }  # fmt: skip
  for name, data in pictures.items():
    (tmp_path / name).write_bytes(data)
  boxes = boxes_of(*(tmp_path / name for name in pictures))
  read = list(region_features._read_images(boxes, 'refuse'))
  assert [where for where, *_ in read] == [str(tmp_path / name) for name in pictures]
  for (_, pixels, of_image), (name, data) in zip(read, pictures.items(), strict=True):
    assert of_image.tolist() == [[0, 0, pixels.shape[1], pixels.shape[0]]], name
    np.testing.assert_array_equal(pixels, encoding.decode(data)[0])
  np.testing.assert_array_equal(read[0][1][..., 0], values >> 8)
  np.testing.assert_array_equal(read[1][1], read[0][1])


def jpeg_turned():
  exif = Image.Exif()
  exif[274] = 6
  return encoded(1, exif=exif)


def test_several_pictures_are_announced(tmp_path, capsys):
  (tmp_path / 'x.gif').write_bytes(ANIMATED['GIF'])
  boxes_of(tmp_path / 'x.gif')
  assert f'{tmp_path}/x.gif holds several pictures; the first is read.' in capsys.readouterr().out


@pytest.mark.parametrize('kind', bombs.ALL)
def test_pictures_of_too_many_pixels_are_refused(tmp_path, kind):
  (tmp_path / 'x.jpg').write_bytes(bombs.ALL[kind])
  with pytest.raises(ValueError, match=f'{tmp_path}/x.jpg: {kind} .*{bombs.MESSAGE}'):
    boxes_of(tmp_path / 'x.jpg')


def test_names_of_images_must_be_text(tmp_path):
  path = tmp_path / os.fsdecode(b'caf\xe9.png')
  path.write_bytes(ANIMATED['PNG'])
  with pytest.raises(ValueError, match=r'caf\\xe9.png: the output names images by their files'):
    boxes_of(path)
  (tmp_path / 'x.jpg').mkdir()
  with pytest.raises(OSError, match='Is a directory'):
    boxes_of(tmp_path / 'x.jpg')


def test_levels_that_8_bits_cannot_hold_need_a_choice(tmp_path):
  path = tmp_path / 'x.tif'
  path.write_bytes(tiff(np.linspace(0, 1, 54).reshape(6, 9).astype(np.float32)))
  boxes = boxes_of(path)
  with pytest.raises(ValueError, match=f'{path}: .*32-bit float levels.*--deep_pixels=type_range'):
    list(region_features._read_images(boxes, config().deep_pixels))
  ((_, pixels, _),) = region_features._read_images(boxes, 'type_range')
  assert pixels[0, 0, 0] == 0 and pixels[-1, -1, 0] == 255
