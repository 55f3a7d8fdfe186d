"""Decoding of image files, by one rule for training, evaluation, predictions and exports.

TensorFlow decodes some files to other pixels than every other program (it takes the palette indices
of a BMP for grey values) or only in some of its functions (WebP). Files are read if their pixels
are certain: JPEG, PNG, GIF (the first frame), and BMP that is uncompressed with 24 or 32 bits, or
with 8 bits and a grey palette. Others are refused; `tpu_utils.images.prepare` converts them.
"""
import tensorflow as tf

READABLE = 'JPEG, PNG, GIF or BMP'  # For messages.
REMEDY = 'convert with python -m tpu_utils.images.prepare'

# First bytes of the formats whose files are all readable.
_SIGNATURES = (b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n', b'GIF8')
# First bytes of other formats, with the offset at which to look, for messages.
_OTHERS = {'WebP': (8, b'WEBP'), 'TIFF': (0, b'II*\0'), 'big-endian TIFF': (0, b'MM\0*')}
_BMP_HEADER = 54  # Bytes of a BMP file before its palette, for the usual header of 40 bytes.
_GREY_PALETTE = b''.join(bytes((i, i, i, 0)) for i in range(256))


def decode(image_bytes: bytes | tf.Tensor) -> tf.Tensor:
  """Decodes a whole image to uint8 [height, width, 3].

  Args:
    image_bytes: string scalar; JPEG, PNG, BMP or GIF (its first frame). Grey images become RGB.

  Raises:
    tf.errors.InvalidArgumentError: the file is damaged, or is none of those in the module
      docstring.
  """
  image_bytes = tf.convert_to_tensor(image_bytes)
  is_certain = tf.debugging.Assert(is_readable(image_bytes), [
    f'Not an image that is read here ({READABLE}; BMP only in RGB or grey): {REMEDY}, or save it '
    'as JPEG or PNG.'
  ])  # fmt: skip
  # Executed eagerly, the assertion returns None.
  with tf.control_dependencies([] if is_certain is None else [is_certain]):
    return tf.io.decode_image(tf.identity(image_bytes), channels=3, expand_animations=False)


def is_readable(image_bytes: tf.Tensor) -> tf.Tensor:
  """Returns whether a file has a format with certain pixels: bool scalar, of a string scalar."""
  by_signature = [_begins(image_bytes, signature) for signature in _SIGNATURES]
  return tf.reduce_any([*by_signature, _is_plain_bmp(image_bytes)])


def flaw(image_bytes: bytes | tf.Tensor) -> str:
  """Returns why a file that `decode` refuses is not read, with the remedy, for messages."""
  data = tf.convert_to_tensor(image_bytes).numpy()
  is_other = not bool(is_readable(tf.constant(data)))
  kinds = (
    kind for kind, (at, magic) in _OTHERS.items() if data[at : at + len(magic)] == magic
  )
  kind = 'BMP (with a palette, compression or an unusual header)' if data[:2] == b'BM' else ''
  kind = next(kinds, kind)
  if is_other and kind:
    return f'it is a {kind} file, which is not read here; {REMEDY}'
  return (
    f'its {len(data):,} bytes are no image that can be decoded; expected {READABLE}. Replace it, '
    f'or {REMEDY}'
  )


def _begins(image_bytes, signature):
  return tf.equal(tf.strings.substr(image_bytes, 0, len(signature)), signature)


def _is_plain_bmp(image_bytes):
  size = _BMP_HEADER + len(_GREY_PALETTE)
  head = tf.strings.substr(image_bytes, 0, size) + bytes(size)  # Padded for short files.
  # Of the header: its size, width, height, planes and bits a pixel, compression.
  header = tf.io.decode_raw(tf.strings.substr(head, 14, 20), tf.int32)
  one_plane_of = {bits: 1 + (bits << 16) for bits in (8, 24, 32)}
  is_colour = tf.reduce_any(tf.equal(header[3], [one_plane_of[24], one_plane_of[32]]))
  palette = tf.strings.substr(head, _BMP_HEADER, len(_GREY_PALETTE))
  is_grey = (header[0] == 40) & (header[3] == one_plane_of[8]) & (palette == _GREY_PALETTE)
  return (
    _begins(image_bytes, b'BM') & (header[0] >= 40) & (header[4] == 0) & (is_colour | is_grey)
  )
