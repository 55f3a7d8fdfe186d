"""Converts detectors' files, and features of other types of numbers, to OSCAR's region features.

`detector_files` describes the kinds of files. Detections get the six numbers of their boxes, see
`features`; float16 and float64 become float32.
"""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from oscar.datasets import features, records, region_extraction, tsv
from oscar.datasets.detector_files import (
  CAPTION,
  COLUMNS,
  NAMES,
  REGIONS,
  TAGS,
  VINVL,
  check_kind,
  kind_of,
)
from tpu_utils.weights import torch_tensors

TENSORS = 'tensors'  # The kind of a torch file.

Sizes = Mapping[str, tuple[float, float]]


def read_sizes(path: str) -> dict[str, tuple[float, float]]:
  """Reads the sizes of images.

  Args:
    path: VinVL's `.hw.tsv` (image, JSON [{height, width}]), or JSON {image: [width, height]} or
      {image: {width, height}}.

  Returns:
    {image: (width, height)} in pixels.

  Raises:
    FileNotFoundError: the file does not exist.
    ValueError: it holds something else.
  """
  if path.endswith('.tsv'):
    file = tsv.TsvFile(path)
    return {file.key(row): _size(file.json(row), file.where(row)) for row in range(len(file))}
  content = records.read_json(path)
  if not isinstance(content, dict):
    raise ValueError(f'{path}: expected {{image: [width, height]}}, found {content!r:.80}.')
  return {key: _size(value, f'{path}, image {key!r}') for key, value in content.items()}


def _size(value, where):
  if isinstance(value, list) and len(value) == 1:
    (value,) = value
  if isinstance(value, dict):
    return tuple(records.field(value, name, float, where) for name in ('width', 'height'))
  is_pair = isinstance(value, list) and len(value) == 2
  if not is_pair or not all(type(number) in (int, float) for number in value):
    raise ValueError(f'{where}: {value!r:.80}; expected width and height in pixels.')
  return tuple(value)


def convert(
  path: str, folder: str, sizes: Sizes | None = None, dim: int = features.REGION_DIM
) -> tuple[str, int]:
  """Writes region features for a detector's file, or float32 for other official feature files.

  From detections the folder gets `features.tsv` and `imageid2idx.json`, and `predictions.tsv` if
  they have classes; from region features, a file of the same name and kind, or `NAME.tsv` from
  `NAME.pt`.

  Args:
    path: the file, `.tsv` or `.pt`.
    folder: another folder than that of the file; created if absent.
    sizes: {image: (width, height)} for VinVL's files without `image_w` and `image_h`.
    dim: numbers a region that are written, including six for its box.

  Returns:
    (kind of the file: `TENSORS` or a key of `detector_files.NAMES`; number of images).

  Raises:
    FileNotFoundError: the file does not exist.
    ValueError: a file of another kind, a damaged row, or an image without size; a file that was
      being written is removed.
  """
  if os.path.realpath(folder) == os.path.realpath(os.path.dirname(path) or '.'):
    raise ValueError(f'{folder} is the folder of {os.path.basename(path)}; choose another one.')
  if path.endswith('.pt'):
    return TENSORS, _write_tensors(path, folder, dim)
  file = tsv.TsvFile(path)
  kind = next((kind for columns in file if (kind := kind_of(columns))), None)
  if kind in (None, TAGS):
    raise ValueError(
      f'{path}: {NAMES[kind] if kind else "neither detections nor region features"}; expected '
      f'{"; or ".join(NAMES[name] for name in NAMES if name != TAGS)}.'
    )
  if kind in (REGIONS, CAPTION):
    return kind, _write_float32(file, kind, os.path.join(folder, os.path.basename(path)), dim)
  read = _vinvl_row if kind == VINVL else _column_row(kind)
  images = ((file.key(row), read(file, row, sizes or {}, dim)) for row in range(len(file)))
  rows = region_extraction.write(folder, images, tags=kind == VINVL)
  return kind, len(rows)


def _write_float32(file, kind, path, dim):
  os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
  with tsv.TsvWriter(path) as writer:
    for row in range(len(file)):
      where, columns = _where(file, row), _columns(file, row, kind)
      if kind == CAPTION:
        record = file.json(row)
        text, count = (record.get(name) for name in ('features', 'num_boxes'))
        regions = features.decode_any_type(text, count, where, dim)
        record = {**record, 'features': features.encode(regions).decode()}
        writer.write(columns[0], json.dumps(record))
      else:
        regions = features.decode_any_type(columns[-1], columns[1].decode(), where, dim)
        writer.write(*columns[:-1], features.encode(regions))
  return len(file)


def _write_tensors(path, folder, dim):
  tensors = torch_tensors.load(path)
  if not isinstance(tensors, dict) or not all(map(_is_tensor, tensors.values())):
    raise ValueError(f'{path}: expected a dictionary {{image key: tensor}}.')
  os.makedirs(folder, exist_ok=True)
  name = f'{os.path.splitext(os.path.basename(path))[0]}.tsv'
  with tsv.TsvWriter(os.path.join(folder, name)) as writer:
    for key, tensor in tensors.items():
      regions = np.asarray(tensor.read(), np.float32)
      features.check(regions, f'{path}, image {key!r}', dim)
      writer.write(key, len(regions), features.encode(regions))
  return len(tensors)


def _is_tensor(value):
  return isinstance(value, torch_tensors.StoredTensor)


def _where(file, row):
  return f'{file.path}, image {file.key(row)!r}'


def _columns(file, row, kind):
  """Returns the columns of a row of a known kind."""
  columns = file[row]
  if check_kind(columns, kind, _where(file, row)) is None:
    raise ValueError(
      f'{_where(file, row)}: expected {NAMES[kind]}; the row is damaged or cut off.'
    )
  return columns


def _vinvl_row(file, row, sizes, dim):
  """Returns the `Regions` of a row of VinVL's predictions.tsv."""
  where, content = _where(file, row), file.json(row)
  if isinstance(content, list):
    content = {'objects': content}
  if not isinstance(content, dict):
    raise ValueError(f'{where}: {content!r:.80}; expected a JSON object with objects.')
  objects = records.field(content, 'objects', list, where)
  records.tags(objects, where)  # Raises unless each object has a class.
  width, height = _size_of(content, file.key(row), sizes, where)
  boxes = [records.numbers(item, 'rect', where) for item in objects]
  if any(len(box) != 4 for box in boxes):
    raise ValueError(f'{where}: a rect has other than four numbers; expected x1, y1, x2, y2.')
  texts = [records.field(item, 'feature', str, where) for item in objects]
  appearance = [_numbers(text, (dim - len(features.GEOMETRY),), where) for text in texts]
  appearance = np.reshape(appearance, (len(objects), dim - len(features.GEOMETRY)))
  return region_extraction.Regions(
    features.join(appearance, boxes, width, height, where),
    tuple(item['class'] for item in objects),
    np.array([records.field(item, 'conf', float, where) for item in objects], np.float32),
    width,
    height,
  )


def _size_of(content, key, sizes, where):
  if 'image_w' in content and 'image_h' in content:
    return tuple(records.field(content, name, float, where) for name in ('image_w', 'image_h'))
  if key not in sizes:
    raise ValueError(
      f'{where}: no image_w and image_h, which the numbers of a box need; give the sizes of the '
      'images with --image_sizes=FILE (VinVL writes them to .hw.tsv).'
    )
  return sizes[key]


def _column_row(kind) -> Callable:
  """Returns the reader of a row of the kinds in `detector_files.COLUMNS`."""
  number, *size = COLUMNS[kind]

  def read(file: tsv.TsvFile, row: int, sizes: Sizes, dim: int) -> region_extraction.Regions:
    where, columns = _where(file, row), _columns(file, row, kind)
    count = int(columns[number])
    width, height = (int(columns[i]) for i in size)
    boxes = _numbers(columns[-2], (count, 4), where)
    appearance = _numbers(columns[-1], (count, dim - len(features.GEOMETRY)), where)
    regions = features.join(appearance, boxes, width, height, where)
    return region_extraction.Regions(regions, (), np.zeros(0, np.float32), width, height)

  return read


def _numbers(text: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
  """Decodes base64 of float32, float16 or float64; the type follows from the shape."""
  data = features.read_base64(text, where)
  size = int(np.prod(shape))
  for kind in ('<f4', '<f2', '<f8'):
    if len(data) == size * np.dtype(kind).itemsize:
      return np.frombuffer(data, kind).reshape(shape).astype(np.float32)
  raise ValueError(
    f'{where}: {len(data)} bytes of numbers, expected {4 * size} ({list(shape)} of float32); the '
    'row is cut off, or --region_dim is wrong.'
  )
