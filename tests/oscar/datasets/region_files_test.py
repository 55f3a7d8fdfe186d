"""Region features from each file format: equal numbers, little memory, errors name the image."""

import json
import pathlib
import shutil
import tracemalloc

import numpy as np
import pytest

from oscar.datasets import features, region_files, tsv
from tests.oscar.datasets import features_test

DATA = pathlib.Path(__file__).parents[2] / 'goldens' / 'oscar' / 'dataset'


def test_every_file_format_gives_equal_regions():
  retrieval = region_files.RegionTsv(
    DATA / 'coco_ir/features.tsv', DATA / 'coco_ir/imageid2idx.json'
  )
  captions = region_files.CaptionRegionTsv(DATA / 'coco_caption' / 'train.feature.tsv')
  tensors = region_files.RegionTensors(DATA / 'gqa' / 'gqa_img_frcnn_feats.pt')
  assert len(retrieval) == 8 and list(retrieval)[:2] == ['398288', '134026']
  for other in (captions, tensors):
    common = set(retrieval) & set(other)
    assert len(common) >= 4
    for key in common:
      np.testing.assert_array_equal(retrieval[key], other[key])


def test_vqa_tsv_equals_its_pt():
  stem = str(DATA / 'vqa' / 'val_img_frcnn_feats')
  table = region_files.RegionTsv(stem + '.tsv', offsets=stem + '_offset_map.json')
  tensors = region_files.RegionTensors(stem + '.pt')
  assert list(table) == list(tensors)
  for key in table:
    np.testing.assert_array_equal(table[key], tensors[key])


def test_a_tsv_file_has_priority_over_a_torch_file(tmp_path):
  """With the official map of offsets, with a .lineidx, and with neither."""
  stem = DATA / 'vqa' / 'val_img_frcnn_feats'
  expected = region_files.RegionTensors(f'{stem}.pt')
  assert isinstance(region_files.open_regions(str(stem)), region_files.RegionTsv)
  copied = tmp_path / stem.name
  shutil.copy(f'{stem}.tsv', f'{copied}.tsv')
  for prepare in (lambda: None, lambda: tsv.write_lineidx(f'{copied}.tsv')):
    prepare()
    found = region_files.open_regions(str(copied))
    assert list(found) == list(expected)
    for key in found:
      np.testing.assert_array_equal(found[key], expected[key])
  shutil.copy(f'{stem}.pt', tmp_path / 'other.pt')
  assert isinstance(region_files.open_regions(str(tmp_path / 'other')), region_files.RegionTensors)
  with pytest.raises(FileNotFoundError, match='none.pt does not exist'):
    region_files.open_regions(str(tmp_path / 'none'))


def test_an_unknown_image_raises():
  tensors = region_files.RegionTensors(DATA / 'gqa' / 'gqa_img_frcnn_feats.pt')
  with pytest.raises(
    region_files.UnknownImageError, match="feats.pt has no features of image '1'"
  ) as e:
    _ = tensors['1']
  assert isinstance(e.value, ValueError) and '1' not in tensors
  assert tensors.get('1') is None


def write(path, rows, form='tsv'):
  with tsv.TsvWriter(path) as writer:
    for key, regions in rows.items():
      text = features.encode(regions)
      if form == 'tsv':
        writer.write(key, len(regions), text)
      else:
        writer.write(key, json.dumps({'num_boxes': len(regions), 'features': text.decode()}))
  return region_files.RegionTsv(path) if form == 'tsv' else region_files.CaptionRegionTsv(path)


@pytest.mark.parametrize('form', ['tsv', 'caption'])
def test_bad_features_name_file_and_key(tmp_path, form):
  good, nan = features_test.regions(), features_test.regions()
  nan[1, 3] = np.nan
  outside = features_test.regions()
  outside[0, -4] = 1.5
  narrow = features_test.regions()[:, :2048]
  file = write(
    tmp_path / 'f.tsv', {'good': good, 'nan': nan, 'outside': outside, 'narrow': narrow}, form
  )
  np.testing.assert_array_equal(file['good'], good)
  for key, message in (
    ('nan', 'region 1 holds nan'),
    ('outside', 'outside the image'),
    ('narrow', '2048 numbers wide, expected 2054'),
  ):
    with pytest.raises(ValueError, match=f"f.tsv, image '{key}'.*{message}"):
      _ = file[key]


def test_damaged_rows_name_file_and_key(tmp_path):
  shutil.copy(DATA / 'coco_ir' / 'features.tsv', tmp_path / 'f.tsv')
  data = bytearray((tmp_path / 'f.tsv').read_bytes())
  data[500:503] = b'***'
  (tmp_path / 'f.tsv').write_bytes(data)
  with pytest.raises(ValueError, match="f.tsv, image '398288': the features are damaged base64"):
    _ = region_files.RegionTsv(tmp_path / 'f.tsv')['398288']
  (tmp_path / 'f.tsv').write_bytes(data[:-1000])
  with pytest.raises(
    ValueError, match=r"f.tsv, image '407809': the features are (damaged|\d+ bytes)"
  ):
    _ = region_files.RegionTsv(tmp_path / 'f.tsv')['407809']
  (tmp_path / 'f.tsv').write_bytes(b'key\t3\n')
  with pytest.raises(ValueError, match="f.tsv, image 'key': 2 columns"):
    _ = region_files.RegionTsv(tmp_path / 'f.tsv')['key']


def test_an_index_of_another_file_raises(tmp_path):
  write(tmp_path / 'f.tsv', {'a': features_test.regions(), 'b': features_test.regions()})
  (tmp_path / 'index.json').write_text(json.dumps({'a': 1, 'b': 0}))
  with pytest.raises(ValueError, match="f.tsv row 1 holds image 'b', but its index says 'a'"):
    _ = region_files.RegionTsv(tmp_path / 'f.tsv', tmp_path / 'index.json')['a']
  (tmp_path / 'index.json').write_text(json.dumps({'a': '1'}))
  with pytest.raises(ValueError, match='index.json: expected JSON {key: row'):
    region_files.RegionTsv(tmp_path / 'f.tsv', tmp_path / 'index.json')


def test_a_repeated_key_raises(tmp_path):
  with tsv.TsvWriter(tmp_path / 'f.tsv') as writer:
    writer.write('a', 0, '')
    writer.write('a', 0, '')
  with pytest.raises(ValueError, match="f.tsv row 1: key 'a' occurs again; row 0"):
    region_files.RegionTsv(tmp_path / 'f.tsv')


def test_memory_stays_small(tmp_path):
  """Reads 40 MB of features with memory for a few images."""
  regions = features_test.regions(50)
  file = write(tmp_path / 'f.tsv', {str(i): regions for i in range(75)})
  assert (tmp_path / 'f.tsv').stat().st_size > 40e6
  tracemalloc.start()
  file = region_files.RegionTsv(tmp_path / 'f.tsv')
  assert sum(len(file[key]) for key in file) == 75 * 50
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < 8e6
