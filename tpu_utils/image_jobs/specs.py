"""The preprocessing of a job's images: the network's own, that of its weights, or the user's.

Imports TensorFlow only in functions, if weights or a job are given.
"""
from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from tpu_utils import config
from tpu_utils.command_line import job_flags, settings
from tpu_utils.images.spec import PreprocessSpec, fitted

if TYPE_CHECKING:
  from tpu_utils.image_jobs.script import ModelConfig

PRETRAINED = 'pretrained'  # Instead of a checkpoint's path: ImageNet weights from a package.
# {field of a `PreprocessSpec`: its flag}, of those that Hugging Face's config.json can set.
_FLAGS = {'image_size': 'input_image_size', 'crop': 'crop_rule', 'interpolation': 'interpolation'}
_INSTEAD = {'image_size': '224', 'crop': '0.875', 'interpolation': 'bicubic'}
_ADVPROP_RGB = (127.5,) * 3  # Mean and standard deviation with --advprop.


def fitted_spec(
  spec: PreprocessSpec, model_config: ModelConfig, data: Any, is_digits: bool
) -> PreprocessSpec:
  """Returns the `PreprocessSpec` of a network with the user's settings in place of its own.

  Args:
    spec: the network's own.
    model_config: the network's settings.
    data: settings with `crop_rule`, `interpolation` and `advprop`.
    is_digits: see `spec.fitted`.
  """
  return fitted(
    spec,
    image_size=model_config.input_image_size,
    crop=data.crop_rule,
    interpolation=data.interpolation,
    advprop=data.advprop,
    is_digits=is_digits,
  )


def published_spec(
  spec: PreprocessSpec, checkpoint: str, model_config: ModelConfig, data: Any
) -> PreprocessSpec:
  """Returns a network's `PreprocessSpec` with the values in Hugging Face's `config.json`, if any.

  Prints the values.

  Args:
    spec: the network's own.
    checkpoint: the folder or file of weights.
    model_config: the network's settings, which override those values.
    data: settings with `crop_rule` and `interpolation`, which do so, too.

  Raises:
    ValueError: that file is not JSON, or has a value without counterpart here that no setting
      overrides.
  """
  fields = _published_fields(
    checkpoint,
    {
      'image_size': model_config.input_image_size,
      'crop': data.crop_rule,
      'interpolation': data.interpolation,
    },
  )
  if fields:
    values = '; '.join(f'{name} {value}' for name, value in fields.items())
    print(f'Images are prepared as config.json of {checkpoint} says, unless flags differ: {values}')
  return dataclasses.replace(spec, **fields)


def _published_fields(checkpoint, given):
  """Returns the fields of a `PreprocessSpec` in `config.json`; `given` has those of the user."""
  from tpu_utils.weights import hugging_face

  fields, others = hugging_face.preprocessing(checkpoint)
  for field, flag in _FLAGS.items():
    if field in others and not given[field]:
      raise ValueError(
        f'config.json of {checkpoint} has {others[field]}, which has no counterpart here: other '
        f'pixels would reach the network. To use it all the same, give --{flag}, such as '
        f'--{flag}={_INSTEAD[field]}.'
      )
  return fields


def like_initial_weights(resolved: settings.Resolved) -> settings.Resolved:
  """Returns the settings of a training with images prepared as for the weights that it starts from.

  These are the size, interpolation, central crop and scaling in Hugging Face's `config.json`. Flags
  and recipes come first. The values become settings of the job, so that run.json, evaluation and
  export have them; a job that resumes takes them from run.json. Prints them.

  Raises:
    ValueError: that file is not JSON, or has a value without counterpart here that no setting
      overrides.
  """
  data, job = resolved.get(config.DataConfig), resolved.get(config.JobConfig)
  checkpoint = resolved.get(config.FineTuningConfig).init_checkpoint
  if not checkpoint or checkpoint == PRETRAINED:
    return resolved
  names = [*_FLAGS.values(), 'advprop']
  now = resolved.as_dict()
  own = _flags_of_started_job(job.model_dir)
  if own is not None:
    facts, origin = {name: own[name] for name in names if own.get(name)}, 'the job that resumes'
  else:
    fields = _published_fields(checkpoint, {field: now[flag] for field, flag in _FLAGS.items()})
    facts = {_FLAGS[field]: value for field, value in fields.items() if field in _FLAGS}
    if fields.get('mean_rgb') == fields.get('stddev_rgb') == _ADVPROP_RGB:
      facts['advprop'] = True
    origin = f'config.json of {checkpoint}'
    if data.is_digits:  # They are too small for another network's crop.
      facts.pop('crop_rule', None)
  facts = {
    name: value for name, value in facts.items() if name not in resolved.flags and not now[name]
  }
  if facts:
    print(
      f'Images are prepared in training, evaluation and export as {origin} says: '
      f'{settings.as_flags(facts)}'
    )
  return resolved.with_facts(facts)


def _flags_of_started_job(model_dir):
  """Returns the flags of the job in `model_dir` if it has checkpoints, else None."""
  from tpu_utils import checkpoints

  if not checkpoints.CheckpointManager(model_dir).steps():
    return None
  try:
    return job_flags.of_checkpoint(model_dir) or {}
  except ValueError:  # A damaged run.json is reported by the job and does not stop it.
    return {}
