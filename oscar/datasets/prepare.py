"""Writes an official OSCAR data set as sharded, checksummed TFRecords.

  python -m oscar.datasets.prepare --dataset=vqa --manual_dir=datasets/vqa --data_dir=prepared
      Reads the files in the official layout from manual_dir, one image at a time.

Texts are held in memory, region features are not. What is already prepared stays as it is.
"""

import dataclasses
import sys

from absl import flags, logging

from tpu_utils.command_line import cli, settings
from tpu_utils.command_line.settings import setting

DATASETS = ('pretrain', 'coco_caption', 'nocaps', 'coco_retrieval', 'vqa', 'gqa', 'nlvr2')


@dataclasses.dataclass(frozen=True)
class PrepareConfig(settings.Checked):
  """What to read and where to write."""

  dataset: str = setting('pretrain', 'The data set.', choices=DATASETS)
  manual_dir: str = setting(None, 'Folder in the official layout.', type=str)
  data_dir: str = setting(None, 'Folder of the prepared data sets.', type=str)
  region_dim: int = setting(
    2054, 'Numbers a region, of which the last six are its box.', at_least=7
  )
  use_beam: bool = setting(False, 'Read the images in an Apache Beam pipeline.')


def main(argv):
  del argv
  config = settings.from_flags(PrepareConfig, flags.FLAGS)
  for name in ('manual_dir', 'data_dir'):
    if getattr(config, name) is None:
      raise ValueError(f'--{name} is missing.')

  # TensorFlow is imported only now, so that --help and wrong flags are answered at once.
  from oscar.datasets import builders

  logging.set_verbosity(logging.ERROR)  # TFDS warns of folders that it is about to fill.
  for part in ('documents', 'regions') if config.dataset == 'pretrain' else ('regions',):
    builder = builders.prepare(
      config.dataset, config.manual_dir, config.data_dir, part, config.region_dim, config.use_beam
    )
    for split, info in builder.info.splits.items():
      print(
        f'{builder.info.full_name} {split}: {info.num_examples} records, {info.num_shards} shards'
      )


if __name__ == '__main__':
  settings.define_flags(PrepareConfig)
  sys.exit(cli.run(main, settings.parse_flags(__doc__, [PrepareConfig])))
