"""The format, size and number of pictures of an image file, read from its headers alone.

Works on bytes without decoding a pixel, so that a file that would exhaust memory is refused first.
"""
import struct
from collections.abc import Callable, Iterator

# Pictures of more pixels are read nowhere. They would take over 0.4 GB as RGB, and have over 2,675
# times the pixels of a model's input of 224 x 224. A panorama of 100 megapixels fits.
MAX_PIXELS = 2**27

_SIGNATURES = {
  b'\xff\xd8\xff': 'JPEG',
  b'\x89PNG\r\n\x1a\n': 'PNG',
  b'GIF8': 'GIF',
  b'BM': 'BMP',
  b'II*\0': 'TIFF',
  b'MM\0*': 'TIFF',
}
# Tags of a TIFF.
_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 322, 323
_TIFF_TYPES = {1: 'B', 3: 'H', 4: 'I'}
_GIF_IMAGE, _GIF_EXTENSION = 0x2C, 0x21


def kind_of(data: bytes) -> str | None:
  """Recognises the format of an image file by its first bytes; returns None if it is unknown."""
  if data[:4] == b'RIFF' and data[8:12] == b'WEBP':
    return 'WebP'
  kinds = (kind for signature, kind in _SIGNATURES.items() if data.startswith(signature))
  return next(kinds, None)


def too_large(width: int, height: int) -> str:
  """Returns why an image of a size in pixels is not read, with the remedy; '' if it is read."""
  if width * height <= MAX_PIXELS:
    return ''
  return (
    f'it has {width:,} x {height:,} pixels, more than the {MAX_PIXELS:,} that are read; scale it '
    'down'
  )


def size(data: bytes) -> tuple[int, int]:
  """Returns (width, height) in pixels that a GIF, BMP, WebP or TIFF file says it has.

  Of a TIFF, that of its tiles if they are larger than the first page, because decoders allocate
  whole tiles. (0, 0) for other formats and cut-off headers.
  """
  readers = {'GIF': _gif_size, 'BMP': _bmp_size, 'WebP': _webp_size, 'TIFF': _tiff_size}
  reader = readers.get(kind_of(data) or '')
  return reader(data) if reader and len(data) >= 30 else (0, 0)


def _gif_size(data):
  return struct.unpack_from('<HH', data, 6)


def _bmp_size(data):
  is_short = int.from_bytes(data[14:18], 'little') == 12  # The header of OS/2.
  width, height = struct.unpack_from('<HH' if is_short else '<ii', data, 18)
  return abs(width), abs(height)


def _webp_size(data):
  kind, head = data[12:16], data[20:30]
  if kind == b'VP8X':
    return 1 + int.from_bytes(head[4:7], 'little'), 1 + int.from_bytes(head[7:10], 'little')
  if kind == b'VP8L':
    bits = int.from_bytes(head[1:5], 'little')
    return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
  width, height = struct.unpack_from('<HH', head, 6)
  return width & 0x3FFF, height & 0x3FFF


def _tiff_size(data):
  tags, _ = _tiff_page(data)
  page = tags.get(_WIDTH, 0), tags.get(_HEIGHT, 0)
  tile = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_HEIGHT, 0)
  return max(page, tile, key=lambda size: size[0] * size[1])


def has_several_pictures(data: bytes) -> bool:
  """Returns whether a file holds more pictures than its first: an animation, or pages of a TIFF.

  False for a JPEG, which may have a preview or a depth map after its picture.
  """
  checks: dict[str | None, Callable[[bytes], bool]] = {
    'PNG': _is_animated_png,
    'GIF': _is_animated_gif,
    'WebP': _is_animated_webp,
    'TIFF': lambda data: _tiff_page(data)[1] != 0,
  }
  check = checks.get(kind_of(data))
  return check is not None and check(data)


def _is_animated_png(data):
  for kind, at, _ in _chunks(data, 8, '>I4s', lambda size, kind: (kind, size, 12 + size)):
    if kind == b'acTL':
      return int.from_bytes(data[at : at + 4], 'big') > 1
    if kind == b'IDAT':
      return False
  return False


def _is_animated_webp(data):
  chunks = _chunks(data, 12, '<4sI', lambda kind, size: (kind, size, 8 + size + size % 2))
  return sum(kind == b'ANMF' for kind, *_ in chunks) > 1


def _chunks(data, start, layout, read) -> Iterator[tuple[bytes, int, int]]:
  """Yields (kind, offset of the contents, their size) of the chunks of a PNG or WebP file."""
  while start + 8 <= len(data):
    kind, size, step = read(*struct.unpack_from(layout, data, start))
    yield kind, start + 8, size
    start += step


def _is_animated_gif(data):
  if len(data) < 13:
    return False
  start, images = 13 + _gif_palette_bytes(data[10]), 0
  while start < len(data) and images < 2:
    if data[start] == _GIF_IMAGE and start + 9 < len(data):
      images += 1
      start = _after_gif_data(data, start + 11 + _gif_palette_bytes(data[start + 9]))
    elif data[start] == _GIF_EXTENSION:
      start = _after_gif_data(data, start + 2)
    else:
      break
  return images > 1


def _gif_palette_bytes(flags):
  return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_gif_data(data, start):
  """Returns the offset after a sequence of blocks, each after a byte with its size."""
  while start < len(data) and data[start]:
    start += 1 + data[start]
  return start + 1


def _tiff_page(data):
  """Returns ({tag: number} of the first page, offset of the next page or 0)."""
  order = '<' if data[:2] == b'II' else '>'
  tags = {}
  try:
    (page,) = struct.unpack_from(order + 'I', data, 4)
    (count,) = struct.unpack_from(order + 'H', data, page)
    for at in range(page + 2, page + 2 + 12 * count, 12):
      tag, kind, _ = struct.unpack_from(order + 'HHI', data, at)
      if kind in _TIFF_TYPES:
        (value,) = struct.unpack_from(order + _TIFF_TYPES[kind], data, at + 8)
        tags[tag] = max(value, tags.get(tag, 0))
    return tags, struct.unpack_from(order + 'I', data, page + 2 + 12 * count)[0]
  except struct.error:
    return tags, 0
