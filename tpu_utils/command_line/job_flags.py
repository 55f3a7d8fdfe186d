"""Reads a job's flags from its `--model_dir`, for scripts that read its checkpoints."""
import dataclasses
import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from tpu_utils import files

RECORD = 'run.json'  # Of a job; see `tpu_utils.run_info`.
_SPLIT = 'split.json'
# Flags that select the images of a job. A user who gives one of them overrides all.
DATA_NAMES = (
  'data_dir', 'dataset', 'tfds_data_dir', 'eval_split', 'holdout_shards', 'holdout_fraction',
  'split_file',
)  # fmt: skip


def of_checkpoint(path: str) -> dict[str, Any] | None:
  """Returns {flag: value} of the job that wrote a checkpoint; None without a run.json.

  Args:
    path: `--model_dir`, a folder in it, or a checkpoint in one of them.

  Raises:
    ValueError: run.json is damaged.
  """
  text = file_of_job(path, RECORD)
  return _flags(*text) if text else None


def file_of_job(path: str, name: str) -> tuple[str, str] | None:
  """Reads a text file in the `--model_dir` of the job that wrote a checkpoint.

  Args:
    path: as for `of_checkpoint`.
    name: of the file.

  Returns:
    (path, text) of the file; None if there is no such file, or no run.json beside it.
  """
  folder = path if files.is_folder(path) else os.path.dirname(path)
  # The best checkpoint lies in a sub-folder of model_dir.
  for place in (folder, os.path.dirname(folder.rstrip('/'))):
    record = files.read_text(os.path.join(place, RECORD))
    if record is not None:
      file_name = os.path.join(place, name)
      text = record if name == RECORD else files.read_text(file_name)
      return None if text is None else (file_name, text)
  return None


def _flags(path, content):
  try:
    flags = dict(files.parse_json(content)['starts'][-1]['flags'])
  except (ValueError, KeyError, IndexError, TypeError):
    raise ValueError(
      f'{path}: expected the record of a job, found something else; use a copy of the checkpoint '
      'without this file, and give the flags of the model.'
    ) from None
  split = flags.get('split_file')
  if isinstance(split, str) and os.path.basename(split) == _SPLIT:
    own = os.path.join(os.path.dirname(path), _SPLIT)
    if files.exists(own):  # The folder may have moved since.
      flags['split_file'] = own
  return flags


def facts(
  job: Mapping[str, Any], groups: Iterable[type], without: Collection[str] = ()
) -> dict[str, Any]:
  """Selects the flags of a job that are fields of settings classes.

  Args:
    job: {flag: value}.
    groups: the settings classes.
    without: names to leave out.
  """
  names = [field.name for group in groups for field in dataclasses.fields(group)]
  return {name: job[name] for name in names if name in job and name not in without}


def learnt_digits(job: Mapping[str, Any] | None) -> bool:
  """Returns whether a job (from `of_checkpoint`) was trained on the embedded digits."""
  return job is not None and not job.get('data_dir') and not job.get('dataset')
