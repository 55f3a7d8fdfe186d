"""Sizes and numbers of pictures from headers, also from files cut off anywhere."""
import struct

import pytest

from tests.tpu_utils.images import bombs
from tests.tpu_utils.images.animations import ANIMATED, several
from tests.tpu_utils.images.preparation.published import encoded
from tpu_utils.images import headers


@pytest.mark.parametrize('name', ANIMATED)
def test_several_pictures(name):
  assert headers.has_several_pictures(ANIMATED[name])


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'GIF', 'BMP', 'WebP', 'TIFF'])
def test_one_picture(kind):
  assert not headers.has_several_pictures(encoded(1, kind=kind))
  assert not headers.has_several_pictures(several(kind, 1) if kind in ANIMATED else b'')


@pytest.mark.parametrize('name', ANIMATED)
def test_a_file_cut_off_anywhere_has_a_size_or_none(name):
  data = ANIMATED[name]
  for end in [*range(64), *range(64, len(data), 7)]:
    headers.has_several_pictures(data[:end])
    width, height = headers.size(data[:end])
    assert width in (0, 12) and height in (0, 10)


@pytest.mark.parametrize('kind', ['GIF', 'BMP', 'WebP', 'TIFF'])
def test_sizes(kind):
  assert headers.size(encoded(1, (12, 10), kind=kind)) == (12, 10)
  assert headers.too_large(*headers.size(bombs.ALL[kind])).startswith('it has 13,000 x 13,000')


@pytest.mark.parametrize('options', [{'lossless': True}, {'exif': b'Exif\0\0'}])
def test_kinds_of_webp(options):
  assert headers.size(encoded(1, (12, 10), kind='WebP', **options)) == (12, 10)


def test_tiles_count():
  data = encoded(1, kind='TIFF')
  (start,) = struct.unpack_from('<I', data, 4)
  (count,) = struct.unpack_from('<H', data, start)
  tile = struct.pack('<HHII', 322, 4, 1, 60_000) + struct.pack('<HHII', 323, 4, 1, 60_000)
  entries = data[start + 2 : start + 2 + 12 * count] + tile
  data = data[:start] + struct.pack('<H', count + 2) + entries + bytes(4)
  assert headers.size(data) == (60_000, 60_000)


def test_large_photographs_fit():
  assert not headers.too_large(20_000, 5_000)  # A panorama of 100 megapixels.
  assert not headers.too_large(8_192, 16_384)
  assert headers.too_large(8_192, 16_385) and headers.too_large(13_000, 13_000)
