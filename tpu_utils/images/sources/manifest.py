"""`manifest.json`: what a folder of prepared TFRecord shards holds, to check it by."""
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
  """One file of a split.

  Attributes:
    name: file name, without folder.
    num_bytes: its size.
    sha256: of its bytes, in hexadecimal.
    examples_per_class: {class name: number of images}.
    inputs: checksum of the list of images that it was made from.
  """

  name: str
  num_bytes: int
  sha256: str
  examples_per_class: dict
  inputs: str

  @property
  def num_examples(self):
    return sum(self.examples_per_class.values())


@dataclasses.dataclass(frozen=True)
class Manifest:
  """All of a data set.

  Attributes:
    class_names: names of the classes; the label of the first is 1.
    splits: {'train' or 'validation': [ShardRecord, ...]}.
    left_out: lines that name the images which were left out, and why.
    source: JSON-able dict of what the shards were made from.
  """

  class_names: tuple
  splits: dict
  left_out: tuple
  source: dict

  def num_examples(self, split):
    """Number of images of a split."""
    return sum(shard.num_examples for shard in self.splits[split])

  def examples_per_class(self, split):
    """{class name: number of images} of a split."""
    totals = dict.fromkeys(self.class_names, 0)
    for shard in self.splits[split]:
      for name, count in shard.examples_per_class.items():
        totals[name] += count
    return totals


def load(data_dir):
  """The `Manifest` of a folder; None if it has none.

  Raises:
    ValueError: the file is no manifest.
  """
  path = os.path.join(data_dir, FILE_NAME)
  if not tf.io.gfile.exists(path):
    return None
  # A name that is missing in it is damage, too.
  with reading(path, 'a manifest of prepared shards', foreign=True), tf.io.gfile.GFile(path) as file:
    content = json.loads(file.read())
    splits = {
      split: [_shard(shard) for shard in part['shards']] for split, part in content['splits'].items()
    }
    if content['format'] != _FORMAT:
      raise ValueError(f'its format is {content["format"]}, not {_FORMAT}')
    return Manifest(tuple(content['class_names']), splits, tuple(content['left_out']), content['source'])


def save(data_dir, manifest):
  """Writes a manifest beside its place and renames it."""
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
  return ShardRecord(**{field.name: fields[field.name] for field in dataclasses.fields(ShardRecord)})
