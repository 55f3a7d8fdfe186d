"""TFRecord shards in ImageNet's format: files `train-*` and `validation-*`.

Format from tensorflow/tpu, tools/datasets/imagenet_to_gcs.py: features `image/encoded` and
`image/class/label`, labels from 1.
"""
from collections.abc import Sequence

from tpu_utils.images import record_index, tfrecords
from tpu_utils.images.sources import manifest
from tpu_utils.images.sources.interface import DataSet, ExampleFormat, ExampleRecords

IMAGENET_FORMAT = ExampleFormat('image/encoded', 'image/class/label', lowest_label=1)


class Shards(DataSet):
  """A folder of shards.

  Args:
    data_dir: the folder, local or remote.
    holdout_shards: number of training shards, the first ones, to evaluate on ("minival"); the
      others are for training.
    class_names: names of the classes; by default those of the folder's manifest, if it has one.

  Raises:
    ValueError: the manifest is damaged. `open` raises it for missing or damaged shards.
  """

  def __init__(
    self,
    data_dir: str,
    holdout_shards: int | None = None,
    class_names: Sequence[str] | None = None,
  ):
    self.name = data_dir
    self.data_dir = data_dir
    self.holdout_shards = holdout_shards
    self._manifest = manifest.load(data_dir)
    if class_names is None and self._manifest:
      class_names = self._manifest.class_names
    self.class_names = class_names
    self.num_classes = len(class_names) if class_names else None

  def _open(self, split):
    stored_split = 'train' if self.holdout_shards else split
    paths = self._select(tfrecords.find_shards(self.data_dir, stored_split), split)
    index = record_index.path_beside(self.data_dir, stored_split)
    source = ExampleRecords(paths, IMAGENET_FORMAT, index)
    if self._manifest and not self.holdout_shards:
      self._check_count(source, split)
    return source

  def _select(self, paths, split):
    """Returns the shards of a split; with `holdout_shards`, `paths` are those of training."""
    holdout = self.holdout_shards
    if not holdout:
      return paths
    if not 0 < holdout < len(paths):
      raise ValueError(
        f'--holdout_shards={holdout} must be between 1 and {len(paths) - 1}: {self.data_dir} has '
        f'{len(paths)} training shards.'
      )
    return paths[holdout:] if split == 'train' else paths[:holdout]

  def _check_count(self, source, split):
    expected = self._manifest.num_examples(split) if split in self._manifest.splits else 0
    if len(source) != expected:
      raise ValueError(
        f'{self.data_dir}: {manifest.FILE_NAME} lists {expected} {split} records and the shards '
        f'hold {len(source)}; to see which of them changed, run python -m '
        f'tpu_utils.images.prepare --verify --output_dir={self.data_dir}'
      )
