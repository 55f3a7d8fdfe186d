"""The file `manifest.json` of prepared TFRecord shards: their contents, sizes and checksums."""
import dataclasses
import json
import os

import tensorflow as tf

from tpu_utils import files
from tpu_utils.reading import reading

FILE_NAME = 'manifest.json'
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class ShardRecord:
  """One shard.

  Attributes:
    name: file name, without folder.
    num_bytes: file size.
    sha256: hexadecimal checksum of the file.
    examples_per_class: {class name: number of images}.
    inputs: checksum of the list of input images; see `shard.ShardTask.fingerprint`.
  """

  name: str
  num_bytes: int
  sha256: str
  examples_per_class: dict
  inputs: str

  @property
  def num_examples(self) -> int:
    """Number of images."""
    return sum(self.examples_per_class.values())


@dataclasses.dataclass(frozen=True)
class Manifest:
  """The contents of a data set.

  Attributes:
    class_names: names of the classes; the label of the first is 1.
    splits: {'train' or 'validation': [ShardRecord, ...]}.
    left_out: one line for each image that was left out, with the cause.
    source: JSON-able dict of the settings that the shards were made with.
  """

  class_names: tuple
  splits: dict
  left_out: tuple
  source: dict

  def num_examples(self, split: str) -> int:
    """Returns the number of images of a split."""
    return sum(shard.num_examples for shard in self.splits[split])

  def examples_per_class(self, split: str) -> dict[str, int]:
    """Returns {class name: number of images} for a split."""
    totals = dict.fromkeys(self.class_names, 0)
    for shard in self.splits[split]:
      for name, count in shard.examples_per_class.items():
        totals[name] += count
    return totals


def load(data_dir: str | os.PathLike) -> Manifest | None:
  """Reads the manifest of a folder; None if it has no manifest file.

  Raises:
    ValueError: the file is damaged or not a manifest.
  """
  path = os.path.join(data_dir, FILE_NAME)
  if not tf.io.gfile.exists(path):
    return None
  # `foreign`: a missing key (KeyError) is damage of the file, not a bug here.
  with (
    reading(path, 'a manifest of prepared shards', foreign=True),
    tf.io.gfile.GFile(path, 'rb') as file,
  ):
    content = json.loads(file.read())
    splits = {
      split: [_shard(shard) for shard in part['shards']]
      for split, part in content['splits'].items()
    }
    if content['format'] != _FORMAT:
      raise ValueError(f'its format is {content["format"]}, not {_FORMAT}')
    return Manifest(
      tuple(content['class_names']), splits, tuple(content['left_out']), content['source']
    )


def save(data_dir: str | os.PathLike, manifest: Manifest) -> None:
  """Writes the manifest of a folder atomically.

  Raises:
    OSError: the file cannot be written.
  """
  splits = {
    split: {
      'num_examples': manifest.num_examples(split),
      'examples_per_class': manifest.examples_per_class(split),
      'shards': [dataclasses.asdict(shard) for shard in shards],
    }
    for split, shards in manifest.splits.items()
  }
  content = {
    'format': _FORMAT,
    'class_names': manifest.class_names,
    'splits': splits,
    'left_out': manifest.left_out,
    'source': manifest.source,
  }
  files.write_json(os.path.join(data_dir, FILE_NAME), content, indent=1)


def _shard(fields):
  names = [field.name for field in dataclasses.fields(ShardRecord)]
  return ShardRecord(**{name: fields[name] for name in names})
