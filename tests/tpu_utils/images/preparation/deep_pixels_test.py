"""TIFFs of more than 8 bits: 16 as PNG's, others refused or scaled as the user chose."""
import io
import struct

import numpy as np
import pytest
import tensorflow as tf

from tpu_utils.images.preparation.encoding import UnusableImageError, official

SAMPLE_FORMATS = {'u': 1, 'i': 2, 'f': 3}


def tiff(values, photometric=1, orientation=1, big_endian=False):
  """Returns an uncompressed TIFF of grey values [height, width], in their dtype."""
  order = '>' if big_endian else '<'
  values = np.asarray(values)
  data = values.astype(values.dtype.newbyteorder(order)).tobytes()
  entries = [
    (256, 4, values.shape[1]), (257, 4, values.shape[0]), (258, 3, 8 * values.itemsize),
    (259, 3, 1), (262, 3, photometric), (273, 4, 8), (274, 3, orientation), (277, 3, 1),
    (278, 4, values.shape[0]), (279, 4, len(data)), (339, 3, SAMPLE_FORMATS[values.dtype.kind]),
  ]  # fmt: skip
  file = (b'MM\0*' if big_endian else b'II*\0') + struct.pack(f'{order}I', 8 + len(data)) + data
  file += struct.pack(f'{order}H', len(entries))
  for tag, kind, value in entries:
    number = struct.pack(f'{order}{"H" if kind == 3 else "I"}', value).ljust(4, b'\0')
    file += struct.pack(f'{order}HHI', tag, kind, 1) + number
  return file + bytes(4)


def levels(data, *choice):
  """Returns the grey levels of a converted image, [height, width]."""
  encoded_image, *_ = official(data, False, *choice)
  pixels = tf.io.decode_jpeg(encoded_image, channels=3, dct_method='INTEGER_ACCURATE').numpy()
  assert np.ptp(pixels.astype(int), axis=-1).max() <= 2  # Grey.
  return pixels[..., 0].astype(int)


def ramp(low, high, dtype):
  return np.linspace(low, high, 64).reshape(8, 8).astype(dtype)


def png(values):
  return tf.io.encode_png(tf.constant(values)[..., tf.newaxis]).numpy()


@pytest.mark.parametrize('big_endian', [False, True])
def test_sixteen_bits_are_those_of_a_png(big_endian):
  values = ramp(0, 65535, np.uint16)
  expected = tf.io.decode_png(png(values)).numpy()[..., 0].astype(int)
  np.testing.assert_allclose(expected, values >> 8, atol=1)
  np.testing.assert_allclose(levels(tiff(values, big_endian=big_endian)), expected, atol=3)


def test_white_is_zero():
  for values in (ramp(0, 65535, np.uint16), ramp(0, 255, np.uint8)):
    inverted = 255 - levels(tiff(values))
    np.testing.assert_allclose(levels(tiff(values, photometric=0)), inverted, atol=4)


DEEP = {
  'float': ramp(0, 1, np.float32),
  'big float': ramp(-3, 1200, np.float32),
  'unsigned': ramp(0, 2**32 - 1, np.uint32),
  'signed': ramp(-(2**31), 2**31 - 1, np.int32),
  'small signed': ramp(-(2**15), 2**15 - 1, np.int16),
  'tiny signed': ramp(-(2**7), 2**7 - 1, np.int8),
}


@pytest.mark.parametrize('name', DEEP)
def test_others_are_refused_unless_the_user_chooses(name):
  values, expected = DEEP[name], ramp(0, 255, np.uint8).astype(int)
  kind = name.split()[-1]
  message = rf'{8 * values.itemsize}-bit {kind} levels.*--deep_pixels=type_range or file_range'
  with pytest.raises(UnusableImageError, match=message):
    official(tiff(values))
  np.testing.assert_allclose(levels(tiff(values), 'file_range'), expected, atol=4)
  if name == 'big float':
    with pytest.raises(UnusableImageError, match='from -3 to 1200, expected 0 to 1 .*file_range'):
      official(tiff(values), deep='type_range')
  else:
    np.testing.assert_allclose(levels(tiff(values), 'type_range'), expected, atol=4)
  assert official(tiff(values), deep='file_range')[3] == (
    f'TIFF of {8 * values.itemsize}-bit {kind} levels (file_range)'
  )


def test_the_ranges_differ():
  values = np.full((8, 8), 0.25, np.float32)
  values[:4] = 0.5
  assert abs(levels(tiff(values), 'type_range')[[0, -1], 0] - [128, 64]).max() <= 2
  assert abs(levels(tiff(values), 'file_range')[[0, -1], 0] - [255, 0]).max() <= 2
  assert levels(tiff(values[:4]), 'file_range').max() <= 2  # One level only.


@pytest.mark.parametrize('choice', ['type_range', 'file_range'])
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_levels_that_are_no_numbers_are_refused(value, choice):
  values = ramp(0, 1, np.float32)
  values[3, 3] = value
  with pytest.raises(UnusableImageError, match='NaN or infinite'):
    official(tiff(values), deep=choice)


def test_planes_that_pillow_reads_wrongly_are_refused():
  tifffile = pytest.importorskip('tifffile')
  file = io.BytesIO()
  planes = np.stack([ramp(0, 65535, np.uint16)] * 3)
  tifffile.imwrite(file, planes, photometric='rgb', planarconfig='separate')
  with pytest.raises(UnusableImageError, match='uncompressed planes of 16 bits'):
    official(file.getvalue())
  file = io.BytesIO()
  tifffile.imwrite(file, np.moveaxis(planes, 0, -1), photometric='rgb')
  np.testing.assert_allclose(levels(file.getvalue()), planes[0] >> 8, atol=3)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_orientation_is_ignored(orientation, dtype):
  values = ramp(0, np.iinfo(dtype).max, dtype)[:5]
  expected = levels(tiff(values))
  np.testing.assert_array_equal(levels(tiff(values, orientation=orientation)), expected)
