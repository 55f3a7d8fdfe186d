"""Reader of COCO captions in the official layout: a YAML file names the files of a split.

    train.yaml          feature, label, caption: paths, relative to its folder
    *.feature.tsv       key, JSON {num_boxes, features}
    *.label.tsv         key, JSON [{class, conf, rect}]
    *_caption.json      [{image_id, id, caption}]; where an id is missing, the row's number counts

Row i of the features and row i of the labels are the same image.

Source: microsoft/Oscar, oscar/run_captioning.py, CaptionTSVDataset.
"""

import dataclasses
import os
from collections.abc import Iterator

from oscar.datasets import features, records, region_files, tsv
from tpu_utils import files


@dataclasses.dataclass(frozen=True)
class Caption:
  """A caption and its image; `image_id` is the key of the image's regions."""

  image_id: str
  caption_id: int
  caption: str


class CocoCaption:
  """One split of captions.

  Args:
    yaml_file: the split's description.
    dim: numbers per region; None admits any width.

  Attributes:
    files: {name in the YAML file: path}.
    image_ids: keys of the images, in file order.
    captions: list of `Caption`, in file order; empty if the split has none.
    regions: {image key: float32 [regions, dim]}.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: a damaged file, features and labels of different images, or a caption without image.
  """

  def __init__(
    self, yaml_file: str | os.PathLike[str], dim: int | None = features.REGION_DIM
  ) -> None:
    self.files = _paths(yaml_file)
    self.regions = region_files.CaptionRegionTsv(self.files['feature'], dim)
    self.image_ids = list(self.regions)
    self._labels: tsv.TsvFile | None = None
    if 'label' in self.files:
      self._labels = tsv.TsvFile(self.files['label'])
      self._check_rows(list(region_files.row_of_key(self._labels)))
    self._rows = {key: row for row, key in enumerate(self.image_ids)}
    self.captions = list(self._read_captions()) if 'caption' in self.files else []

  def tags(self, image_id: str) -> str:
    """Returns the text of an image's object tags; '' if the split has no labels.

    Raises:
      ValueError: the image's row of labels is damaged.
    """
    if self._labels is None:
      return ''
    row = self._rows[image_id]
    return records.tags(self._labels.json(row), f'{self._labels.where(row)}, key {image_id!r}')

  def _check_rows(self, label_keys):
    """Checks that features and labels hold the same images in the same order."""
    if label_keys == self.image_ids:
      return
    pairs = zip(self.image_ids + [None], label_keys + [None], strict=False)
    row, (image, label) = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
    raise ValueError(
      f'row {row} of {self.files["feature"]} is image {image!r}, but row {row} of '
      f'{self.files["label"]} is {label!r}; expected the same images in the same order.'
    )

  def _read_captions(self) -> Iterator[Caption]:
    path = self.files['caption']
    for number, row in enumerate(records.read_json_list(path)):
      where = f'{path} row {number}'
      if 'image_id' not in row:
        raise ValueError(f"{where}: 'image_id' is missing; a caption needs an image.")
      image_id = str(row['image_id'])
      if image_id not in self._rows:
        raise ValueError(
          f'{where}: a caption of image {image_id!r}, which is not in {self.files["feature"]}.'
        )
      caption = records.field(row, 'caption', str, where)
      # The official code does not read it.
      caption_id = records.field(row, 'id', int, where) if 'id' in row else number
      yield Caption(image_id, caption_id, caption)


def _paths(yaml_file):
  """Returns {name: path} of the files named in a YAML description; each must exist."""
  folder, paths = os.path.dirname(yaml_file), {}
  for name, value in records.read_yaml(yaml_file).items():
    if value is None:
      continue
    path = value if files.is_file(str(value)) else os.path.join(folder, str(value))
    if not files.is_file(path):
      raise FileNotFoundError(f'{yaml_file}: {name} is {path}, which does not exist.')
    paths[name] = path
  if 'feature' not in paths:
    raise ValueError(f"{yaml_file}: 'feature' is missing; it has {sorted(paths)}.")
  return paths
