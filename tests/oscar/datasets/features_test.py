"""The format of the 2054 numbers: written, read back, and refused when wrong."""

import base64
import pathlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oscar.datasets import features

DATA = pathlib.Path(__file__).parents[2] / 'goldens' / 'oscar' / 'dataset'


def regions(count=2, dim=features.REGION_DIM, seed=0):
  rng = np.random.default_rng(seed)
  corners = np.sort(rng.random([count, 2, 2]), axis=1).reshape(count, 4)
  size = corners[:, 2:] - corners[:, :2]
  appearance = rng.random([count, dim - 6])
  return np.concatenate([appearance, corners, size], axis=1).astype(np.float32)


def test_join_writes_the_geometry_in_the_official_order():
  joined = features.join(np.ones([1, 2048]), [[10, 20, 50, 100]], image_width=200, image_height=400)
  assert joined.shape == (1, features.REGION_DIM) and joined.dtype == np.float32
  np.testing.assert_allclose(joined[0, -6:], [0.05, 0.05, 0.25, 0.25, 0.2, 0.2], rtol=1e-6)
  wide = features.join(np.ones([1, 2048]), [[0, 0, 100, 40]], 200, 400)
  np.testing.assert_allclose(wide[0, -2:], [0.5, 0.1], rtol=1e-6)  # Width, then height.
  np.testing.assert_allclose(features.boxes(wide, 200, 400), [[0, 0, 100, 40]], rtol=1e-6)


def test_official_sample_fits_the_format():
  line = (DATA / 'coco_ir' / 'features.tsv').read_bytes().splitlines()[0]
  key, count, text = line.split(b'\t')
  read = features.decode(text, count, key.decode())
  assert read.shape == (3, 2054)
  assert features.encode(read) == text
  np.testing.assert_allclose(read[:, -2:], read[:, -4:-2] - read[:, -6:-4], atol=1e-6)


@given(count=st.integers(0, 5), dim=st.integers(7, 40), seed=st.integers(0, 9))
def test_round_trip(count, dim, seed):
  rows = regions(count, dim, seed)
  np.testing.assert_array_equal(features.decode(features.encode(rows), count, dim=dim), rows)
  if count:
    read = features.decode(features.encode(rows).decode(), str(count), dim=None)
    np.testing.assert_array_equal(read, rows)


def test_wrong_width_names_both_numbers():
  bare = np.zeros([2, 2048], np.float32)
  with pytest.raises(
    ValueError, match='f.tsv, image 7: regions are 2048 numbers wide, expected 2054'
  ):
    features.check(bare, 'f.tsv, image 7')
  with pytest.raises(ValueError, match='2048 numbers wide, expected 2054'):
    features.decode(features.encode(bare), 2, 'f.tsv')


def test_rows_that_are_cut_off_are_noticed():
  text = features.encode(regions())
  with pytest.raises(ValueError, match='16428 bytes long, expected 16432 bytes'):
    features.decode(base64.b64encode(base64.b64decode(text)[:-4]), 2, 'f.tsv')
  with pytest.raises(ValueError, match='damaged base64'):
    features.decode(text[:-3], 2, 'f.tsv')
  with pytest.raises(ValueError, match='4108 numbers wide, expected 2054'):
    features.decode(text, 1, 'f.tsv')


@pytest.mark.parametrize('dtype', [np.float16, np.float64])
def test_other_types_of_numbers_are_named(dtype):
  def text(rows):
    return base64.b64encode(rows.astype(dtype).tobytes())

  name = np.dtype(dtype).name
  for seed in range(5):
    rows = regions(3, seed=seed)
    with pytest.raises(ValueError, match=f'f.tsv: .* are {name}, 2054 .* expected float32, 2054'):
      features.decode(text(rows), 3, 'f.tsv')
    with pytest.raises(ValueError, match=f'are {name}, 2048 .* with the geometry'):
      features.decode(text(rows[:, :2048]), 3, 'f.tsv')


@pytest.mark.parametrize('count', [1, 2, 4, 8])
def test_a_wrong_number_of_boxes_is_not_taken_for_another_type(count):
  for seed in range(5):
    text = features.encode(regions(4, seed=seed))
    if count == 4:
      assert features.decode(text, count, 'f.tsv').shape == (4, 2054)
      continue
    with pytest.raises(ValueError, match=f'{4 * 2054 // count} numbers wide, expected 2054'):
      features.decode(text, count, 'f.tsv')


def test_the_advice_to_append_geometry_is_for_bare_features():
  for width in (1030, 2060):
    with pytest.raises(ValueError, match=r'expected 2054 \([^)]*\)\.$'):
      features.check(np.zeros((2, width), np.float32), 'f.tsv')
  with pytest.raises(ValueError, match='join appends the geometry to bare features'):
    features.check(np.zeros((2, 2048), np.float32), 'f.tsv')


@given(place=st.integers(0, 200), byte=st.integers(0, 255))
def test_damaged_text_never_passes_unless_it_still_is_a_valid_record(place, byte):
  text = bytearray(features.encode(regions(1, 40)))
  text[place] = byte
  try:
    read = features.decode(bytes(text), 1, 'f.tsv', dim=40)
  except ValueError as error:
    assert str(error).startswith('f.tsv')
  else:
    assert read.shape == (1, 40) and np.isfinite(read).all()


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_named(bad):
  rows = regions()
  rows[1, 5] = bad
  with pytest.raises(ValueError, match='f.tsv: region 1 holds .* at number 5'):
    features.check(rows, 'f.tsv')


def test_boxes_outside_the_image_are_named():
  with pytest.raises(ValueError, match='img 3: region 1 has a box outside the image'):
    features.join(np.zeros([2, 8]), [[0, 0, 5, 5], [0, 0, 12, 5]], 10, 10, 'img 3')
  with pytest.raises(ValueError, match='x2 < x1'):
    features.join(np.zeros([1, 8]), [[6, 0, 5, 5]], 10, 10)
  rows = regions()
  rows[0, -2:] = rows[0, -2:][::-1] + np.float32([0.3, 0.0])
  with pytest.raises(ValueError, match='ends in width, height'):
    features.check(rows)
  features.check(rows, check_boxes=False)


def test_other_mistakes():
  with pytest.raises(ValueError, match='1 boxes, but appearance features of shape'):
    features.join(np.zeros([2, 8]), [[0, 0, 1, 1]], 10, 10)
  with pytest.raises(ValueError, match='0 x 10 pixels'):
    features.join(np.zeros([1, 8]), [[0, 0, 1, 1]], 0, 10)
  with pytest.raises(ValueError, match='float64, expected float32'):
    features.check(regions().astype(np.float64))
  with pytest.raises(ValueError, match=r'shape \(2054,\); expected \(regions, 2054\)'):
    features.check(regions()[0])
  for count in ('many', -1, None):
    with pytest.raises(ValueError, match='not a number of boxes'):
      features.decode(b'', count)


@pytest.mark.parametrize('text', [None, 5])
def test_features_that_are_no_text(text):
  with pytest.raises(ValueError, match=f'f.tsv, image 7: the features are {text}; expected base64'):
    features.decode(text, 1, 'f.tsv, image 7')
