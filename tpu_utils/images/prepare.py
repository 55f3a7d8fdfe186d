r"""Converts images in folders or tar files to TFRecord shards in ImageNet's official format.

  python -m tpu_utils.images.prepare --input_dir=photos --output_dir=shards
      photos/train/CLASS/*.jpg and photos/validation/CLASS/*.jpg; or photos/CLASS/*.jpg, with
      --holdout_fraction=0.1 for a validation split.

  python -m tpu_utils.images.prepare --train=ILSVRC2012_img_train.tar \
      --validation=ILSVRC2012_img_val.tar \
      --validation_labels=imagenet_2012_validation_synset_labels.txt --output_dir=imagenet
      ImageNet, read from the published files without unpacking them.

  python -m tpu_utils.images.prepare --verify --output_dir=imagenet
      Reads all records again and compares them with the manifest.

The job lists images that cannot be decoded or that lie in another class than their name says, and
fails if there are more than --max_bad_images. The same command resumes a stopped job. Pixels are
stored as they lie in the file: the orientation that EXIF gives is ignored in every format.
"""
import dataclasses
import os

from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting


@dataclasses.dataclass(frozen=True)
class PrepareConfig(settings.Checked):
  """Settings of a preparation: its input, its output and the action."""

  output_dir: str = setting(None, 'Folder for the shards, local or remote (gs://...).', type=str)
  input_dir: str = setting(
    None, 'Folder that contains train and validation (or val), or only class folders.', type=str
  )
  train: str = setting(
    None, 'Training images: a folder of class folders, a tar file of one, or '
    'ILSVRC2012_img_train.tar.', type=str
  )
  validation: str = setting(
    None, 'Validation images: as --train, or a flat folder or tar file with --validation_labels.',
    type=str
  )
  validation_labels: str = setting(
    None, 'Text file with the class of each image of a flat --validation: one class per line, in '
    'the order of the image names; or image and class.', type=str
  )
  holdout_fraction: float = setting(
    None, 'Share of the training images of each class to use as the validation split.', type=float
  )
  train_shards: int = setting(
    None, 'Number of training shards; by default 1 for every 512 images, at most the official '
    '1024.', type=int, at_least=1
  )
  validation_shards: int = setting(
    None, 'Number of validation shards; by default 1 for every 256 images, at most the official '
    '128.', type=int, at_least=1
  )
  keep_png: bool = setting(
    False, 'Store PNG images unchanged. This project reads them; the official code reads only JPEG.'
  )
  deep_pixels: str = setting(
    'refuse', 'What to do with TIFFs of 32 bits, floats or signed numbers. refuse: count them as '
    'unusable. type_range: map the range of the number type to 0..255, for floats 0 to 1. '
    'file_range: map from the least to the greatest level of each file. Unsigned 16 bits always '
    'keep their upper 8, as in PNG.', choices=('refuse', 'type_range', 'file_range')
  )
  max_bad_images: int = setting(0, 'Number of unusable images that may be left out.', at_least=0)
  seed: int = setting(0, 'Seed for shuffling the training images.', at_least=0)
  num_processes: int = setting(
    None, 'Number of parallel processes; by default one per core.', type=int, at_least=1
  )
  verify: bool = setting(
    False, 'Prepare nothing; compare the files in --output_dir with their manifest.'
  )
  index: bool = setting(
    False, 'Prepare nothing; write the index of the records in the shards of --output_dir. '
    'Without it the first job reads all shards before it starts.'
  )

  def __post_init__(self):
    super().__post_init__()
    if not self.output_dir:
      raise ValueError('--output_dir is missing: the folder of the shards.')
    if self.verify or self.index:
      return
    if self.input_dir and (self.train or self.validation):
      raise ValueError('--input_dir replaces --train and --validation; give either it or them.')
    if not (self.input_dir or self.train or self.validation):
      raise ValueError(
        '--input_dir is missing (or --train and --validation): the images to prepare.'
      )
    if self.holdout_fraction is not None:
      if not 0 < self.holdout_fraction < 1:
        raise ValueError(f'--holdout_fraction={self.holdout_fraction} must lie between 0 and 1.')
      if self.validation:
        raise ValueError(
          '--holdout_fraction makes a validation split, and --validation gives one; leave one out.'
        )
    if self.validation_labels and not self.validation:
      raise ValueError(
        '--validation_labels needs --validation, the flat folder or tar file with the images.'
      )


def run(resolved: settings.Resolved) -> None:
  """Writes, verifies or indexes shards and prints their counts."""
  (config,) = resolved
  # Imported here because TensorFlow takes seconds, which --help and wrong flags need not wait for.
  from tpu_utils.images.preparation import job, verify

  num_processes = config.num_processes or os.cpu_count() or 1
  if config.index:
    for path, count in job.write_indices(config.output_dir):
      print(f'{path}: {count} records')
    return
  if config.verify:
    manifest = verify.verify(config.output_dir, num_processes)
  else:
    manifest = job.prepare(config, num_processes)
  for split, shards in manifest.splits.items():
    print(
      f'{split}: {manifest.num_examples(split)} images of {len(manifest.class_names)} classes in '
      f'{len(shards)} shards{", verified" if config.verify else ""}'
    )


SCRIPT = Script(__doc__, (PrepareConfig,), run)


if __name__ == '__main__':
  SCRIPT.main()
