"""The flags of a job of ours, from the record in its `--model_dir`, for scripts that read its checkpoints."""
import dataclasses
import json
import os

_RECORD = 'run.json'


def of_checkpoint(path):
  """{flag: value} of the job that wrote a checkpoint; None if it is not one of ours.

  Args:
    path: `--model_dir`, a folder in it, or a checkpoint in one of them.

  Raises:
    ValueError: there is a record, and it is damaged.
  """
  import tensorflow as tf  # Scripts answer --help and wrong flags before it is loaded.

  folder = path if tf.io.gfile.isdir(path) else os.path.dirname(path)
  for place in (folder, os.path.dirname(folder.rstrip('/'))):  # The best checkpoint is in a folder of its own.
    record = os.path.join(place, _RECORD)
    if tf.io.gfile.exists(record):
      with tf.io.gfile.GFile(record) as file:
        return _flags(record, file.read())
  return None


def _flags(record, content):
  try:
    return dict(json.loads(content)['starts'][-1]['flags'])
  except (ValueError, KeyError, IndexError, TypeError):
    raise ValueError(
      f'{record}: expected the record of a job, found something else; use a copy of the checkpoint without this '
      'file, and give the flags of the model.'
    ) from None


def for_configs(job, configs, values):
  """Those of a job's flags that settings classes have and that differ from the values parsed.

  Args:
    job: {flag: value}.
    configs: the classes.
    values: parsed flags, `absl.flags.FlagValues`.
  """
  names = [field.name for config in configs for field in dataclasses.fields(config)]
  return {name: job[name] for name in names if job.get(name) not in (None, values[name].value)}
