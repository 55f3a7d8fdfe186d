"""The script for regions of your own images: boxes, labels, checks and one-line errors."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import resnext
from oscar import region_features
from oscar.datasets import features, region_files, tsv
from tests.oscar import loaders
from tests.oscar.datasets import region_conversion_test
from tpu_utils import weights

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
  rows, out = region_conversion_test.vinvl(), f'{tmp_path}/out'
  path = region_conversion_test.write(tmp_path / 'in' / 'predictions.tsv', rows)
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


def test_the_command_extracts_and_checks(checkpoint, tmp_path):
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
  shapes = {key: regions.shape for key, regions in stored.items()}
  assert shapes == {'cat': (5, 2054), 'dog': (5, 2054)}
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
      'no.png is not an image that Pillow can read',
    ),
  ):
    done = run(*arguments)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1] and 'Traceback' not in done.stderr
