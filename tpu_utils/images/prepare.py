r"""Makes TFRecord shards in ImageNet's official format from images in folders or tar files.

  python -m tpu_utils.images.prepare --input_dir=photos --output_dir=shards
      photos/train/CLASS/*.jpg and photos/validation/CLASS/*.jpg; or photos/CLASS/*.jpg, with
      --holdout_fraction=0.1 for a validation split.

  python -m tpu_utils.images.prepare --train=ILSVRC2012_img_train.tar --validation=ILSVRC2012_img_val.tar \
      --validation_labels=imagenet_2012_validation_synset_labels.txt --output_dir=imagenet
      ImageNet, from the files as they are published: nothing is unpacked.

  python -m tpu_utils.images.prepare --verify --output_dir=imagenet
      Reads all records again and compares them with the manifest.

Images that cannot be decoded, or whose name tells another class, are named, and the job fails unless
--max_bad_images allows for them. A stopped job goes on when the same command is given again.
"""
import dataclasses
import os

from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting


@dataclasses.dataclass(frozen=True)
class PrepareConfig(settings.Checked):
  """What to make of what."""

  output_dir: str = setting(None, 'Folder for the shards, local or remote (gs://...).', type=str)
  input_dir: str = setting(
    None, 'Folder that holds the folders train and validation (or val); or the class folders alone.', type=str
  )
  train: str = setting(
    None, 'Training images: a folder of class folders, a tar file of them, or ILSVRC2012_img_train.tar.', type=str
  )
  validation: str = setting(
    None, 'Validation images: as --train, or a flat folder or tar file with --validation_labels.', type=str
  )
  validation_labels: str = setting(
    None, 'Text file with the class of each image of a flat --validation: one class a line, in the order of the '
    'image names; or image and class.', type=str
  )
  holdout_fraction: float = setting(
    None, 'Make the validation split of this share of the training images of each class.', type=float
  )
  train_shards: int = setting(
    None, 'Number of training shards; by default 1 for every 512 images, at most the official 1024.', type=int, at_least=1
  )
  validation_shards: int = setting(
    None, 'Number of validation shards; by default 1 for every 256 images, at most the official 128.', type=int, at_least=1
  )
  keep_png: bool = setting(
    False, 'Leave PNG images as they are. The input here reads them; the official code reads JPEG alone.'
  )
  max_bad_images: int = setting(0, 'How many unusable images may be left out.', at_least=0)
  seed: int = setting(0, 'Seed of the order of the training images.', at_least=0)
  num_processes: int = setting(None, 'Processes side by side; by default one a core.', type=int, at_least=1)
  verify: bool = setting(False, 'Prepare nothing; compare what is in --output_dir with its manifest.')
  index: bool = setting(
    False, 'Prepare nothing; write the index of the records of the shards in --output_dir, which saves the start of '
    'a job from reading all of them.'
  )

  def __post_init__(self):
    super().__post_init__()
    if not self.output_dir:
      raise ValueError('--output_dir is missing: the folder of the shards.')
    if self.verify or self.index:
      return
    if self.input_dir and (self.train or self.validation):
      raise ValueError('--input_dir stands for --train and --validation; give it or them.')
    if not (self.input_dir or self.train or self.validation):
      raise ValueError('--input_dir is missing (or --train and --validation): the images to prepare.')
    if self.holdout_fraction is not None:
      if not 0 < self.holdout_fraction < 1:
        raise ValueError(f'--holdout_fraction={self.holdout_fraction} must lie between 0 and 1.')
      if self.validation:
        raise ValueError('--holdout_fraction makes a validation split, and --validation gives one; leave one out.')
    if self.validation_labels and not self.validation:
      raise ValueError('--validation_labels needs --validation, the flat folder or tar file it is about.')


def run(resolved: settings.Resolved):
  """Writes shards, or checks or indexes them, and prints their contents."""
  (config,) = resolved
  # TensorFlow is imported only now, so that --help and wrong flags are answered at once.
  from tpu_utils.images.preparation import job, verify

  num_processes = config.num_processes or os.cpu_count()
  if config.index:
    for path, count in job.write_indices(config.output_dir):
      print(f'{path}: {count} records')
    return
  made = verify.verify(config.output_dir, num_processes) if config.verify else job.prepare(config, num_processes)
  for split, shards in made.splits.items():
    print(
      f'{split}: {made.num_examples(split)} images of {len(made.class_names)} classes in {len(shards)} shards'
      f'{", verified" if config.verify else ""}'
    )


SCRIPT = Script(__doc__, (PrepareConfig,), run)


if __name__ == '__main__':
  SCRIPT.main()
