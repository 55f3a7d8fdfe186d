"""Selection of the data set by the values of the data flags."""
import os

from tpu_utils import files
from tpu_utils.images import digits, tfrecords
from tpu_utils.images.sources import idx_files, picture_files, splitting
from tpu_utils.images.sources.image_folder import ImageFolder
from tpu_utils.images.sources.interface import DataSet
from tpu_utils.images.sources.shards import Shards

_REFUSED_FRACTION = ('TFDS sets and image folders', 'use --holdout_shards')
_DIVIDED = ('data without images to evaluate on', "MNIST's files have some (t10k-*): leave it out")


def open_dataset(
  data_dir: str = '',
  dataset: str | None = None,
  tfds_data_dir: str | None = None,
  eval_split: str | None = None,
  holdout_shards: int | None = None,
  holdout_fraction: float | None = None,
  split_file: str | None = None,
) -> DataSet:
  """Opens the data set that the flags with the names of the arguments select.

  Args:
    data_dir: folder of TFRecord shards, of MNIST's files or of images. If it and `dataset` are
      empty: the digits.
    dataset: name of a prepared TFDS set.
    tfds_data_dir: folder in which `dataset` is prepared.
    eval_split: split of `dataset` to evaluate on.
    holdout_shards: for shards: number of training shards to evaluate on.
    holdout_fraction: for TFDS sets and image folders: share of the training images to evaluate on.
    split_file: for image folders: the JSON file that lists the training images to evaluate on.

  Raises:
    ValueError: the flags contradict each other, or the data do not exist.
    FileNotFoundError: there is no `split_file`.
  """
  if dataset:
    if data_dir:
      raise ValueError(
        f'--dataset={dataset} and --data_dir={data_dir} are two data sets; give one '
        '(--tfds_data_dir names the folder in which --dataset is prepared).'
      )
    _refuse('--holdout_shards', holdout_shards, 'TFRecord shards', 'use --holdout_fraction')
    _refuse('--split_file', split_file, 'image folders', 'use --holdout_fraction')
    # Importing tensorflow_datasets takes seconds, and only TFDS sets need it.
    from tpu_utils.images.sources.tfds_set import TfdsSet

    return TfdsSet(dataset, tfds_data_dir, eval_split, holdout_fraction)
  _refuse('--tfds_data_dir', tfds_data_dir, '--dataset', 'name the data set, too')
  _refuse('--eval_split', eval_split, '--dataset', 'name the data set, too')
  if data_dir:
    picture_files.check_text(data_dir, '--data_dir')
  if data_dir and idx_files.has_idx_files(data_dir):
    _refuse('--holdout_shards', holdout_shards, *_DIVIDED)
    _refuse('--holdout_fraction', holdout_fraction, *_DIVIDED)
    _refuse('--split_file', split_file, *_DIVIDED)
    return idx_files.IdxFiles(data_dir)
  if not data_dir or _has_shards(data_dir):
    _refuse('--split_file', split_file, 'image folders', 'use --holdout_shards')
    _refuse('--holdout_fraction', holdout_fraction, *_REFUSED_FRACTION)
    if not data_dir:
      return Shards(digits.DATA_DIR, holdout_shards, digits.NAMES)
    return Shards(data_dir, holdout_shards)
  _refuse('--holdout_shards', holdout_shards, 'TFRecord shards', 'use --holdout_fraction')
  if split_file and holdout_fraction:
    raise ValueError(
      f'--split_file={split_file} and --holdout_fraction={holdout_fraction} are two ways to divide '
      'the images; give one.'
    )
  return ImageFolder(
    data_dir, holdout_fraction, splitting.read(split_file) if split_file else None
  )


def _has_shards(data_dir):
  """Returns whether a folder contains shards; ValueError if it has neither shards nor folders."""
  picture_files.check_text(data_dir, '--data_dir')
  if not files.is_folder(data_dir):
    raise ValueError(
      f'--data_dir={data_dir} is not a folder; give one of TFRecord shards (train-*, validation-*) '
      'or of images.'
    )
  paths = files.paths_in(data_dir)
  shards = [p for p in paths if os.path.basename(p).startswith(('train-', 'validation-'))]
  if shards and not files.is_folder(shards[0]):
    return True
  if not any(map(files.is_folder, paths)):
    raise ValueError(
      f'--data_dir={data_dir} has neither TFRecord shards named train-* or validation-* nor '
      f'folders of images ({tfrecords.describe_folder(data_dir)}); write shards with '
      'python -m tpu_utils.images.prepare, or give the folder that has them.'
    )
  return False


def _refuse(flag, value, belongs_to, remedy):
  if value:
    raise ValueError(f'{flag}={value} is for {belongs_to}; {remedy}.')
