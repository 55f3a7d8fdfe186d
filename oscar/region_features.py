r"""Extracts features and tags of the regions of your own images, as OSCAR reads them.

  python -m oscar.region_features photo.jpg --boxes=boxes.json --weights=resnext50_32x4d.pth \
      --labels=imagenet.txt --output=features
      For each box, the 2048 numbers of ResNeXt's last pooling layer, then the six of the box; and a
      tag, the classifier's label for the contents of the box.

  python -m oscar.region_features --check=features/features.tsv
      Reads a whole feature file and reports the first error.

  python -m oscar.region_features --convert=predictions.tsv --output=features
      Writes the same files from what a detector wrote: VinVL's predictions.tsv (--image_sizes gives
      the sizes of images if it lacks them), the TSV of bottom-up attention or LXMERT. From region
      features in float16 or float64 (.tsv, .pt) it writes them in float32.

boxes.json holds {image: [[x1, y1, x2, y2], ...]} in pixels, where an image is named by its file
without folder and extension; for a single image, the list alone. Without it the whole image is a
region, and with --grid=3 so are 3 x 3 equal parts. Images are read as tpu_utils.images.prepare
reads them: the first picture of a file (JPEG, PNG, GIF, BMP, WebP, TIFF), with its pixels as they
lie there, whatever orientation EXIF gives. The output folder gets the official files:

    features.tsv, features.lineidx     image, number of regions, base64 of float32 [regions, 2054]
    predictions.tsv, .lineidx          image, JSON {image_h, image_w, num_boxes, objects}; an object
                                       is {class, conf, rect}
    imageid2idx.json                   {image: row in both files}
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from oscar.datasets import (
  detector_files,
  features,
  records,
  region_conversion,
  region_extraction,
  region_files,
)
from tpu_utils import files
from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting
from tpu_utils.errors import printable
from tpu_utils.images import headers


@dataclasses.dataclass(frozen=True)
class RegionConfig(settings.Checked):
  """The input and output files."""

  boxes: str = setting(None, 'JSON file of the boxes.', type=str)
  grid: int = setting(
    0, 'Without --boxes: equal parts per side of each image; 0: only the whole.', at_least=0
  )
  deep_pixels: str = setting(
    'refuse', 'What to do with TIFFs of 32 bits, floats or signed numbers, as in '
    'tpu_utils.images.prepare.', choices=('refuse', 'type_range', 'file_range')
  )  # fmt: skip
  output: str = setting(None, 'Folder to write to.', type=str, aliases=('output_dir',))
  check: str = setting(None, 'Feature file (.tsv or .pt) to check; nothing is written.', type=str)
  convert: str = setting(
    None, "A detector's file (.tsv), or features in float16 or float64, to convert.", type=str
  )
  image_sizes: str = setting(
    None,
    "Sizes of the images for --convert: VinVL's .hw.tsv, or JSON {image: [width, height]}.",
    type=str,
  )
  region_dim: int = setting(
    features.REGION_DIM,
    'Numbers per region in the file to check or convert, including six for its box.',
    at_least=7,
  )


@dataclasses.dataclass(frozen=True)
class NetworkConfig(settings.Checked):
  """The networks that give features and tags."""

  model_name: str = setting('resnext-50-32x4d', 'ResNeXt for the features, from its last pooling.')
  weights: str = setting(None, 'Its checkpoint: any file that tpu_utils.weights reads.', type=str)
  num_classes: int = setting(
    None, 'Classes of that checkpoint; None: as many as labels.', type=int, at_least=1
  )
  image_size: int = setting(
    None,
    "Side in pixels to which regions are stretched; None: the model's.",
    type=int,
    at_least=1,
  )
  labels: str = setting(None, 'File of class names: one per line, or a JSON list.', type=str)
  tag_model_name: str = setting(
    None, 'Another classifier for the tags: an EfficientNet or a ResNeXt.', type=str
  )
  tag_weights: str = setting(None, "That classifier's checkpoint.", type=str)


def check_file(
  path: str | os.PathLike[str], dim: int = features.REGION_DIM
) -> tuple[int, int]:
  """Reads a whole feature file of any official kind and checks every region.

  Args:
    path: `.pt`, or a `.tsv` of one of the kinds in `region_files`.
    dim: numbers per region, including six for its box.

  Returns:
    (number of images, number of regions).

  Raises:
    ValueError: an empty or a detector's file, a wrong width or type of numbers, NaN, a box outside
      the image, a truncated row or damaged base64; the message names file, image and region.
  """
  name = os.fspath(path)
  kind: type[region_files.RegionFile]
  if name.endswith('.pt'):
    kind = region_files.RegionTensors
  elif name.endswith('.feature.tsv') or region_files.is_caption_file(name):
    kind = region_files.CaptionRegionTsv
  else:
    kind = region_files.RegionTsv
  file = kind(name, dim=dim)
  if not len(file):
    raise ValueError(f'{name} is empty: it has no image; expected features of at least one.')
  return len(file), sum(len(file[key]) for key in file)


def read_boxes(path: str, keys: Sequence[str]) -> dict[str, Any]:
  """Reads {image: boxes} from a JSON file, which may hold a list alone for a single image.

  Args:
    path: the file.
    keys: images that must have boxes there.

  Raises:
    ValueError: an image is missing, or the file holds something else.
    OSError: no such file.
  """
  boxes = records.read_json(path)
  if isinstance(boxes, list) and len(keys) == 1:
    boxes = {keys[0]: boxes}
  if not isinstance(boxes, dict):
    raise ValueError(
      f'{path}: expected {{image: [[x1, y1, x2, y2], ...]}}, found a {type(boxes).__name__}; a '
      'list alone suffices for a single image.'
    )
  for key in keys:
    if key not in boxes:
      raise ValueError(f'{path} has no boxes of image {key!r}; it has {", ".join(boxes)[:80]}.')
  return boxes


def read_labels(path: str) -> list[str]:
  """Reads class names from a JSON list (.json) or a text file with one per line.

  Raises:
    ValueError: a name is empty, or the file holds something else.
    OSError: no such file.
  """
  records.require_file(path)
  if path.endswith('.json'):
    labels = records.read_json(path)
  else:
    with files.open_text(path) as file:
      labels = file.read().splitlines()
  if not isinstance(labels, list) or not all(isinstance(x, str) and x.strip() for x in labels):
    raise ValueError(f'{path}: expected names, one per line or in a JSON list, none of them empty.')
  return labels


def _key(path):
  """Returns the name of an image: its file without folder and extension."""
  return os.path.splitext(os.path.basename(path))[0]


def _read(path, decode):
  """Returns what `decode` makes of the contents of an image file; its errors name the file."""
  from tpu_utils.images.preparation.encoding import UnusableImageError
  from tpu_utils.images.sources import picture_files

  try:
    return decode(picture_files.read(path))
  except UnusableImageError as e:
    raise ValueError(f'{printable(path)}: {e}.') from None


def _size(data):
  from tpu_utils.images.preparation import encoding

  return *encoding.size(data), headers.has_several_pictures(data)


def _boxes_of(paths, config):
  """Returns {image file: (name of its boxes in errors, boxes)}, checked against the image size."""
  for path in paths:
    if printable(path) != path:
      raise ValueError(
        f'{printable(path)}: the output names images by their files, and this is not UTF-8; '
        'rename it.'
      )
  listed = read_boxes(config.boxes, [_key(path) for path in paths]) if config.boxes else {}
  checked = {}
  for path in paths:
    width, height, has_several = _read(path, _size)
    if has_several:
      print(f'{path} holds several pictures; the first is read.')
    where = f'{config.boxes}, image {_key(path)!r}' if config.boxes else path
    boxes = listed.get(_key(path), region_extraction.grid_boxes(width, height, config.grid))
    region_extraction.check_boxes(boxes, width, height, where)
    checked[path] = where, boxes
  return checked


def _read_images(boxes, deep_pixels):
  """Yields (where, image, boxes) of the image files that `_boxes_of` returned."""
  from tpu_utils.images.preparation import encoding

  for path, (where, of_image) in boxes.items():
    pixels, _ = _read(path, lambda data: encoding.decode(data, deep_pixels))
    yield where, pixels, of_image


def run(resolved: settings.Resolved, paths: Sequence[str]) -> None:
  """Extracts features from image files, or checks a feature file.

  Raises:
    ValueError: a flag is missing, or a file is not as expected.
  """
  config, network = resolved
  if config.check:
    images, regions = check_file(config.check, config.region_dim)
    print(f'{config.check}: {images} images, {regions} regions, nothing wrong')
    return
  if config.convert:
    _convert(config)
    return
  if not paths:
    raise ValueError(
      'No image is given; write its file after the flags, or --check=FILE.tsv or '
      '--convert=FILE.tsv.'
    )
  needed = {'output': config.output, 'weights': network.weights, 'labels': network.labels}
  if network.tag_model_name is not None:
    needed['tag_weights'] = network.tag_weights
  for name, value in needed.items():
    if value is None:
      raise ValueError(f'--{name} is missing.')
  labels, boxes = read_labels(network.labels), _boxes_of(paths, config)
  model = region_extraction.RegionNetwork(
    network.model_name, network.weights, network.num_classes or len(labels), network.image_size,
    network.tag_model_name, network.tag_weights, len(labels),
  )  # fmt: skip
  extracted = region_extraction.extract(_read_images(boxes, config.deep_pixels), model, labels)
  rows = region_extraction.write(config.output, zip(map(_key, boxes), extracted, strict=True))
  print(f'{config.output}: features and tags of {len(rows)} images')


def _convert(config):
  if config.output is None:
    raise ValueError('--output is missing.')
  sizes = region_conversion.read_sizes(config.image_sizes) if config.image_sizes else None
  kind, images = region_conversion.convert(config.convert, config.output, sizes, config.region_dim)
  what = 'features and tags' if kind == detector_files.VINVL else 'features'
  print(f'{config.output}: {what} of {images} images from {config.convert}')


def check(resolved: settings.Resolved) -> None:
  """Checks that files in the official format are local.

  Raises:
    ValueError: one is remote.
  """
  for flag in ('output', 'check', 'convert'):
    records.check_local(flag, getattr(resolved[0], flag))


SCRIPT = Script(__doc__, (RegionConfig, NetworkConfig), run, words=True, check=check)


if __name__ == '__main__':
  SCRIPT.main()
