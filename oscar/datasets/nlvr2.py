"""Reader of NLVR2 in the official layout: true or false statements about two images.

    nlvr2_train.json ...          q, o: {left, right} (tags), img_id: {left, right}, label
    nlvr2_img_frcnn_feats.pt      {image key: regions}; or .tsv

Source: microsoft/Oscar, oscar/run_nlvr.py and oscar/utils/task_utils.py.
"""

import dataclasses
import os
from collections.abc import Iterator

from oscar.datasets import features, records, region_files
from tpu_utils.names import check_name

SPLITS = {
  'train': 'nlvr2_train.json',
  'val': 'nlvr2_dev.json',
  'val-balanced': 'nlvr2_balanced_dev.json',
  'val-unbalanced': 'nlvr2_unbalanced_dev.json',
  'test1': 'nlvr2_test1.json',
  'test1-balanced': 'nlvr2_balanced_test1.json',
  'test1-unbalanced': 'nlvr2_unbalanced_test1.json',
  'val+test1': 'nlvr2_dev_test1.json',
}
REGIONS = 'nlvr2_img_frcnn_feats'


@dataclasses.dataclass(frozen=True)
class Statement:
  """A statement about two images.

  Attributes:
    statement: text.
    image_ids: (first, second) keys of the images' regions, in file order.
    tags: (first, second) texts of the images' object tags.
    label: 1 if the statement is true, else 0.
  """

  statement: str
  image_ids: tuple[str, ...]
  tags: tuple[str, ...]
  label: int


class Nlvr2:
  """One split of NLVR2.

  Args:
    data_dir: the folder.
    split: a key of `SPLITS`.
    dim: numbers per region; None admits any width.

  Attributes:
    statements: list of `Statement`, in file order.
    regions: {image key: float32 [regions, dim]}.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: an unknown split, or a damaged file.
  """

  def __init__(
    self, data_dir: str | os.PathLike[str], split: str, dim: int | None = features.REGION_DIM
  ) -> None:
    check_name('NLVR2 split', split, SPLITS)
    self.statements = list(read_statements(os.path.join(data_dir, SPLITS[split])))
    self.regions = region_files.open_regions(os.path.join(data_dir, REGIONS), dim)


def read_statements(path: str | os.PathLike[str]) -> Iterator[Statement]:
  """Yields the statements of an official file.

  Raises:
    FileNotFoundError: the file does not exist.
    ValueError: a row lacks a field or has another type of it; names file and row.
  """
  for number, row in enumerate(records.read_json_list(path)):
    where = f'{path} row {number}'
    images = records.field(row, 'img_id', dict, where)
    tags = records.field(row, 'o', dict, where)
    label = records.field(row, 'label', int, where)
    if set(images) != {'left', 'right'} or label not in (0, 1):
      raise ValueError(
        f'{where}: images {sorted(images)} and label {label}; expected left and right, and 0 or 1.'
      )
    yield Statement(
      records.field(row, 'q', str, where),
      tuple(map(str, images.values())),
      tuple(records.field(tags, side, str, where) for side in images),
      label,
    )
