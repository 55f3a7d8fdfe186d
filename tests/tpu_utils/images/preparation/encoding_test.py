"""Tests that images become RGB JPEGs, and that undecodable ones are refused with a cause."""
import io
import struct

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from PIL import Image

from tests.tpu_utils.images import bombs
from tests.tpu_utils.images.animations import ANIMATED
from tests.tpu_utils.images.preparation.published import encoded
from tpu_utils.images.preparation import encoding
from tpu_utils.images.preparation.encoding import UnusableImageError, official


def pixels(data):
  return tf.io.decode_jpeg(data, channels=3, dct_method='INTEGER_ACCURATE').numpy().astype(float)


@pytest.mark.parametrize('mode', ['RGB', 'L'])
def test_jpeg_stays_as_it_is(mode):
  data = encoded(1, mode=mode)
  assert official(data) == (data, 10, 12, None)


@pytest.mark.parametrize(
  'kind, mode',
  [('PNG', 'RGB'), ('PNG', 'RGBA'), ('PNG', 'P'), ('GIF', 'P'), ('BMP', 'RGB'), ('TIFF', 'RGB')],
)
def test_others_are_converted(kind, mode):
  data = encoded(1, kind=kind, mode=mode)
  converted, height, width, what = official(data)
  assert (height, width, what) == (10, 12, kind)
  expected = np.asarray(Image.open(io.BytesIO(data)).convert('RGB'))
  assert abs(pixels(converted) - expected).max() <= 4


def test_webp():
  data = encoded(1, kind='WebP', lossless=True)
  converted, height, width, what = official(data)
  assert (height, width, what) == (10, 12, 'WebP')
  assert abs(pixels(converted) - np.asarray(Image.open(io.BytesIO(data)))).max() <= 4


def test_cmyk_jpeg():
  data = encoded(1, mode='CMYK', quality=100)
  assert int(tf.io.extract_jpeg_shape(data)[2]) == 4
  converted, height, width, what = official(data)
  assert (height, width, what) == (10, 12, 'CMYK JPEG')
  assert int(tf.io.extract_jpeg_shape(converted)[2]) == 3
  # The CMYK file was made from the same pixels, with chroma at half the resolution.
  assert abs(pixels(converted) - pixels(encoded(1, quality=100))).mean() < 4


def test_png_may_be_kept():
  data = encoded(1, kind='PNG')
  assert official(data, keep_png=True) == (data, 10, 12, None)
  assert official(encoded(1, kind='GIF', mode='P'), keep_png=True)[3] == 'GIF'


def test_sixteen_bits():
  data = tf.io.encode_png(tf.fill([4, 4, 3], tf.constant(0x8000, tf.uint16))).numpy()
  assert abs(pixels(official(data)[0]) - 128).max() <= 1


@pytest.mark.parametrize(
  'data, message',
  [
    (b'', 'its 0 bytes are no image of a known format'),
    (b'<html>404</html>', 'its 16 bytes are no image of a known format'),
    (encoded(1)[:-80], 'JPEG that cannot be decoded'),
    (encoded(1, kind='PNG')[:60], 'PNG that cannot be decoded'),
    (encoded(1, kind='TIFF')[:60], 'TIFF that cannot be decoded'),
    (encoded(1, kind='WebP')[:40], 'WebP that cannot be decoded'),
  ],
)
def test_unusable(data, message):
  with pytest.raises(UnusableImageError) as error:
    official(data)
  assert str(error.value).startswith(message) and '\n' not in str(error.value)


@pytest.mark.parametrize('kind', bombs.ALL)
def test_pictures_of_too_many_pixels_are_refused(kind):
  for function in (official, encoding.size):
    with pytest.raises(UnusableImageError, match=f'{kind} that .*it has {bombs.MESSAGE}'):
      function(bombs.ALL[kind])


@pytest.mark.parametrize('kind', ['GIF', 'BMP'])
def test_so_are_those_that_only_pillow_reads(kind):
  data = bombs.ALL[kind]
  if kind == 'GIF':  # A canvas larger than its picture.
    data = data[:6] + b'\xff\xff\xff\xff' + data[10:]
  else:  # Compressed, and above Pillow's own limit.
    data = data[:18] + struct.pack('<ii', 60_000, -60_000) + data[26:30] + b'\3' + data[31:]
  with pytest.raises(UnusableImageError, match=r'6\d,\d+ x 6\d,\d+ pixels, more than'):
    official(data)


@pytest.mark.parametrize('kind', ['PNG', 'GIF', 'WebP', 'TIFF'])
def test_of_several_pictures_the_first_is_taken(kind):
  converted, height, width, what = official(ANIMATED[kind])
  assert (height, width, what) == (10, 12, kind)
  assert abs(pixels(converted) - [255, 0, 0]).max() <= 4


SIZED = {
  **{f'{kind} {mode}': encoded(1, (9, 7), kind=kind, mode=mode) for kind, mode in (
    ('JPEG', 'RGB'), ('JPEG', 'CMYK'), ('PNG', 'P'), ('GIF', 'P'), ('BMP', 'RGB'), ('BMP', 'P'),
    ('WebP', 'RGB'), ('TIFF', 'RGB'),
  )},
  'turned TIFF': encoded(1, (9, 7), kind='TIFF', tiffinfo={274: 6}),
}  # fmt: skip


@pytest.mark.parametrize('name', SIZED)
def test_the_size_is_that_of_the_decoded_picture(name):
  assert encoding.size(SIZED[name]) == (9, 7)
  assert encoding.decode(SIZED[name])[0].shape == (7, 9, 3)


@pytest.mark.parametrize('data', [b'', b'<html>', encoded(1)[:30], b'II*\0' + bytes(40)])
def test_damaged_files_have_no_size(data):
  with pytest.raises(UnusableImageError):
    encoding.size(data)


SEEDS = [
  encoded(2, kind=kind, mode=mode)
  for kind, mode in (('JPEG', 'RGB'), ('PNG', 'RGB'), ('GIF', 'P'), ('BMP', 'RGB'), ('TIFF', 'RGB'))
]


@hypothesis.given(st.sampled_from(SEEDS), st.integers(0, 400), st.binary(max_size=12))
@hypothesis.example(SEEDS[-1], 32, b'\1')  # The header then says 65,548 pixels wide.
def test_damaged_bytes_are_refused_or_decodable(good, place, damage):
  data = good[:place] + damage + good[place + len(damage) :]
  try:
    converted, height, width, _ = official(data)
  except UnusableImageError as e:
    assert '\n' not in str(e)
    return
  assert pixels(converted).shape == (height, width, 3)
  assert np.isfinite(pixels(converted)).all()
