"""Decoding of image files, by one rule for training, evaluation, predictions and exports.

TensorFlow decodes some files to other pixels than every other program (it takes the palette indices
of a BMP for grey values) or only in some of its functions (WebP). Files are read if their pixels
are certain: JPEG, PNG, GIF with a first picture that fills the canvas, and BMP that is uncompressed
with 24 or 32 bits, or with 8 bits and a grey palette. Others are refused;
`tpu_utils.images.prepare` converts them (`preparation/encoding.py`, which also reads files for
OSCAR's regions).

The same in all of them: of a file with several pictures (animations, pages) the first is read;
pixels are taken as they lie in the file, whatever orientation EXIF gives; pictures of more than
`headers.MAX_PIXELS` pixels are refused before memory is allocated.
"""
import tensorflow as tf

from tpu_utils.images import branches, headers

READABLE = 'JPEG, PNG, GIF or BMP'  # For messages.
REMEDY = 'convert with python -m tpu_utils.images.prepare'

# First bytes of other formats, with the offset at which to look, for messages.
_OTHERS = {'WebP': (8, b'WEBP'), 'TIFF': (0, b'II*\0'), 'big-endian TIFF': (0, b'MM\0*')}
_BMP_HEADER = 54  # Bytes of a BMP file before its palette, for the usual header of 40 bytes.
_GREY_PALETTE = b''.join(bytes((i, i, i, 0)) for i in range(256))
# Zeros after a GIF's bytes, at which a walk through its blocks stops, wherever they lead.
_GIF_PADDING = 2048

# Executed operation by operation, a decoder would take longer for its checks than for the pixels.
_compiled = tf.function(
  input_signature=[tf.TensorSpec([], tf.string)], autograph=False
)


def decode(image_bytes: bytes | tf.Tensor) -> tf.Tensor:
  """Decodes the first picture of a file to uint8 [height, width, 3].

  Args:
    image_bytes: string scalar; JPEG, PNG, BMP or GIF. Grey images become RGB.

  Raises:
    tf.errors.InvalidArgumentError: the file is damaged or too large, or is none of those in the
      module docstring.
  """
  picture = _first_alone(tf.convert_to_tensor(image_bytes))
  return tf.io.decode_image(picture, channels=3, expand_animations=False)


@_compiled
def _first_alone(image_bytes):
  """Returns a file without further pictures, all of which TensorFlow would decode in a GIF."""
  width, height, end = tf.unstack(first_picture(image_bytes))
  is_certain = tf.debugging.Assert(width > 0, [
    f'Not an image that is read here ({READABLE}; BMP only in RGB or grey): {REMEDY}, or save it '
    'as JPEG or PNG.'
  ])  # fmt: skip
  with tf.control_dependencies([is_certain, assert_fits(width, height)]):
    picture = tf.identity(image_bytes)
  is_cut = end < tf.cast(tf.strings.length(picture), tf.int64)
  first = tf.strings.substr(picture, 0, tf.cast(end, tf.int32)) + b';'  # The mark of a GIF's end.
  return tf.where(is_cut, first, picture)


def assert_fits(width: tf.Tensor, height: tf.Tensor) -> tf.Operation:
  """Fails for more than `headers.MAX_PIXELS` pixels; in a graph, returns the operation."""
  fits = tf.cast(width, tf.int64) * tf.cast(height, tf.int64) <= headers.MAX_PIXELS
  return tf.debugging.Assert(fits, [
    'The picture has', width, 'x', height, f'pixels, more than the {headers.MAX_PIXELS:,} that '
    'are read; scale it down.',
  ])  # fmt: skip


@_compiled
def first_picture(image_bytes: tf.Tensor) -> tf.Tensor:
  """Finds the first picture of a file with certain pixels.

  Args:
    image_bytes: string scalar.

  Returns:
    int64 [3]: width and height in pixels, and the number of bytes up to the picture's end; for
    formats other than GIF that is the whole file. Width 0 for a file that is not read.

  Raises:
    tf.errors.InvalidArgumentError: it begins like a JPEG and is none.
  """
  # In the order of the functions below; other files get number 0.
  kinds = [
    _begins(image_bytes, b'\xff\xd8\xff'),
    _begins(image_bytes, b'\x89PNG\r\n\x1a\n'),
    _begins(image_bytes, b'GIF8'),
    _is_plain_bmp(image_bytes),
  ]
  number = tf.reduce_sum(tf.cast(kinds, tf.int32) * tf.range(1, len(kinds) + 1))
  return branches.switch_case(number, [_none, _jpeg, _png, _gif, _bmp], [image_bytes])


def flaw(image_bytes: bytes | tf.Tensor) -> str:
  """Returns why a file that `decode` refuses is not read, with the remedy, for messages."""
  data = tf.convert_to_tensor(image_bytes).numpy()
  try:
    width, height, end = first_picture(tf.constant(data)).numpy().tolist()
  except tf.errors.InvalidArgumentError:
    width = height = end = 1  # Of a readable format, but damaged.
  if headers.too_large(width, height):
    return headers.too_large(width, height)
  kinds = (
    kind for kind, (at, magic) in _OTHERS.items() if data[at : at + len(magic)] == magic
  )
  kind = {
    b'BM': 'BMP (with a palette, compression or an unusual header)',
    b'GI': end and 'GIF (with a first picture smaller than its canvas)',
  }.get(data[:2])
  kind = next(kinds, kind)
  if not width and kind:
    return f'it is a {kind} file, which is not read here; {REMEDY}'
  return (
    f'its {len(data):,} bytes are no image that can be decoded; expected {READABLE}. Replace it, '
    f'or {REMEDY}'
  )


def _begins(image_bytes, signature):
  return tf.equal(tf.strings.substr(image_bytes, 0, len(signature)), signature)


def _equal(*pairs):
  """Returns whether values are equal in pairs; graphs of TensorFlow 1 know no == of tensors."""
  equal = [tf.equal(a, b) for a, b in zip(pairs[::2], pairs[1::2], strict=True)]
  return tf.reduce_all(equal)


def _none(image_bytes):
  del image_bytes
  return tf.zeros([3], tf.int64)


def _whole(width, height, image_bytes):
  size = [tf.cast(width, tf.int64), tf.cast(height, tf.int64)]
  return tf.stack([*size, tf.cast(tf.strings.length(image_bytes), tf.int64)])


def _jpeg(image_bytes):
  height, width, _ = tf.unstack(tf.io.extract_jpeg_shape(image_bytes))
  return _whole(width, height, image_bytes)


def _png(image_bytes):
  head = tf.strings.substr(image_bytes + bytes(24), 16, 8)
  size = tf.io.decode_raw(head, tf.int32, little_endian=False)
  return _whole(size[0], size[1], image_bytes)


def _bmp(image_bytes):
  size = tf.io.decode_raw(tf.strings.substr(image_bytes, 18, 8), tf.int32)
  return _whole(size[0], tf.abs(size[1]), image_bytes)  # The rows of a negative height go down.


def _is_plain_bmp(image_bytes):
  size = _BMP_HEADER + len(_GREY_PALETTE)
  head = tf.strings.substr(image_bytes, 0, size) + bytes(size)  # Padded for short files.
  # Of the header: its size, width, height, planes and bits a pixel, compression.
  header = tf.io.decode_raw(tf.strings.substr(head, 14, 20), tf.int32)
  one_plane_of = {bits: 1 + (bits << 16) for bits in (8, 24, 32)}
  is_colour = tf.reduce_any(tf.equal(header[3], [one_plane_of[24], one_plane_of[32]]))
  palette = tf.strings.substr(head, _BMP_HEADER, len(_GREY_PALETTE))
  is_grey = _equal(header[0], 40, header[3], one_plane_of[8], palette, _GREY_PALETTE)
  is_plain = (header[0] >= 40) & _equal(header[4], 0)
  return _begins(image_bytes, b'BM') & is_plain & (is_colour | is_grey)


def _gif(image_bytes):
  """Finds the first picture of a GIF by a walk through its blocks."""
  data = tf.io.decode_raw(image_bytes + bytes(_GIF_PADDING), tf.uint8)
  size = tf.strings.length(image_bytes)

  def number(at):
    return tf.cast(data[at], tf.int32)

  def two_bytes(at):
    return number(at) + 256 * number(at + 1)

  def palette_bytes(flags):
    return tf.where(flags >= 128, tf.bitwise.left_shift(6, flags % 8), 0)

  def after_data(start):
    """Returns the offset after a sequence of blocks, each after a byte with its size."""
    (end,) = tf.while_loop(lambda at: data[at] > 0, lambda at: [at + 1 + number(at)], [start])
    return end + 1

  (image,) = tf.while_loop(
    lambda at: tf.equal(data[at], 0x21) & (at < size),  # Extensions, such as comments.
    lambda at: [after_data(at + 2)],
    [13 + palette_bytes(number(10))],
  )
  image = tf.minimum(image, size)
  left, top, width, height = (two_bytes(image + 1 + 2 * i) for i in range(4))
  end = after_data(image + 11 + palette_bytes(number(image + 9)))
  fills = _equal(left, 0, top, 0, width, two_bytes(6), height, two_bytes(8))
  found = tf.cast([width * tf.cast(fills, tf.int32), height, end], tf.int64)
  return tf.where(tf.equal(data[image], 0x2C) & (end <= size), found, _none(image_bytes))
