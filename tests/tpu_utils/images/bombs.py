"""Small files of every format whose headers say that their picture has 13,000 x 13,000 pixels."""
import io
import struct
import zlib

from PIL import Image

SIDE = 13_000
MESSAGE = r'13,000 x 13,000 pixels, more than the 134,217,728 that are read'


def _small(kind, **options):
  file = io.BytesIO()
  Image.new('RGB', (8, 8), (200, 100, 50)).save(file, kind, **options)
  return file.getvalue()


def _patched(data, at, value):
  return data[:at] + value + data[at + len(value) :]


def jpeg():
  """Returns a JPEG with a patched frame header."""
  data = _small('JPEG')
  return _patched(data, data.index(b'\xff\xc0') + 5, struct.pack('>HH', SIDE, SIDE))


def png():
  """Returns a PNG with a header of its own."""
  data = _small('PNG')
  header = b'IHDR' + struct.pack('>II', SIDE, SIDE) + data[24:29]
  return _patched(data, 12, header + struct.pack('>I', zlib.crc32(header)))


def gif():
  """Returns a GIF whose canvas and first picture are large."""
  data, size = _small('GIF'), struct.pack('<HH', SIDE, SIDE)
  return _patched(_patched(data, 6, size), data.index(b',\0\0\0\0') + 5, size)


def bmp():
  """Returns an RGB BMP with a patched header."""
  return _patched(_small('BMP'), 18, struct.pack('<ii', SIDE, SIDE))


def webp():
  """Returns a lossless WebP with a patched header."""
  data = _small('WebP', lossless=True)
  bits = (int.from_bytes(data[21:25], 'little') & ~0xFFFFFFF) | (SIDE - 1) | (SIDE - 1) << 14
  return _patched(data, 21, struct.pack('<I', bits))


def tiff(tags=(256, 257)):
  """Returns a TIFF in which these tags, width and height, are large."""
  data = _small('TIFF')
  (start,) = struct.unpack_from('<I', data, 4)
  for tag in tags:
    entry = data.index(struct.pack('<H', tag), start)
    data = _patched(data, entry + 2, struct.pack('<HII', 4, 1, SIDE))
  return data


READ_BY_TENSORFLOW = {'JPEG': jpeg(), 'PNG': png(), 'GIF': gif(), 'BMP': bmp()}
ALL = {**READ_BY_TENSORFLOW, 'WebP': webp(), 'TIFF': tiff()}
