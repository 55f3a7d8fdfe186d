"""Writes an official OSCAR data set as sharded, checksummed TFRecords.

  python -m oscar.datasets.prepare --dataset=vqa --manual_dir=datasets/vqa --data_dir=prepared
      Reads the files in the official layout from manual_dir, one image at a time.

Texts are held in memory, region features are not. Data sets already prepared are kept.
"""

import dataclasses
import os
from typing import Any

from oscar.datasets import records
from tpu_utils import claims
from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting

DATASETS = ('pretrain', 'coco_caption', 'nocaps', 'coco_retrieval', 'vqa', 'gqa', 'nlvr2')


@dataclasses.dataclass(frozen=True)
class PrepareConfig(settings.Checked):
  """The data set, its folders, and the selection from it."""

  dataset: str = setting('pretrain', 'The data set.', choices=DATASETS)
  manual_dir: str = setting(None, 'Folder in the official layout.', type=str)
  data_dir: str = setting(None, 'Folder of the prepared data sets.', type=str)
  region_dim: int = setting(
    2054, 'Numbers per region, including six for its box.', at_least=7
  )
  use_beam: bool = setting(False, 'Read the images in an Apache Beam pipeline.')
  use_gtlabels: int = setting(
    1, 'pretrain: prefer annotated tags to detected ones (1) or not (0).', choices=(0, 1)
  )
  chunk_start_id: int = setting(
    -1, 'pretrain: first chunk to read of data sets in chunks; -1 for all.', at_least=-1
  )
  chunk_end_id: int = setting(
    -1, 'pretrain: chunk after the last one to read; -1 for all.', at_least=-1
  )

  def selection(self) -> dict[str, Any]:
    """Returns the arguments of `builders.prepare` that select from the pre-training corpus.

    Raises:
      ValueError: the flags select nothing, or belong to another data set.
    """
    chunks = None
    if self.chunk_start_id >= 0 or self.chunk_end_id >= 0:
      chunks = range(self.chunk_start_id, self.chunk_end_id)
      if not chunks or self.chunk_start_id < 0:
        raise ValueError(
          f'--chunk_start_id={self.chunk_start_id} --chunk_end_id={self.chunk_end_id} select no '
          'chunk; give the first one, from 0, and a larger number, the one after the last.'
        )
    if self.dataset == 'pretrain':
      return {'use_gtlabels': bool(self.use_gtlabels), 'chunks': chunks}
    if chunks or not self.use_gtlabels:
      raise ValueError(
        '--use_gtlabels, --chunk_start_id and --chunk_end_id need --dataset=pretrain, not '
        f'--dataset={self.dataset}.'
      )
    return {}


def check(resolved: settings.Resolved) -> None:
  """Checks that the official files are local, without TensorFlow.

  Raises:
    ValueError: they are remote.
  """
  (config,) = resolved
  records.check_local('manual_dir', config.manual_dir)


def run(resolved: settings.Resolved) -> None:
  """Prepares the data set and prints the number of records and shards.

  Raises:
    ValueError: a folder is missing, the files are not as expected, or another process prepares
      the same data set there.
  """
  (config,) = resolved
  for name in ('manual_dir', 'data_dir'):
    if getattr(config, name) is None:
      raise ValueError(f'--{name} is missing.')

  selection = config.selection()

  # TensorFlow is imported only now, so that --help and wrong flags are answered at once.
  import tensorflow as tf

  made_here = not tf.io.gfile.exists(config.data_dir)
  tf.io.gfile.makedirs(config.data_dir)
  folder = os.path.join(config.data_dir, f'oscar_{config.dataset}')
  try:
    # Beside the folder, in which TFDS expects its own files alone.
    with claims.claimed('data_dir', folder, beside=True):
      _prepare(config, selection)
  finally:
    if made_here and not tf.io.gfile.listdir(config.data_dir):
      tf.io.gfile.rmtree(config.data_dir)


def _prepare(config, selection):
  from oscar.datasets import builders

  for part in ('documents', 'regions') if config.dataset == 'pretrain' else ('regions',):
    builder = builders.prepare(
      config.dataset,
      config.manual_dir,
      config.data_dir,
      part,
      config.region_dim,
      config.use_beam,
      **selection,
    )
    for split, info in builder.info.splits.items():
      print(
        f'{builder.info.full_name} {split}: {info.num_examples} records, {info.num_shards} shards'
      )


SCRIPT = Script(__doc__, (PrepareConfig,), run, check=check)


if __name__ == '__main__':
  SCRIPT.main()
