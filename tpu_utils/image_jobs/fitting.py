"""Settings of a training that follow from the number of its images: batch, steps, warm-up and more.

The recipe `finetune`, which `recipe` makes for each paper, leaves them to this module; flags
override each of them, and the others follow from the given ones. Imports neither TensorFlow nor
Keras.
"""
from __future__ import annotations

import dataclasses
import math
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from tpu_utils import config, files
from tpu_utils.command_line import job_flags, settings
from tpu_utils.command_line.recipes import Recipe
from tpu_utils.image_jobs import memory

FINETUNE = 'finetune'  # Name of the recipe.

LEARNING_RATE = 0.0125  # Of SGD with momentum, at the default batch.
FROZEN_FACTOR = 0.2  # Frozen batch norms do not absorb the growth of weights.
_LIVE_BATCH = 64  # Statistics of smaller batches are too noisy: batch norm stays as loaded.
_WARMUP, _EVALUATIONS = 0.1, 10  # Share of the training; number over the training.
_MOST_EPOCHS = 1000


def recipe(script: str, arguments: str, **settings: bool | float | str) -> Recipe:
  """Makes a paper's recipe for own images, from weights.

  Args:
    script: module that trains, such as 'efficientnet.main'.
    arguments: flags of its command, besides --recipe, --data_dir and --model_dir.
    **settings: settings in which it differs from those of the other papers.
  """
  return Recipe(
    name=FINETUNE,
    script=script,
    paper=(
      "this project's: Nesterov momentum and a cosine schedule as in Kornblith et al. (arXiv "
      '1805.08974); batch, steps, warm-up, evaluation and learning rate follow from the number of '
      'images (tpu_utils/image_jobs/fitting.py) and are printed before training starts'
    ),
    settings={
      'optimizer': 'momentum',
      'nesterov': True,
      'lr_schedule': 'cosine',
      'label_smoothing': 0.1,
      'moving_average_decay': 0.0,
      'weight_decay': 1e-5,
      'adapt_batch_norm': True,
      **settings,
    },
    command=f'python -m {script} --recipe={FINETUNE} {arguments} --data_dir=IMAGES --model_dir=RUN',
    expects='none published',
    cost='not timed; some minutes on two CPU cores for some hundred images',
  )


@dataclasses.dataclass(frozen=True)
class Machine:
  """The part of the hardware that sizes depend on.

  Attributes:
    is_tpu: whether the job runs on a TPU.
    largest_batch: images that fit into memory; None if that is not known.
  """

  is_tpu: bool = False
  largest_batch: int | None = None


def batch_size(num_images: int, machine: Machine | None = None) -> int:
  """Returns the training batch: the power of two at or below 2 sqrt(images), from 8 to 256.

  So the number of steps of an epoch grows as the batch does. A TPU gets at least 128, for its
  cores; never more than the images, nor than memory holds.
  """
  machine = machine or Machine()
  wanted = min(max(2 * math.sqrt(num_images), 128 if machine.is_tpu else 8), 256)
  limit = num_images if machine.largest_batch is None else min(num_images, machine.largest_batch)
  return _power_of_two(max(1, min(wanted, limit)))


def epochs(num_images: int) -> int:
  """Returns the number of epochs: 140 / images^(1/3), from 5 to 40; fewer images, more epochs."""
  return min(max(round(140 / num_images ** (1 / 3)), 5), 40)


def _power_of_two(number):
  return 2 ** (int(number).bit_length() - 1)


def sizes(
  num_images: int,
  num_eval_images: int,
  given: Mapping[str, Any],
  machine: Machine | None = None,
  frozen: bool = False,
) -> dict[str, Any]:
  """Returns {flag: value} of the settings that fit a number of images.

  Args:
    num_images: training images.
    num_eval_images: images to evaluate on.
    given: {flag: value} of the user, which the others follow.
    machine: see `Machine`.
    frozen: whether batch norm is frozen.
  """
  machine = machine or Machine()
  batch = given.get('train_batch_size') or batch_size(num_images, machine)
  steps = given.get('train_steps') or steps_of(
    given.get('train_epochs') or epochs(num_images), num_images, batch
  )
  evaluation = given.get('steps_per_eval') or -(-steps // _EVALUATIONS)
  loop = min(evaluation, 100 if machine.is_tpu else 10)
  rate = LEARNING_RATE * (FROZEN_FACTOR if frozen else 1)
  return {
    'train_batch_size': batch,
    'eval_batch_size': _power_of_two(min(max(2 * num_eval_images - 1, 8), 64)),
    'train_steps': steps,
    'steps_per_eval': evaluation,
    'iterations_per_loop': loop,
    'log_step_count_steps': max(loop, steps // 100),
    'lr_warmup_epochs': round(_WARMUP * steps * batch / num_images, 2),
    # The trainer multiplies by batch / 256.
    'base_learning_rate': float(f'{rate * 256 / batch:.4g}'),
    'use_bfloat16': machine.is_tpu,
    'transpose_input': machine.is_tpu,
  }


def steps_of(num_epochs: float, num_images: int, batch: int) -> int:
  """Returns the number of steps of some epochs; the last one is completed."""
  return max(1, math.ceil(round(num_epochs * num_images / batch, 6)))


def with_epochs(resolved: settings.Resolved) -> settings.Resolved:
  """Returns the settings with the steps of --train_epochs, if it is given.

  Raises:
    ValueError: --train_steps is given, too, or the epochs are too many steps to count.
  """
  num_epochs = resolved.get(config.LengthConfig).train_epochs
  if num_epochs is None:
    return resolved
  check_length_flags(resolved)
  data = resolved.get(config.DataConfig)
  steps = steps_of(num_epochs, data.num_train_images, data.train_batch_size)
  print(
    f'--train_epochs={num_epochs:g}: {steps:,} steps of {data.train_batch_size} of the '
    f'{data.num_train_images:,} training images'
  )
  return resolved.with_facts({'train_steps': steps})


def check_length_flags(resolved: settings.Resolved) -> None:
  """Checks that the user did not give the length of the training twice.

  Raises:
    ValueError: --train_epochs and --train_steps are given.
  """
  if {'train_epochs', 'train_steps'} <= resolved.flags.keys():
    raise ValueError(
      f'--train_epochs={resolved.flags["train_epochs"]:g} and '
      f'--train_steps={resolved.flags["train_steps"]} both set the length of the training; give '
      'one.'
    )


def fit(
  resolved: settings.Resolved, needs: Callable[[], memory.Needs], classes: int
) -> settings.Resolved:
  """Returns the settings of a fine-tuning that fit its data, and prints them.

  A job that resumes keeps the sizes that fitted the number of images with which it began.

  Args:
    resolved: settings with the sizes of the data.
    needs: function() -> memory that training needs, called if it limits the batch.
    classes: number of classes, to print.
  """
  check_length_flags(resolved)
  data, job = resolved.get(config.DataConfig), resolved.get(config.JobConfig)
  is_tpu = bool(resolved.get(config.HardwareConfig).tpu)
  before = flags_before(job.model_dir)
  if before.get('recipe') != FINETUNE:
    before = {}
  num_images = before.get('num_train_images') or data.num_train_images
  used, room = None, None if is_tpu else memory.available()
  if room is not None:
    used = needs()
  machine = Machine(is_tpu, used.largest_batch(room) if used and room else None)
  tuning, given = resolved.get(config.FineTuningConfig), resolved.flags
  freeze = given.get('freeze') or before.get('freeze')
  freeze = freeze or _freeze(num_images, tuning, given, machine)
  facts = sizes(num_images, data.num_eval_images, given, machine, freeze == 'bn')
  facts['freeze'] = freeze
  resolved = resolved.with_facts({
    name: value for name, value in facts.items() if name not in given
  })
  print(_text(resolved, classes, used, room), flush=True)
  return resolved


def _freeze(num_images, tuning, given, machine):
  """Returns the part to freeze: loaded batch norms that would see small batches."""
  batch = given.get('train_batch_size') or batch_size(num_images, machine)
  return 'bn' if tuning.init_checkpoint and batch < _LIVE_BATCH else 'none'


def flags_before(model_dir: str | None) -> dict[str, Any]:
  """Returns {flag: value} of the last start of the job in a folder; empty if there was none."""
  if not model_dir or not files.exists(os.path.join(model_dir, job_flags.RECORD)):
    return {}
  try:
    return job_flags.of_checkpoint(model_dir) or {}
  except ValueError:  # Reported by the job, which does not depend on it.
    return {}


def _text(resolved, classes, used, room):
  data, job = resolved.get(config.DataConfig), resolved.get(config.JobConfig)
  optimization = resolved.get(config.OptimizationConfig)
  batch, images = data.train_batch_size, data.num_train_images
  num_epochs = job.train_steps * batch / images
  rate = optimization.base_learning_rate * batch / 256
  freeze = resolved.get(config.FineTuningConfig).freeze
  warmup = optimization.lr_warmup_epochs * images / batch
  rows = [
    ('batch', f'{batch} images', '--train_batch_size'),
    ('training', f'{job.train_steps} steps, {num_epochs:.3g} epochs', '--train_epochs'),
    (
      'evaluation', f'every {job.steps_per_eval} steps, in batches of {data.eval_batch_size}',
      '--steps_per_eval, --eval_batch_size',
    ),
    (
      'learning rate', f'{rate:.3g} after {warmup:.0f} steps of warm-up',
      f'--base_learning_rate={optimization.base_learning_rate:g} (for 256 images), '
      '--lr_warmup_epochs',
    ),
  ]  # fmt: skip
  norms = 'as loaded' if freeze != 'none' else 'trained'
  rows.append(('batch norm', norms, f'--freeze={freeze}'))
  if used and room:
    size = f'about {used.of_batch(batch) / 1e9:.1f} of {room / 1e9:.1f} GB'
    rows.append(('memory', size, '--train_batch_size, --input_image_size'))
  lines = [f'  {name:14}{value:33} {flags}' for name, value, flags in rows]
  held = f', {data.num_eval_images:,} to evaluate on' if job.mode != 'train' else ''
  return '\n'.join([
    f'Settings for {images:,} images of {classes} classes{held} (flags override them):', *lines
  ])


def report_length(name: str, data: config.DataConfig, job: config.JobConfig) -> None:
  """Prints a line to standard error for a batch or length that the user gave and that looks wrong.

  Args:
    name: of the data set.
    data: settings with the sizes of the data.
    job: settings with the number of steps.
  """
  images, batch = data.num_train_images, data.train_batch_size
  fitting = batch_size(images)
  if batch > images and 'train_batch_size' in data.given:
    print(
      f'{name}: --train_batch_size={batch} is more than its {images} training images; '
      f'--train_batch_size={fitting} would fit.',
      file=sys.stderr,
    )
  num_epochs = job.train_steps * batch / images
  if num_epochs > _MOST_EPOCHS and 'train_steps' in job.given:
    steps = steps_of(epochs(images), images, batch)
    print(
      f'{name}: --train_steps={job.train_steps} shows its {images} training images '
      f'{num_epochs:,.0f} times; --train_steps={steps} would be {epochs(images)} epochs.',
      file=sys.stderr,
    )
