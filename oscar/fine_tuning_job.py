"""The jobs of the fine-tuning scripts: their batches, their length in epochs, and result files.

The official scripts train `num_train_epochs` passes of len(loader) // accumulation updates, where
the loader's last batch may be smaller; the learning rate falls over exactly these updates. Batches
here are all full, so an update sees as many examples, but a pass may end within a batch.

Source: microsoft/Oscar, `train` of oscar/run_vqa.py, run_gqa.py, run_nlvr.py, run_retrieval.py,
run_captioning.py.
"""
from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from oscar import script_settings, task_settings
from oscar.datasets import tags
from tpu_utils import config, files
from tpu_utils.command_line import settings

if TYPE_CHECKING:
  from oscar.fine_tuning import FineTuning

MASKED = 'masked_regions'  # In the names of results with --mask_regions.


def check_splits(parts: Sequence[Any], spec: FineTuning) -> None:
  """Reads the texts of the splits that a command will predict after its first mode.

  So that wrong files of these splits show before the training, not after it.

  Args:
    parts: the task's flags of each later mode, with its `eval_split`.
    spec: the task.

  Raises:
    ValueError, OSError: the texts of a split are missing or damaged.
  """
  if spec.evaluates_tests:  # Their splits depend on further flags.
    return
  for data in parts:
    importlib.import_module(spec.implementation).count(data, data.eval_split)


def run(
  mode: str,
  model: task_settings.ModelConfig,
  data: Any,
  resolved: settings.Resolved,
  spec: FineTuning,
) -> None:
  """Runs the job of one mode, and writes its result files.

  Args:
    mode: of the job, such as 'predict'.
    model: the flags of the network.
    data: the task's flags, of the split to evaluate or predict.
    resolved: all settings, for the other groups.
    spec: the task.

  Raises:
    ValueError: settings contradict each other, the devices or the data.
    OSError: a file cannot be read or written.
  """
  # TensorFlow is imported only now, so that --help and wrong flags are answered at once.
  from oscar import job as oscar_job
  from oscar.tasks import kept
  from tpu_utils import job as jobs
  from tpu_utils.runner import prepare_model_dir

  kept.forget()  # Files may have changed since another job of this process.
  implementation = importlib.import_module(spec.implementation)
  optimization, job = resolved[2], resolved.get(spec.job)
  hardware = resolved.get(config.HardwareConfig)
  training = mode in ('train', 'train_and_eval', 'preflight')
  data = dataclasses.replace(
    task_settings.with_tags_flag(data),
    train_split=_train_split(data, job),
    **_trimming(data, hardware, mode),
    **_batches(data, optimization, hardware),
  )
  steps, per_epoch = _length(implementation, data, optimization, training)
  # As `given`: no flags of their own.
  object.__setattr__(data, 'steps_per_epoch', per_epoch)
  object.__setattr__(data, 'forward_passes', optimization.gradient_accumulation_steps)
  runtime = _runtime(mode, _set_apart(job, mode, data, resolved.facts), data, steps, per_epoch)
  as_it_is = mode in ('eval', 'predict') and 'init_checkpoint' in resolved.flags
  recorded = {**resolved.as_dict(), 'max_steps': steps, 'train_split': data.train_split}
  task = dataclasses.replace(
    implementation.TASK, open_input=_opening_splits(implementation.TASK, mode)
  )
  made = oscar_job.make_job(
    task,
    model,
    data,
    _shared_settings(script_settings.OptimizationConfig, optimization),
    runtime,
    hardware,
    run_info={'flags': recorded},
    as_it_is=as_it_is,
    num_train_examples=None if training else 1,  # Only for the number of epochs trained.
  )
  if mode == 'predict':
    prepare_model_dir(runtime.model_dir)
  jobs.run(made)
  if mode == 'predict' and task.predictor is None:
    _write_results(implementation, data, runtime.predict_file, runtime.model_dir, spec)


def _write_results(implementation, data, lines, folder, spec):
  """Writes the result file of predictions, and prints their metrics."""
  file = spec.results_name(data) if spec.results_name else f'{results_name(data)}{spec.results}'
  results = os.path.join(folder, file)
  files.remove(results)  # Of an earlier run: without identifiers NLVR2 writes none.
  metrics = implementation.write_results(data, files.read_json_lines(lines), results)
  if metrics:
    text = ', '.join(f'{name} {value:.4f}' for name, value in metrics.items())
    print(f'Predictions for {data.eval_split}: {text}')
  if files.exists(results):
    print(f'{spec.results_are or _results_are(data.eval_split, spec)}: {results}')


def _results_are(split, spec):
  if split in spec.unanswered:
    return 'Results for the test server'
  return f'Results of {split}, in the form of a submission'


def results_name(data: task_settings.TaskData) -> str:
  """Returns the start of the names of a split's predictions and results."""
  parts = [data.eval_split]
  parts += [MASKED] if data.mask_regions else []
  parts += [] if data.tags == tags.GIVEN else [tags.name(data.tags)]
  return '_'.join(parts)


def _set_apart(job, mode, data, facts):
  """Returns the settings of an evaluation with other regions or tags than those of the training.

  Its results are no results of the job: they go to a folder of their own, and the best checkpoint
  stays.
  """
  parts = []
  if data.mask_regions != bool(facts.get('mask_regions')):
    parts.append(MASKED if data.mask_regions else 'shown_regions')
  if data.tags != facts.get('tags', tags.GIVEN):
    parts.append(tags.name(data.tags))
  if mode != 'eval' or not parts:
    return job
  name = job.eval_name or '_'.join(parts)
  return dataclasses.replace(job, eval_name=name, archive_ckpt=False)


def _opening_splits(task, mode):
  """Returns `task.open_input` that opens the splits of a mode at once: bad data show early."""

  def opened(data, *args):
    source = task.open_input(data, *args)
    for split, modes in (
      ('train', ('train', 'train_and_eval', 'preflight')),
      ('eval', ('train_and_eval', 'eval', 'predict', 'preflight')),
    ):  # fmt: skip
      if mode in modes:
        getattr(source, f'num_{split}_examples')
    if mode in ('train_and_eval', 'eval', 'predict'):
      task.check_eval(data, mode)
    return source

  return opened


def _train_split(data, job):
  """Returns the split to train on."""
  return data.train_split or ('train+val' if getattr(job, 'do_train_val', False) else 'train')


def _runtime(mode, job, data, steps, per_epoch):
  """Returns the job's settings as those of any script."""
  lines = getattr(job, 'predict_file', None) or os.path.join(
    job.model_dir, f'{results_name(data)}_predictions.jsonl'
  )
  return _shared_settings(
    script_settings.JobConfig,
    job,
    mode=mode,
    predict_file=lines,
    train_steps=steps,
    steps_per_eval=_steps_per_eval(job, per_epoch),
  )


def _shared_settings(runtime_class, own, **known):
  """Returns settings with the `known` values, and those of `own` in fields of the same names."""
  here, there = ({field.name for field in dataclasses.fields(c)} for c in (runtime_class, own))
  return runtime_class(**{name: getattr(own, name) for name in (here & there) - {*known}}, **known)


def _trimming(data, hardware, mode):
  """Returns {'trim_padding': whether to}, off on TPUs; {} for a task without it."""
  if not hasattr(data, 'trim_padding'):
    return {}
  on_tpu = hardware.strategy == 'tpu' or hardware.tpu or mode == 'preflight'
  return {'trim_padding': data.trim_padding and not on_tpu}


def _batches(data, optimization, hardware):
  """Returns the global batch sizes; per-device ones are multiplied by the devices."""
  train, evaluation = data.train_batch_size, data.eval_batch_size
  if train is None or evaluation is None:
    devices = _devices(hardware, data)
    parts = optimization.gradient_accumulation_steps
    train = train or data.per_gpu_train_batch_size * devices * parts
    evaluation = evaluation or data.per_gpu_eval_batch_size * devices
  return {'train_batch_size': train, 'eval_batch_size': evaluation}


def _devices(hardware, data):
  """Returns the number of devices, before there is a strategy."""
  if hardware.strategy == 'one_device':
    return 1
  if hardware.strategy in ('tpu', 'multi_worker') or hardware.tpu or os.environ.get('TF_CONFIG'):
    raise ValueError(
      f'--per_gpu_train_batch_size={data.per_gpu_train_batch_size}: on TPUs and several machines '
      'give the global sizes, --train_batch_size and --eval_batch_size.'
    )
  import tensorflow as tf

  return max(1, len(tf.config.list_physical_devices('GPU')))


def _length(implementation, data, optimization, training):
  """Returns (steps of the whole training, steps of an epoch)."""
  if not training:
    # Of a job's record: `max_steps` counts its steps.
    steps = max(1, optimization.max_steps)
    return steps, steps
  examples = implementation.count(data, data.train_split)
  parts = optimization.gradient_accumulation_steps
  per_epoch = steps_per_epoch(examples, data.train_batch_size, parts)
  if optimization.max_steps > 0:
    return optimization.max_steps, per_epoch
  steps = int(per_epoch * optimization.num_train_epochs)
  if not steps:
    raise ValueError(
      f'--num_train_epochs={optimization.num_train_epochs} of {examples} examples is no step in '
      f'batches of {data.train_batch_size}; train for longer.'
    )
  return steps, per_epoch


def steps_per_epoch(examples: int, batch_size: int, accumulation_steps: int = 1) -> int:
  """Returns the updates of an epoch as the official scripts count them.

  Args:
    examples: training examples.
    batch_size: examples of an update.
    accumulation_steps: parts of a batch, each a batch of the official loader.
  """
  part = max(1, batch_size // accumulation_steps)
  return max(1, -(-examples // part) // accumulation_steps)


def _steps_per_eval(job, per_epoch):
  if job.steps_per_eval is not None:
    return job.steps_per_eval
  if not job.evaluate_during_training:
    return per_epoch
  if hasattr(job, 'save_steps'):  # Retrieval evaluates where the official script saves.
    return job.save_steps if job.save_steps > 0 else per_epoch
  return job.logging_steps if 0 < job.logging_steps < per_epoch else per_epoch
