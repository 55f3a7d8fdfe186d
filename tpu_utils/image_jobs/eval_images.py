"""Opens the labelled images that a checkpoint is evaluated on.

A folder of classes that is not divided is evaluated on the images that the checkpoint's job held
out; on all of them if the job held out none of this folder.
"""
import os
from typing import Any

from tpu_utils import files
from tpu_utils.command_line import job_flags
from tpu_utils.images.sources import image_folder, interface, open_dataset, splitting

_LEAST_SHARE = 0.5  # Of the recorded images, if it is the folder that they were recorded for.


def open_images(data: Any, checkpoint: str | None) -> interface.DataSet:
  """Opens the data set that the settings name; prints which images of an undivided folder it has.

  Args:
    data: settings with `data_dir`, `dataset`, `tfds_data_dir` and `eval_split`.
    checkpoint: path of the model; None if no job of this project wrote it.

  Raises:
    ValueError, OSError: the data or the job's record cannot be read.
  """
  dataset = open_dataset(data.data_dir, data.dataset, data.tfds_data_dir, data.eval_split)
  if not isinstance(dataset, image_folder.ImageFolder) or not dataset.lacks_validation:
    return dataset
  root = image_folder.split_folders(data.data_dir)['train']
  images = image_folder.list_images(root, dataset.class_names or ())
  names = {splitting.name_of(path) for path, _ in images}
  held_out, source = _held_out(images, data.data_dir, checkpoint)
  chosen = names & held_out
  if len(chosen) > _LEAST_SHARE * len(held_out):
    print(f'{data.data_dir}: the {len(chosen):,} of {len(names):,} images that {source} holds out.')
  else:
    chosen = names
    print(f'{data.data_dir}: all {len(names):,} images; no job is known to have held out any.')
  return image_folder.ImageFolder(data.data_dir, held_out=chosen)


def _held_out(images, data_dir, checkpoint):
  """Returns (names of the images that the job held out, what says so); none without a job."""
  job = job_flags.of_checkpoint(checkpoint) if checkpoint else None
  split_file, fraction = (job or {}).get('split_file'), (job or {}).get('holdout_fraction')
  if split_file and files.exists(split_file):
    return splitting.read(split_file), split_file
  if fraction and os.path.abspath(data_dir) == os.path.abspath(job.get('data_dir') or ''):
    return set(splitting.divide(images, fraction).validation), f'--holdout_fraction={fraction}'
  return set(), ''
