"""Opens the data set that the flags mean."""
import os

import tensorflow as tf

from tpu_utils.images import digits
from tpu_utils.images.sources.image_folder import ImageFolder
from tpu_utils.images.sources.shards import Shards


def open_dataset(
  data_dir='', dataset=None, tfds_data_dir=None, eval_split=None, holdout_shards=None, holdout_fraction=None
):
  """Returns the data set that the flags of these names mean.

  Args:
    data_dir: folder of TFRecord shards or of images; empty, and no `dataset`: the embedded digits.
    dataset: name of a prepared TFDS set.
    tfds_data_dir: where that is prepared.
    eval_split: which split of that to evaluate on.
    holdout_shards: shards: how many of training to evaluate on.
    holdout_fraction: TFDS sets and image folders: share of training to evaluate on.

  Returns:
    `interface.DataSet`.

  Raises:
    ValueError: the flags contradict each other, or there are no such data.
  """
  if dataset:
    if data_dir:
      raise ValueError(
        f'--dataset={dataset} and --data_dir={data_dir} are two data sets; give one (--tfds_data_dir says '
        'where --dataset is prepared).'
      )
    _refuse('--holdout_shards', holdout_shards, 'TFRecord shards', 'use --holdout_fraction')
    # Importing it takes a while, and only this needs it.
    from tpu_utils.images.sources.tfds_set import TfdsSet

    return TfdsSet(dataset, tfds_data_dir, eval_split, holdout_fraction)
  _refuse('--tfds_data_dir', tfds_data_dir, '--dataset', 'name the data set, too')
  _refuse('--eval_split', eval_split, '--dataset', 'name the data set, too')
  if not data_dir:
    _refuse('--holdout_fraction', holdout_fraction, 'TFDS sets and image folders', 'use --holdout_shards')
    return Shards(digits.DATA_DIR, holdout_shards, digits.NUM_CLASSES)
  if _has_shards(data_dir):
    _refuse('--holdout_fraction', holdout_fraction, 'TFDS sets and image folders', 'use --holdout_shards')
    return Shards(data_dir, holdout_shards)
  _refuse('--holdout_shards', holdout_shards, 'TFRecord shards', 'use --holdout_fraction')
  return ImageFolder(data_dir, holdout_fraction)


def _has_shards(data_dir):
  """Whether the folder is one of shards; ValueError if it is neither that nor one of images."""
  if not tf.io.gfile.isdir(data_dir):
    raise ValueError(
      f'--data_dir={data_dir} is no folder; give one of TFRecord shards (train-*, validation-*) or of images.'
    )
  names = sorted(tf.io.gfile.listdir(data_dir))
  shards = [name for name in names if name.startswith(('train-', 'validation-'))]
  if shards and not tf.io.gfile.isdir(os.path.join(data_dir, shards[0])):
    return True
  if not any(tf.io.gfile.isdir(os.path.join(data_dir, name)) for name in names):
    found = f'it holds {", ".join(names[:5])}{", ..." if len(names) > 5 else ""}' if names else 'it is empty'
    raise ValueError(
      f'--data_dir={data_dir} has neither TFRecord shards named train-* or validation-* nor folders of images '
      f'({found}); write shards with python -m tpu_utils.images.prepare, or give the folder that has them.'
    )
  return False


def _refuse(flag, value, belongs_to, remedy):
  if value:
    raise ValueError(f'{flag}={value} is for {belongs_to}; {remedy}.')
