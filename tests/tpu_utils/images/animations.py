"""Small files with several pictures, in every format that has such files."""
import io

from PIL import Image

PICTURES = [Image.new('RGB', (12, 10), colour) for colour in ('red', 'green', 'blue')]


def several(kind, count=3, **options):
  """Encodes `count` pictures of one colour each."""
  file = io.BytesIO()
  PICTURES[0].save(file, kind, save_all=True, append_images=PICTURES[1:count], **options)
  return file.getvalue()


ANIMATED = {
  'PNG': several('PNG'),
  'GIF': several('GIF', comment=b'a comment' * 99),
  'WebP': several('WebP', lossless=True),
  'TIFF': several('TIFF'),
  'TIFF of two': several('TIFF', 2),
}
