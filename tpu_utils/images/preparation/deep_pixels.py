"""Conversion of grey levels of more than 8 bits to 8 bits.

Unsigned levels of up to 16 bits keep their upper 8 bits, as TensorFlow keeps those of a 16-bit PNG.
For 32 bits, floats and signed numbers no rule is right for every file: the caller chooses.
"""
from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
  from PIL import Image

REFUSE = 'refuse'
CHOICES = (REFUSE, 'type_range', 'file_range')
_BLOCK = 2**20  # Levels to convert at a time.

# TIFF tags.
_BITS, _COMPRESSION, _PHOTOMETRIC, _PLANES, _SAMPLE_FORMAT = 258, 259, 262, 284, 339
_SIGNED, _FLOAT = 2, 3  # Values of the last.


@dataclasses.dataclass(frozen=True)
class Levels:
  """Grey levels of an image.

  Attributes:
    values: [height, width], of any number type.
    kind: 'unsigned', 'signed' or 'float'.
    bits: number of bits of a level.
    white_is_zero: whether the least level is white.
  """

  values: np.ndarray
  kind: str
  bits: int
  white_is_zero: bool

  def to_uint8(self, choice: str) -> tuple[np.ndarray, str]:
    """Converts the levels to uint8 [height, width, 3].

    Args:
      choice: one of CHOICES. 'type_range' maps the range of the number type to 0..255, for floats
        0 to 1; 'file_range' that from the least to the greatest level of the file.

    Returns:
      (pixels, remark for the log such as ' of 32-bit float levels (file_range)').

    Raises:
      ValueError: the choice is 'refuse', or the levels are not finite or beyond the range.
    """
    name = f'{self.bits}-bit {self.kind} levels'
    if self.kind == 'unsigned' and self.bits <= 16:
      choice = 'upper 8 bits'
    elif choice == REFUSE:
      raise ValueError(
        f'{name}, which 8 bits cannot hold; choose how to scale them with '
        '--deep_pixels=type_range or file_range, or convert the file'
      )
    if not np.isfinite(self.values).all():
      raise ValueError(f'{name} that are NaN or infinite; convert the file')
    least, greatest = float(self.values.min()), float(self.values.max())
    low, high = self._type_range()
    if choice == 'file_range':
      low, high = least, greatest if greatest > least else least + 1
    if self.kind == 'float' and (least < low or greatest > high):
      raise ValueError(
        f'{name} from {least:g} to {greatest:g}, expected {low:g} to {high:g} for '
        '--deep_pixels=type_range; choose file_range, or convert the file'
      )
    grey = np.empty(self.values.shape, np.uint8)
    rows = max(_BLOCK // max(self.values.shape[1], 1), 1)
    for start in range(0, len(grey), rows):  # In blocks: 64 bits a number take much memory.
      values = self.values[start : start + rows].astype(np.float64)
      grey[start : start + rows] = np.minimum((values - low) / (high - low) * 256, 255)
    if self.white_is_zero:
      grey = 255 - grey
    return np.repeat(grey[..., np.newaxis], 3, axis=-1), f' of {name} ({choice})'

  def _type_range(self):
    if self.kind == 'float':
      return 0.0, 1.0
    low = -(2.0 ** (self.bits - 1)) if self.kind == 'signed' else 0.0
    return low, low + 2.0**self.bits


def levels_of(image: Image.Image) -> Levels | None:
  """Returns the levels of a TIFF that Pillow has loaded; None if it has converted them rightly.

  Raises:
    ValueError: Pillow reads such files wrongly.
  """
  tags = image.tag_v2  # type: ignore[attr-defined]
  sample_format = tags.get(_SAMPLE_FORMAT, (1,))[0]
  is_deep = image.mode.startswith('I') or image.mode == 'F'
  bits = tags.get(_BITS, (8,))[0]
  if bits > 8 and tags.get(_PLANES) == 2 and tags.get(_COMPRESSION, 1) == 1 and not is_deep:
    raise ValueError(f'uncompressed planes of {bits} bits, one for each colour; convert the file')
  if not is_deep and not (image.mode == 'L' and sample_format == _SIGNED):
    return None
  kind = {_SIGNED: 'signed', _FLOAT: 'float'}.get(sample_format, 'unsigned')
  values = np.asarray(image)
  # Pillow reads all integers of 32 bits as signed, all of 8 as unsigned.
  if kind != 'float' and bits in (8, 32):
    values = values.view(f'{"i" if kind == "signed" else "u"}{bits // 8}')
  # Pillow inverts only levels of up to 8 bits.
  return Levels(values, kind, bits, is_deep and tags.get(_PHOTOMETRIC) == 0)
