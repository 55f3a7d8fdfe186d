"""Detectors' files and other types of numbers: recognised, refused by readers, converted."""

import base64
import json

import numpy as np
import pytest

from oscar.datasets import (
  coco_retrieval,
  detector_files,
  features,
  region_conversion,
  region_files,
  tsv,
)
from tests.oscar import loaders
from tests.oscar.datasets import features_test

RNG = np.random.default_rng(0)
WIDTH, HEIGHT = 200, 100
BOXES = np.float32([[10, 10, 50, 60], [0, 0, 200, 100], [150.5, 20.25, 180, 21]])
APPEARANCE = RNG.random((3, 2048), np.float32)
# As the programs that made the official features compute them (microsoft/Oscar, issue 33).
GEOMETRY = np.stack(
  [
    BOXES[:, 0] / WIDTH,
    BOXES[:, 1] / HEIGHT,
    BOXES[:, 2] / WIDTH,
    BOXES[:, 3] / HEIGHT,
    (BOXES[:, 2] - BOXES[:, 0]) / WIDTH,
    (BOXES[:, 3] - BOXES[:, 1]) / HEIGHT,
  ],
  axis=1,
)
EXPECTED = np.concatenate([APPEARANCE, GEOMETRY], axis=1)


def text(array):
  return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def objects(dtype=np.float32):
  names = ('dog', 'cat', 'fire hydrant')
  return [
    {'rect': box.tolist(), 'class': name, 'conf': 0.5, 'feature': text(dtype(numbers))}
    for box, name, numbers in zip(BOXES, names, APPEARANCE, strict=True)
  ]


def vinvl(**changes):
  row = {'image_h': HEIGHT, 'image_w': WIDTH, 'num_boxes': 3, 'objects': objects(), **changes}
  return [['7', json.dumps({name: value for name, value in row.items() if value is not None})]]


BOTTOM_UP = [['7', WIDTH, HEIGHT, 3, text(BOXES), text(APPEARANCE)]]
_UNREAD = [text(np.arange(3)), text(np.ones(3))] * 2
LXMERT = [['7', HEIGHT, WIDTH, *_UNREAD, 3, text(BOXES), text(APPEARANCE)]]
KINDS = {'vinvl': vinvl(), 'bottom_up': BOTTOM_UP, 'lxmert': LXMERT}


def write(path, rows):
  path.parent.mkdir(exist_ok=True)
  with tsv.TsvWriter(path) as writer:
    for row in rows:
      writer.write(*row)
  return str(path)


@pytest.mark.parametrize('kind', KINDS)
def test_detections_become_the_official_folder(tmp_path, kind):
  path, out = write(tmp_path / 'in' / 'predictions.tsv', KINDS[kind]), tmp_path / 'out'
  assert region_conversion.convert(path, str(out)) == (kind, 1)
  file = region_files.RegionTsv(out / 'features.tsv', out / 'imageid2idx.json')
  np.testing.assert_allclose(file['7'], EXPECTED, rtol=1e-6)
  assert (out / 'predictions.tsv').exists() == (kind == 'vinvl')


def test_the_retrieval_reader_takes_converted_detections(tmp_path):
  region_conversion.convert(
    write(tmp_path / 'in' / 'predictions.tsv', vinvl()), str(tmp_path / 'out')
  )
  (tmp_path / 'out' / 'test_captions.json').write_text('{"7": ["a dog"]}')
  reader = coco_retrieval.CocoRetrieval(tmp_path / 'out', 'test')
  assert reader.tags('7') == 'dog cat fire hydrant'
  np.testing.assert_allclose(reader.regions['7'], EXPECTED, rtol=1e-6)
  labels = tsv.TsvFile(tmp_path / 'out' / 'predictions.tsv').json(0)
  assert (labels['image_w'], labels['image_h']) == (WIDTH, HEIGHT)
  np.testing.assert_allclose([item['rect'] for item in labels['objects']], BOXES, atol=0.01)


@pytest.mark.parametrize(
  ('name', 'content'),
  [
    ('train.hw.tsv', f'7\t[{{"height": {HEIGHT}, "width": {WIDTH}}}]\n'),
    ('sizes.json', f'{{"7": [{WIDTH}, {HEIGHT}]}}'),
    ('sizes.json', f'\ufeff{{"7": {{"height": {HEIGHT}, "width": {WIDTH}}}}}'),
  ],
  ids=['hw.tsv', 'json', 'json of objects'],
)
def test_the_sizes_of_images_may_come_from_another_file(tmp_path, name, content):
  rows = vinvl(image_h=None, image_w=None) + [['8', json.dumps({'objects': []})]]
  path, out = write(tmp_path / 'in' / 'predictions.tsv', rows), str(tmp_path / 'out')
  (tmp_path / name).write_text(content, encoding='utf-8')
  sizes = region_conversion.read_sizes(str(tmp_path / name))
  with pytest.raises(ValueError, match="predictions.tsv, image '8': .* --image_sizes=FILE"):
    region_conversion.convert(path, out, sizes)
  assert not (tmp_path / 'out' / 'features.tsv').exists()
  region_conversion.convert(path, out, {**sizes, '8': (1, 1)})
  file = region_files.RegionTsv(tmp_path / 'out' / 'features.tsv')
  np.testing.assert_allclose(file['7'], EXPECTED, rtol=1e-6)
  assert file['8'].shape == (0, 2054)


@pytest.mark.parametrize(
  ('rows', 'message'),
  [
    (vinvl(objects=[{'class': 'x', 'rect': [0, 0, 1, 1], 'conf': 1, 'feature': 'AAAA'}]),
     "image '7': 3 bytes of numbers, expected 8192"),
    (vinvl(objects=[*objects(), {'class': 'x', 'rect': [0, 0, 1, 1], 'conf': 1}]),
     "'feature' is missing"),
    (vinvl(objects=[{**objects()[0], 'rect': [0, 0, 1]}]), 'a rect has other than four numbers'),
    (vinvl(objects=[{**objects()[0], 'rect': [0, 0, 900, 1]}]), 'a box outside the image'),
    (vinvl(objects=[{**objects()[0], 'feature': '*'}]), 'damaged base64'),
    (vinvl(objects=[{**objects()[0], 'class': 3}]), "'class' is 3, expected text"),
    (vinvl(image_w='wide'), "'image_w' is 'wide', expected a number"),
    (vinvl() + [['8', '3']], "image '8': 3; expected a JSON object"),
    (vinvl() + [['8', '{"a": ' * 5000]], 'cannot be read as JSON'),
    (vinvl() * 2, "image '7' comes twice"),
    ([[*BOTTOM_UP[0][:3], 4, *BOTTOM_UP[0][4:]]], '48 bytes of numbers, expected 64'),
    (BOTTOM_UP + [['8', WIDTH]], "image '8': expected detections of bottom-up attention"),
    (BOTTOM_UP + vinvl(), "image '7': detections of VinVL .*; expected detections of bottom-up"),
    ([['7', '[{"class": "dog"}]']], 'tags .* without features; expected'),
    ([['7', 'x']], 'neither detections nor region features; expected'),
    ([], 'neither detections nor region features; expected'),
  ],
  ids=[
    'short feature', 'no feature', 'short rect', 'outside', 'base64', 'class', 'size', 'number',
    'deep', 'twice', 'count', 'cut off', 'mixed', 'tags', 'other', 'empty',
  ],
)  # fmt: skip
def test_damaged_detections_name_the_image(tmp_path, rows, message):
  path = write(tmp_path / 'in' / 'predictions.tsv', rows)
  with pytest.raises(ValueError, match=message) as error:
    region_conversion.convert(path, str(tmp_path / 'out'))
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'out').exists() or not list((tmp_path / 'out').iterdir())


def test_a_file_is_not_converted_in_its_own_folder(tmp_path):
  path = write(tmp_path / 'predictions.tsv', vinvl())
  with pytest.raises(ValueError, match='is the folder of predictions.tsv; choose another one'):
    region_conversion.convert(path, f'{tmp_path}/.')


@pytest.mark.parametrize('value', ['[1]', '{"7": [1]}', '{"7": [1, "2"]}', '{"7": {"width": 3}}'])
def test_wrong_sizes_are_refused(tmp_path, value):
  (tmp_path / 'sizes.json').write_text(value)
  with pytest.raises(ValueError, match='sizes.json'):
    region_conversion.read_sizes(str(tmp_path / 'sizes.json'))


@pytest.mark.parametrize('reader', [region_files.RegionTsv, region_files.CaptionRegionTsv])
@pytest.mark.parametrize('kind', KINDS)
def test_readers_say_what_detections_are(tmp_path, reader, kind):
  file = reader(write(tmp_path / 'features.tsv', KINDS[kind]))
  message = "features.tsv, image '7': detections .*; expected .*; convert them: python -m oscar"
  with pytest.raises(ValueError, match=message):
    _ = file['7']


def test_readers_tell_the_official_kinds_apart(tmp_path):
  caption = region_files.RegionTsv(loaders.DATA / 'coco_caption' / 'train.feature.tsv')
  with pytest.raises(ValueError, match="captioning's region features .*; expected region features"):
    _ = caption[next(iter(caption))]
  columns = region_files.CaptionRegionTsv(loaders.DATA / 'coco_ir' / 'features.tsv')
  with pytest.raises(ValueError, match='region features in columns .*; expected captioning'):
    _ = columns[next(iter(columns))]
  tags = region_files.RegionTsv(loaders.DATA / 'coco_caption' / 'train.label.tsv')
  with pytest.raises(ValueError, match='tags .* without features; expected'):
    _ = tags[next(iter(tags))]


@pytest.mark.parametrize('dtype', [np.float16, np.float64])
@pytest.mark.parametrize('form', ['regions', 'caption'])
def test_other_types_of_numbers_are_named_and_converted(tmp_path, dtype, form):
  rows = features_test.regions(3)
  stored = text(rows.astype(dtype))
  columns = ['7', '3', stored]
  if form == 'caption':
    columns = ['7', json.dumps({'num_boxes': 3, 'features': stored})]
  path = write(tmp_path / 'in' / 'train.feature.tsv', [columns])
  reader = region_files.RegionTsv if form == 'regions' else region_files.CaptionRegionTsv
  name = np.dtype(dtype).name
  message = f"train.feature.tsv, image '7': .* are {name}, 2054 numbers a region; expected float32"
  with pytest.raises(ValueError, match=message):
    _ = reader(path)['7']
  assert region_conversion.convert(path, str(tmp_path / 'out')) == (form, 1)
  found = reader(tmp_path / 'out' / 'train.feature.tsv')['7']
  np.testing.assert_array_equal(found, rows.astype(dtype).astype(np.float32))


def test_float32_features_are_written_as_they_are(tmp_path):
  for name in ('coco_ir/features.tsv', 'coco_caption/train.feature.tsv'):
    region_conversion.convert(str(loaders.DATA / name), str(tmp_path))
    reader = region_files.RegionTsv if 'coco_ir' in name else region_files.CaptionRegionTsv
    expected, found = reader(loaders.DATA / name), reader(tmp_path / name.split('/')[1])
    assert list(found) == list(expected)
    for key in found:
      np.testing.assert_array_equal(found[key], expected[key])


def test_torch_files_become_tsv_files(tmp_path):
  path = loaders.DATA / 'vqa' / 'val_img_frcnn_feats.pt'
  kind, images = region_conversion.convert(str(path), str(tmp_path))
  found = region_files.open_regions(str(tmp_path / 'val_img_frcnn_feats'))
  expected = region_files.RegionTensors(path)
  assert kind == region_conversion.TENSORS and images == len(found) == len(expected)
  for key in found:
    np.testing.assert_array_equal(found[key], expected[key])


def test_kinds_of_rows():
  assert detector_files.kind_of([b'7', b'{"objects": []}']) is None
  assert detector_files.kind_of([b'7', b'{"a": ' * 5000]) is None
  assert detector_files.kind_of([b'7', b'3', features.encode(np.zeros((3, 7)))]) == 'regions'
  assert detector_files.kind_of([b'', b'', b'']) is None


@pytest.mark.parametrize('end', ['\n', '\r\n'])
def test_base64_in_json_may_have_line_breaks(tmp_path, end):
  broken = objects()
  for item, numbers in zip(broken, APPEARANCE, strict=True):
    item['feature'] = base64.encodebytes(numbers.tobytes()).decode().replace('\n', end)
  path, out = write(tmp_path / 'in' / 'p.tsv', vinvl(objects=broken)), tmp_path / 'out'
  region_conversion.convert(path, str(out))
  found = region_files.RegionTsv(out / 'features.tsv', out / 'imageid2idx.json')
  np.testing.assert_allclose(found['7'], EXPECTED, rtol=1e-6)
