"""From the flags about data (`config.DataConfig`) to the input that the trainer reads."""
import dataclasses

from tpu_utils import config
from tpu_utils.command_line import settings
from tpu_utils.images import digits
from tpu_utils.images.fake_input import FakeInput
from tpu_utils.images.imagenet_input import ImageNetInput
from tpu_utils.images.sources import open_dataset
from tpu_utils.images.spec import Augmentation

_SPLITS_READ = {'train': ['train'], 'eval': ['validation'], 'train_and_eval': ['train', 'validation'], 'predict': ['validation'], 'export': []}
_COUNTS = {'train': 'num_train_images', 'validation': 'num_eval_images'}


def open_data(flag_values, mode):
  """Opens the data set, and lets it fill in the flags about its size that were not given.

  Prints what it filled in. No tensor is made, so the strategy can be made afterwards.

  Args:
    flag_values: parsed flags, those of `DataConfig` among them.
    mode: the job's.

  Returns:
    (data set, DataConfig). The data set is None where none is read: the null input, and an export for which
    the number of classes was given.

  Raises:
    ValueError: there are no such data, or they do not fit the flags.
  """
  data = settings.from_flags(config.DataConfig, flag_values)
  if data.is_fake or (mode == 'export' and flag_values['num_label_classes'].present):
    return None, data
  dataset = open_dataset(
    data.data_dir,
    data.dataset,
    data.tfds_data_dir,
    data.eval_split,
    data.holdout_shards,
    data.holdout_fraction,
  )
  found = {_COUNTS[split]: len(dataset.open(split)) for split in _SPLITS_READ[mode]}
  if dataset.num_classes:
    found['num_label_classes'] = dataset.num_classes
  news = {name: value for name, value in found.items() if value != flag_values[name].value}
  filled = settings.apply_preset(flag_values, news)
  if filled:
    print(f'{dataset.name}: ' + ' '.join(f'--{name}={value}' for name, value in filled.items()))
  data = settings.from_flags(config.DataConfig, flag_values)
  if dataset.num_classes and data.num_label_classes < dataset.num_classes:
    raise ValueError(
      f'--num_label_classes={data.num_label_classes}, but {dataset.name} has {dataset.num_classes} classes; '
      'leave the flag out.'
    )
  return dataset, data


def make_input(spec, data, dataset, seed=0, use_bfloat16=False, augmentation=None):
  """The input of a job.

  Args:
    spec: the model's `PreprocessSpec`.
    data: a `config.DataConfig`.
    dataset: what `open_data` gave.
    seed: of the order and the augmentation.
    use_bfloat16: images in bfloat16.
    augmentation: `Augmentation` of training, to which the flags' policies and mixing are added; None for
      the official one, or what digits can take.
  """
  common = {
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
  return dataclasses.replace(
    augmentation,
    augment_name=data.augment_name,
    randaug_num_layers=data.randaug_num_layers,
    randaug_magnitude=data.randaug_magnitude,
    mixup_alpha=data.mixup_alpha,
    cutmix_alpha=data.cutmix_alpha,
    random_erasing_prob=data.random_erasing_prob,
  )
