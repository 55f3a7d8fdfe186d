"""Reader of NoCaps: the official layout of COCO captions, without captions, with constraint boxes.

    *.yaml              also cbs_box, cbs_constraint, cbs_tokenforms, cbs_hierarchy
    *.cbs_box.tsv       key, JSON [{class, rect, conf}]: detections of an Open Images detector

Source: microsoft/Oscar, oscar/run_captioning.py, CaptionTSVDatasetWithConstraints, and
oscar/utils/cbs.py, ConstraintBoxesReader.
"""

import dataclasses
import os

import numpy as np

from oscar.datasets import coco_caption, features, records, region_files, tsv

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
