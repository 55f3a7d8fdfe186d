"""Opens the data set that a `config.DataConfig` names, and makes the trainer's input of it."""
import dataclasses
import os
from typing import Any

from tpu_utils import config, files
from tpu_utils import job as jobs
from tpu_utils.command_line import settings
from tpu_utils.image_jobs import fitting
from tpu_utils.images import digits
from tpu_utils.images.fake_input import FakeInput
from tpu_utils.images.imagenet_input import ImageNetInput
from tpu_utils.images.sources import image_folder, open_dataset, splitting
from tpu_utils.images.spec import Augmentation, PreprocessSpec

_SPLITS_READ = {
  'train': ['train'], 'eval': ['validation'], 'train_and_eval': ['train', 'validation'],
  'predict': ['validation'], 'export': [], 'preflight': ['train', 'validation'],
}  # fmt: skip
_COUNTS = {'train': 'num_train_images', 'validation': 'num_eval_images'}


def open_data(
  data: config.DataConfig, mode: str, model_dir: str | None = None
) -> tuple[Any, dict[str, Any]]:
  """Opens the data set and counts its images and classes.

  Makes no tensor, so that the strategy can be created afterwards.

  Args:
    data: the settings.
    mode: of the job; only the splits that it reads are opened.
    model_dir: folder of the job, in which its split is recorded.

  Returns:
    (data set, {setting: size counted in it, or how it is divided}). The data set is None if none is
    read: for fake input, and for an export with a given number of classes.

  Raises:
    ValueError: the data are missing or do not fit the settings.
  """
  if data.is_fake or (mode == 'export' and 'num_label_classes' in data.given):
    return None, {}
  dataset = open_dataset(
    data.data_dir,
    data.dataset,
    data.tfds_data_dir,
    data.eval_split,
    data.holdout_shards,
    data.holdout_fraction,
    data.split_file,
  )
  splits = _SPLITS_READ.get(mode, [])
  divided: dict[str, Any] = {}
  if dataset.lacks_validation:
    dataset, divided = _divide(dataset, data, model_dir, 'validation' in splits and mode != 'eval')
  sizes = {_COUNTS[split]: len(dataset.open(split)) for split in splits}
  if dataset.num_classes:
    sizes['num_label_classes'] = dataset.num_classes
  return dataset, sizes | divided


def _divide(dataset, data, model_dir, may_divide):
  """Holds out images of a set that has none to evaluate on, as its job did, or else by the rule.

  An evaluation alone does not divide: the job may have trained on all images.

  Returns:
    (data set, {setting: value} that makes every reader of the job divide as it did).
  """
  if not isinstance(dataset, image_folder.ImageFolder):
    if not may_divide:
      return dataset, {}
    print(
      f'{dataset.name} has no images to evaluate on: the last fifth of its training images is held '
      'out.'
    )
    divided = {'holdout_fraction': splitting.FRACTION}
    data = dataclasses.replace(data, **divided)
    return open_dataset(
      data.data_dir, data.dataset, data.tfds_data_dir, None, None, data.holdout_fraction
    ), divided
  path = os.path.join(model_dir, splitting.FILE) if model_dir else None
  if path and files.exists(path):
    print(f'{data.data_dir}: images are held out as {path} says.')
    return open_dataset(data.data_dir, split_file=path), {'split_file': path}
  if not may_divide:
    return dataset, {}
  print(dataset.divide().text(data.data_dir))
  return dataset, {'split_file': path} if path else {}


def with_data(resolved: settings.Resolved, mode: str) -> tuple[Any, settings.Resolved]:
  """Opens the data set of a script, and takes its sizes unless the user or a job gave them.

  Prints the settings that change.

  Args:
    resolved: settings, a `config.DataConfig` among them.
    mode: of the job.

  Returns:
    (data set or None, see `open_data`; settings with the sizes).

  Raises:
    ValueError: the data are missing or do not fit the settings.
  """
  jobs_own = [group.model_dir for group in resolved if isinstance(group, config.JobConfig)]
  dataset, sizes = open_data(resolved.get(config.DataConfig), mode, *jobs_own)
  # The job that wrote a checkpoint comes first: its model may have a background class, say.
  sizes = {name: value for name, value in sizes.items() if name not in resolved.facts}
  changes = resolved.changes(sizes)
  if changes:
    print(f'{dataset.name}: {settings.as_flags(changes)}')
  resolved = resolved.with_facts(sizes)
  num_classes = resolved.get(config.DataConfig).num_label_classes
  if dataset is not None and dataset.num_classes and num_classes < dataset.num_classes:
    raise ValueError(
      f'--num_label_classes={num_classes}, but {dataset.name} has {dataset.num_classes} classes; '
      'leave the flag out.'
    )
  return dataset, resolved


def check_length(resolved: settings.Resolved, name: str) -> None:
  """Checks that the batch and the number of steps suit the training set, unless the user gave them.

  Recipes and defaults are made for large data sets.

  Args:
    resolved: settings with the sizes of the data, a `config.JobConfig` among them.
    name: of the data set, for the message.

  Raises:
    ValueError: the batch is larger than the training set, or training takes over 1000 epochs.
  """
  data, job = resolved.get(config.DataConfig), resolved.get(config.JobConfig)
  jobs.check_length(
    name,
    data.num_train_images,
    data.train_batch_size,
    job.train_steps,
    given=resolved.flags,
    unit='training images',
  )
  fitting.report_length(name, data, job)


def make_input(
  spec: PreprocessSpec,
  data: config.DataConfig,
  dataset: Any,
  seed: int = 0,
  use_bfloat16: bool = False,
  augmentation: Augmentation | None = None,
) -> ImageNetInput | FakeInput:
  """Returns the input of a job.

  Args:
    spec: the model's preprocessing.
    data: the settings.
    dataset: from `open_data`; None for fake input.
    seed: of the order and the augmentation.
    use_bfloat16: whether images are bfloat16.
    augmentation: of training; the settings' policies and mixing are added. None for the official
      one, or the digits' own.
  """
  common: dict[str, Any] = {
    'train_batch_size': data.train_batch_size,
    'eval_batch_size': data.eval_batch_size,
    'num_label_classes': data.num_label_classes,
    'use_bfloat16': use_bfloat16,
    'transpose_input': data.transpose_input,
  }
  if dataset is None:
    return FakeInput(spec, num_eval_images=data.num_eval_images, **common)
  default = digits.AUGMENTATION if data.is_digits else Augmentation()
  return ImageNetInput(
    dataset,
    spec,
    # 1001 classes of the data themselves leave no room for a background.
    include_background_label=data.num_label_classes == 1001 and dataset.num_classes != 1001,
    augmentation=_with_policies(augmentation or default, data),
    seed=seed,
    use_cache=data.use_cache,
    decoded_cache_gb=data.decoded_cache_gb,
    max_bad_records=data.max_bad_records,
    tf_data_service=data.tf_data_service,
    num_parallel_calls=data.num_parallel_calls,
    **common,
  )


def _with_policies(augmentation, data):
  least = data.random_crop_area
  return dataclasses.replace(
    augmentation,
    area_range=augmentation.area_range if least is None else (least, 1.0),
    augment_name=data.augment_name,
    randaug_num_layers=data.randaug_num_layers,
    randaug_magnitude=data.randaug_magnitude,
    mixup_alpha=data.mixup_alpha,
    cutmix_alpha=data.cutmix_alpha,
    random_erasing_prob=data.random_erasing_prob,
  )
