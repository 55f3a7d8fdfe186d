r"""Region features and tags of your own pictures: from images and boxes to what OSCAR reads.

  python -m oscar.region_features photo.jpg --boxes=boxes.json --weights=resnext50_32x4d.pth \
      --labels=imagenet.txt --output=features
      One region a box: 2048 numbers of ResNeXt's last pooling layer, then the six of the box; and a
      tag, the classifier's label of what the box holds.

  python -m oscar.region_features --check=features/features.tsv
      Reads a feature file from front to back and says what is wrong with it, if anything is.

boxes.json holds {image: [[x1, y1, x2, y2], ...]} in pixels, the image named by its file without
folder and ending; a list alone if there is one image. Without it the whole image is a region, and
with --grid=3 so are 3 x 3 equal parts. The output folder gets, as the official files have it:

    features.tsv, features.lineidx     image, number of regions, base64 of float32 [regions, 2054]
    predictions.tsv, .lineidx          image, JSON {image_h, image_w, num_boxes, objects}; an object
                                       is {class, conf, rect}
    imageid2idx.json                   {image: row}, of both
"""

import dataclasses
import itertools
import json
import os
from collections.abc import Sequence

import numpy as np
from PIL import Image

from oscar.datasets import features, records, region_files, tsv
from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting

_BATCH = 64
_IMAGES_AT_ONCE = 100


@dataclasses.dataclass(frozen=True)
class RegionConfig(settings.Checked):
  """What to read and where to write."""

  boxes: str = setting(None, 'JSON file of the boxes.', type=str)
  grid: int = setting(0, 'Parts a side of each image, without --boxes; 0: only the whole.', at_least=0)
  output: str = setting(None, 'Folder to write to.', type=str)
  check: str = setting(None, 'Feature file (.tsv or .pt) to check; nothing is written.', type=str)
  region_dim: int = setting(
    features.REGION_DIM, 'Numbers a region of the file to check, six for its box.', at_least=7
  )


@dataclasses.dataclass(frozen=True)
class NetworkConfig(settings.Checked):
  """What looks at the regions."""

  model_name: str = setting('resnext-50-32x4d', 'ResNeXt whose last pooling gives the features.')
  weights: str = setting(None, 'Its checkpoint: any file that tpu_utils.weights reads.', type=str)
  num_classes: int = setting(
    None, 'Classes of that checkpoint; None: one a label.', type=int, at_least=1
  )
  image_size: int = setting(
    None, "Pixels a side to which regions are stretched; None: the model's.", type=int, at_least=1
  )
  labels: str = setting(None, "File of the classes' names: one a line, or a JSON list.", type=str)
  tag_model_name: str = setting(
    None, 'Another classifier for the tags: an EfficientNet or a ResNeXt.', type=str
  )
  tag_weights: str = setting(None, "That classifier's checkpoint.", type=str)


@dataclasses.dataclass(frozen=True)
class Regions:
  """What a detector says of an image.

  Attributes:
    features: float32 [n, D + 6], see `oscar.datasets.features`.
    tags: n texts, the classes.
    scores: float32 [n], the classes' probabilities.
    width, height: pixels of the image.
  """

  features: np.ndarray
  tags: tuple
  scores: np.ndarray
  width: int
  height: int

  def objects(self):
    """[{class, conf, rect}] as the official label files hold them."""
    boxes = features.boxes(self.features, self.width, self.height)
    return [
      {'class': tag, 'conf': round(float(score), 4), 'rect': [round(float(v), 2) for v in box]}
      for tag, score, box in zip(self.tags, self.scores, boxes, strict=True)
    ]


def crop(image, boxes, size, where='regions'):
  """The parts of an image, each stretched to a square, as R-CNN warps them.

  Args:
    image: uint8 [height, width, 3].
    boxes: [n, 4] corners x1, y1, x2, y2 in pixels.
    size: pixels a side of the result.
    where: what to call the boxes in an error.

  Returns:
    uint8 [n, size, size, 3].

  Raises:
    ValueError: a box outside the image, or without area.
  """
  check_boxes(boxes, image.shape[1], image.shape[0], where)
  return np.stack([_stretch(image, box, size) for box in boxes])


def _stretch(image, box, size):
  """One box of an image as a square."""
  # Cut first: the filter would reach over the box's edges.
  x, y = (int(np.floor(corner)) for corner in box[:2])
  right, bottom = (int(np.ceil(corner)) for corner in box[2:])
  part = Image.fromarray(np.ascontiguousarray(image[y:bottom, x:right]))
  inside = tuple(float(corner) - start for corner, start in zip(box, (x, y, x, y), strict=True))
  return np.asarray(part.resize((size, size), Image.Resampling.BILINEAR, box=inside))


def check_boxes(boxes, width, height, where):
  """Raises ValueError unless the boxes are rows of x1, y1, x2, y2 with area, inside the image."""
  if not len(boxes):
    raise ValueError(f'{where}: no boxes; a picture needs one region at least.')
  try:
    array = np.asarray(boxes, np.float64)
  except (TypeError, ValueError):
    array = np.zeros(0)
  if array.ndim != 2 or array.shape[1] != 4:
    raise ValueError(f'{where}: {str(boxes)[:80]}; expected a list of [x1, y1, x2, y2] in pixels.')
  for number, (x1, y1, x2, y2) in enumerate(array.tolist()):
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):  # Nor does NaN pass.
      raise ValueError(
        f'{where}: box {number} is {[x1, y1, x2, y2]}; expected 0 <= x1 < x2 <= {width} and '
        f'0 <= y1 < y2 <= {height}, the size of the image in pixels.'
      )


def grid_boxes(width, height, parts=0):
  """The box of the whole image, then those of `parts` x `parts` equal ones: float [n, 4]."""
  boxes = [(0, 0, width, height)]
  edges = np.arange(parts + 1) / max(parts, 1)
  boxes += [
    (edges[i] * width, edges[j] * height, edges[i + 1] * width, edges[j + 1] * height)
    for j in range(parts) for i in range(parts)
  ]  # fmt: skip
  return np.array(boxes, np.float64)


def extract(items, model, labels):
  """Features and tags of the regions of images.

  Args:
    items: iterable of (where, image, boxes): what to call the image in an error; uint8 [height,
      width, 3]; [n, 4] corners x1, y1, x2, y2 in pixels.
    model: callable from float32 [n, size, size, 3] in [0, 255] to (appearance [n, D], probabilities
      [n, classes]), with an attribute `image_size`.
    labels: the classes' names.

  Yields:
    `Regions` of each image, in the order of its boxes.

  Raises:
    ValueError: a box outside the image, features that aren't finite, labels for another number of
      classes.
  """
  items = iter(items)
  while group := list(itertools.islice(items, _IMAGES_AT_ONCE)):
    crops = [crop(image, boxes, model.image_size, where) for where, image, boxes in group]
    appearance, probabilities = _apply(model, np.concatenate(crops).astype(np.float32))
    if probabilities.shape[1] != len(labels):
      raise ValueError(
        f'{len(labels)} labels, but the classifier has {probabilities.shape[1]} classes; give one '
        'label a class.'
      )
    ends = np.cumsum([len(c) for c in crops])[:-1]
    parts = zip(group, np.split(appearance, ends), np.split(probabilities, ends), strict=True)
    for (where, image, boxes), appearance, probabilities in parts:
      height, width = image.shape[:2]
      yield Regions(
        features=features.join(appearance, boxes, width, height, where),
        tags=tuple(labels[i] for i in probabilities.argmax(axis=1)),
        scores=probabilities.max(axis=1).astype(np.float32),
        width=width,
        height=height,
      )


def _apply(model, crops):
  """`model` of any number of crops, some at a time, the last filled up: one shape to compile."""
  size = min(len(crops), _BATCH)
  missing = -len(crops) % size
  padded = np.concatenate([crops, crops[:1].repeat(missing, axis=0)])
  outputs = [model(padded[i : i + size]) for i in range(0, len(padded), size)]
  return tuple(np.concatenate(parts)[: len(crops)] for parts in zip(*outputs, strict=True))


class Network:
  """A ResNeXt for the features, and a classifier, which may be the same, for the tags.

  Args:
    model_name: a name that `resnext.build_model` knows, with 2048 channels at its end.
    weights: its checkpoint.
    num_classes: classes of the checkpoint.
    image_size: pixels a side of the regions; None for the model's own.
    tag_model_name: an EfficientNet or ResNeXt for the tags; None for the same as `model_name`.
    tag_weights: its checkpoint.
    tag_classes: its classes.

  Attributes:
    image_size: pixels a side of the regions. Another classifier gets them resized to its own size.

  Raises:
    ValueError: an unknown model, a checkpoint that does not fit, a model of another width.
  """

  def __init__(
    self, model_name, weights, num_classes, image_size=None,
    tag_model_name=None, tag_weights=None, tag_classes=None,
  ):  # fmt: skip
    import keras  # Only now, so that --help and checks of files are quick.

    import efficientnet
    import resnext

    model = resnext.feature_extractor(
      model_name, ['avgpool', 'fc'], image_size, weights, num_classes=num_classes
    )
    width = model.output['avgpool'].shape[-1]
    if width != features.APPEARANCE_DIM:
      raise ValueError(
        f'--model_name={model_name} gives {width} numbers a region, expected '
        f'{features.APPEARANCE_DIM}; take one with {features.APPEARANCE_DIM} channels at its end, as '
        'resnext-50-32x4d.'
      )
    self.image_size = model.input.shape[1]
    appearance, logits = model.output['avgpool'], model.output['fc']
    if tag_model_name is not None:
      package = efficientnet if tag_model_name.startswith('efficientnet') else resnext
      tagger = package.build_model(tag_model_name, num_classes=tag_classes, weights=tag_weights)
      resize = keras.layers.Resizing(*tagger.input.shape[1:3], name='resize')
      logits = tagger(resize(model.input))
    probabilities = keras.layers.Softmax(name='probabilities', dtype='float32')(logits)
    self._model = keras.Model(model.input, (appearance, probabilities), name='regions')

  def __call__(self, images):
    """(appearance [n, 2048], probabilities [n, classes]) of float32 [n, size, size, 3]."""
    return tuple(output.numpy() for output in self._model(images, training=False))


def write(folder, images):
  """Writes features and tags as the official files have them; see the top of this file.

  Args:
    folder: made if absent; files of the same names are replaced.
    images: iterable of (key, `Regions`), one image after the other.

  Returns:
    {key: row}

  Raises:
    ValueError: a key comes twice; nothing is left behind of the two TSV files.
  """
  os.makedirs(folder, exist_ok=True)
  rows = {}
  with (
    tsv.TsvWriter(os.path.join(folder, 'features.tsv')) as regions,
    tsv.TsvWriter(os.path.join(folder, 'predictions.tsv')) as labels,
  ):
    for key, found in images:
      if key in rows:
        raise ValueError(f'{folder}: image {key!r} comes twice; images are named by their files.')
      rows[key] = len(rows)
      regions.write(key, len(found.tags), features.encode(found.features))
      size = {'image_h': found.height, 'image_w': found.width, 'num_boxes': len(found.tags)}
      labels.write(key, json.dumps({**size, 'objects': found.objects()}))
  with open(os.path.join(folder, 'imageid2idx.json'), 'w', encoding='utf-8') as file:
    json.dump(rows, file)
  return rows


def check_file(path, dim=features.REGION_DIM):
  """Reads a feature file of any official kind through; (images, regions) if all is well.

  Args:
    path: `.pt`, `.feature.tsv` of captioning, or another `.tsv`.
    dim: numbers a region, six of them for its box.

  Raises:
    ValueError: naming file, image and region: a wrong width (with both), NaN, a box outside the
      image, a cut-off row, damaged base64.
  """
  name = os.fspath(path)
  if name.endswith('.pt'):
    kind = region_files.RegionTensors
  elif name.endswith('.feature.tsv'):
    kind = region_files.CaptionRegionTsv
  else:
    kind = region_files.RegionTsv
  file = kind(name, dim=dim)
  return len(file), sum(len(file[key]) for key in file)


def read_boxes(path, keys):
  """{key: boxes} of a JSON file; every one of the images `keys` must have boxes there."""
  boxes = records.read_json(path)
  if isinstance(boxes, list) and len(keys) == 1:
    boxes = {keys[0]: boxes}
  if not isinstance(boxes, dict):
    raise ValueError(
      f'{path}: expected {{image: [[x1, y1, x2, y2], ...]}}, found a {type(boxes).__name__}; a list '
      'alone does for one image.'
    )
  for key in keys:
    if key not in boxes:
      raise ValueError(f'{path} has no boxes of image {key!r}; it has {", ".join(boxes)[:80]}.')
  return boxes


def read_labels(path):
  """The classes' names in a file: a JSON list (.json), or one a line."""
  records.require_file(path)
  if path.endswith('.json'):
    labels = records.read_json(path)
  else:
    with open(path, encoding='utf-8') as file:
      labels = file.read().splitlines()
  if not isinstance(labels, list) or not all(isinstance(x, str) and x.strip() for x in labels):
    raise ValueError(f'{path}: expected names, one a line or in a JSON list, none of them empty.')
  return labels


def _key(path):
  """The name of an image: its file's without folder and ending."""
  return os.path.splitext(os.path.basename(path))[0]


def _open_image(path):
  try:
    return Image.open(path)
  except Image.UnidentifiedImageError:
    raise ValueError(f'{path} is no image that Pillow can read, such as JPEG or PNG.') from None


def _boxes_of(paths, config):
  """{image file: (what to call its boxes in an error, boxes)}, checked against the images' sizes."""
  listed = read_boxes(config.boxes, [_key(path) for path in paths]) if config.boxes else {}
  found = {}
  for path in paths:
    with _open_image(path) as picture:
      width, height = picture.size
    where = f'{config.boxes}, image {_key(path)!r}' if config.boxes else path
    found[path] = where, listed.get(_key(path), grid_boxes(width, height, config.grid))
    check_boxes(found[path][1], width, height, where)
  return found


def _items(boxes):
  """Yields (where, image, boxes) of image files."""
  for path, (where, of_image) in boxes.items():
    with _open_image(path) as picture:
      yield where, np.asarray(picture.convert('RGB')), of_image


def run(resolved: settings.Resolved, paths: Sequence[str]):
  """Extracts features from image files, or checks a file of features."""
  config, network = resolved
  if config.check:
    print('{}: {} images, {} regions, nothing wrong'.format(
      config.check, *check_file(config.check, config.region_dim)
    ))  # fmt: skip
    return
  if not paths:
    raise ValueError('No image is given; write its file behind the flags, or --check=FILE.tsv.')
  needed = {'output': config.output, 'weights': network.weights, 'labels': network.labels}
  if network.tag_model_name is not None:
    needed['tag_weights'] = network.tag_weights
  for name, value in needed.items():
    if value is None:
      raise ValueError(f'--{name} is missing.')
  labels, boxes = read_labels(network.labels), _boxes_of(paths, config)
  model = Network(
    network.model_name, network.weights, network.num_classes or len(labels), network.image_size,
    network.tag_model_name, network.tag_weights, len(labels),
  )  # fmt: skip
  found = extract(_items(boxes), model, labels)
  rows = write(config.output, zip(map(_key, boxes), found, strict=True))
  print(f'{config.output}: features and tags of {len(rows)} images')


SCRIPT = Script(__doc__, (RegionConfig, NetworkConfig), run, words=True)


if __name__ == '__main__':
  SCRIPT.main()
