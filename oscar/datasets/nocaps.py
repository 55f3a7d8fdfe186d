"""Reader of NoCaps: the official layout of COCO captions, without captions, with constraint boxes.

    *.yaml              also cbs_box, cbs_constraint, cbs_tokenforms, cbs_hierarchy
    *.cbs_box.tsv       key, JSON [{class, rect, conf}]: detections of an Open Images detector

and NoCaps' own annotations of a split, from nocaps.org:

    nocaps_val_4500_captions.json   images [{id, open_images_id, domain}], annotations [{image_id,
                                    id, caption}]
    nocaps_val_image_info.json      images alone; test has no domains

Source: microsoft/Oscar, oscar/run_captioning.py, CaptionTSVDatasetWithConstraints, and
oscar/utils/cbs.py, ConstraintBoxesReader.
"""

import dataclasses
import os
from collections.abc import Mapping

import numpy as np

from oscar.datasets import coco_caption, features, records, region_files, tsv
from tpu_utils import files
from tpu_utils.names import check_name

# By the objects in an image: all in COCO, some, none.
DOMAINS = ('in-domain', 'near-domain', 'out-domain')
_FILES = ('cbs_box', 'cbs_constraint', 'cbs_tokenforms', 'cbs_hierarchy')


@dataclasses.dataclass(frozen=True)
class ConstraintBoxes:
  """Detections in an image: candidates for words that constrained beam search must produce.

  Attributes:
    class_names: n lower-case names.
    boxes: float32 [n, 4], corners x1, y1, x2, y2 in pixels.
    scores: float32 [n].
  """

  class_names: tuple[str, ...]
  boxes: np.ndarray
  scores: np.ndarray


class NoCaps(coco_caption.CocoCaption):
  """One split of NoCaps: a `CocoCaption` with `files` that include the constraint files.

  Raises:
    FileNotFoundError, ValueError: as `CocoCaption`, or the YAML file lacks a constraint file.
  """

  def __init__(
    self, yaml_file: str | os.PathLike[str], dim: int | None = features.REGION_DIM
  ) -> None:
    super().__init__(yaml_file, dim)
    missing = [name for name in _FILES if name not in self.files]
    if missing:
      raise ValueError(f'{yaml_file}: {missing[0]!r} is missing; NoCaps needs {", ".join(_FILES)}.')
    self._boxes = tsv.TsvFile(self.files['cbs_box'])
    self._box_rows = region_files.row_of_key(self._boxes)

  def constraint_boxes(self, image_id: str) -> ConstraintBoxes:
    """Returns the constraint boxes of an image; empty if the file lacks the image.

    Raises:
      ValueError: the image's row of boxes is damaged.
    """
    if image_id not in self._box_rows:
      return ConstraintBoxes((), np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    row = self._box_rows[image_id]
    where = f'{self._boxes.where(row)}, key {image_id!r}'
    objects = self._boxes.json(row)
    records.tags(objects, where)  # Raises unless each object has a class.
    rectangles = [records.numbers(item, 'rect', where) for item in objects]
    for rectangle in rectangles:
      if len(rectangle) != 4 or not (rectangle[0] <= rectangle[2] and rectangle[1] <= rectangle[3]):
        raise ValueError(
          f'{where}: rect {rectangle}; expected x1, y1, x2, y2 with x1 <= x2, y1 <= y2.'
        )
    return ConstraintBoxes(
      tuple(item['class'].lower() for item in objects),
      np.array(rectangles, np.float32).reshape(-1, 4),
      np.array([records.field(item, 'conf', float, where) for item in objects], np.float32),
    )


@dataclasses.dataclass(frozen=True)
class Annotations:
  """NoCaps' own description of a split.

  Attributes:
    path: the file.
    ids: {image key: number by which NoCaps' server knows the image}. The key is the image's id in
      Open Images.
    domains: {image key: one of `DOMAINS`}; {} where the file does not say.
    captions: the captions; () where the file has none.
  """

  path: str
  ids: Mapping[str, int]
  domains: Mapping[str, str]
  captions: tuple[coco_caption.Caption, ...] = ()


def annotations_path(yaml_file: str | os.PathLike[str]) -> str | None:
  """Returns the path of the annotations beside a split's YAML file; None if there are none."""
  folder, name = os.path.split(os.fspath(yaml_file))
  split = os.path.splitext(name)[0]
  names = (f'nocaps_{split}_4500_captions.json', f'nocaps_{split}_image_info.json')
  paths = (os.path.join(folder, name) for name in names)
  return next((path for path in paths if files.is_file(path)), None)


def read_annotations(path: str) -> Annotations:
  """Reads NoCaps' own annotations.

  Args:
    path: a JSON file in one of the two forms at the top of this module.

  Raises:
    OSError: the file cannot be read.
    ValueError: it is damaged, describes an image twice, or has a caption of an unknown image.
  """
  content = records.read_json(path)
  if not isinstance(content, Mapping):
    raise ValueError(f'{path}: expected an object with the list of images, found another value.')
  ids: dict[str, int] = {}
  domains = {}
  for number, row in enumerate(_rows(content, 'images', path)):
    where = f'{path}, image {number}'
    name = 'open_images_id' if 'open_images_id' in row else 'file_name'
    key = os.path.splitext(records.field(row, name, str, where))[0]
    if key in ids:
      raise ValueError(f'{where}: {key!r} is described before; expected each image once.')
    ids[key] = records.field(row, 'id', int, where)
    if 'domain' in row:
      domains[key] = records.field(row, 'domain', str, where)
      check_name(f'domain in {where}', domains[key], DOMAINS)
  key_of = {number: key for key, number in ids.items()}
  if len(key_of) < len(ids):
    raise ValueError(f'{path}: two images have the same id; expected an id for each.')
  captions = []
  annotated = _rows(content, 'annotations', path) if 'annotations' in content else []
  for number, row in enumerate(annotated):
    where = f'{path}, annotation {number}'
    image = records.field(row, 'image_id', int, where)
    if image not in key_of:
      raise ValueError(f'{where}: image_id {image} is not among its images.')
    text = records.field(row, 'caption', str, where)
    captions.append(coco_caption.Caption(key_of[image], number, text))
  return Annotations(path, ids, domains, tuple(captions))


def _rows(content, name, path):
  rows = records.field(content, name, list, path)
  for number, row in enumerate(rows):
    if not isinstance(row, Mapping):
      raise ValueError(f'{path}: {name} {number} is {row!r:.80}, expected an object.')
  return rows
