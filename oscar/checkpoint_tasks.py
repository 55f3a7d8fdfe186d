"""The task that a checkpoint was trained for, and the settings that it was trained with.

Exports of this project have `export.json` and `task.json`; official checkpoints name their task in
`config.json` and their flags in `training_args.bin`. Reading them needs no TensorFlow.
"""

import os
from collections.abc import Mapping
from typing import Any

from tpu_utils import files, local_copies
from tpu_utils.reading import reading
from tpu_utils.weights import torch_tensors

TASK_FILE = 'task.json'
_EXPORT_FILE = 'export.json'
_ARGS_FILE = 'training_args.bin'
# {task in official files: task here}.
_OFFICIAL = {
  'vqa_text': 'vqa', 'vqa_text_a': 'vqa', 'gqa': 'gqa', 'nlvr': 'nlvr2', 'ir': 'retrieval',
  'image_captioning': 'captioning',
}  # fmt: skip


def folder_of(checkpoint: str | None) -> str | None:
  """Returns the folder of a checkpoint (folder, file or prefix); None if there is none."""
  if not checkpoint:
    return None
  return checkpoint if files.is_folder(checkpoint) else os.path.dirname(checkpoint) or '.'


def task_of(checkpoint: str) -> str | None:
  """Returns the task that a checkpoint was trained for; None if it does not say.

  Args:
    checkpoint: folder, file or prefix of TF1.

  Raises:
    ValueError: a file that names the task is damaged.
  """
  folder = folder_of(checkpoint) or '.'
  own = _read_object(os.path.join(folder, _EXPORT_FILE)).get('task')
  if own is not None:
    return str(own)
  named = _read_object(os.path.join(folder, 'config.json')).get('finetuning_task')
  return _OFFICIAL.get(str(named))


def check_task(checkpoint: str, task: str, *, starts: bool, flag: str = '') -> None:
  """Checks that a checkpoint fits a task.

  Args:
    checkpoint: folder, file or prefix of TF1.
    task: the task of the model.
    starts: whether the model is trained from it, as from pre-training; otherwise it is used as it
      is.
    flag: the flag of the checkpoint, for the error.

  Raises:
    ValueError: it was trained for another task.
  """
  own = task_of(checkpoint)
  if own in (None, task) or (starts and own == 'pretrain'):
    return
  place = f'--{flag}={checkpoint}' if flag else checkpoint
  if starts:
    raise ValueError(
      f'{place} was trained for the task {own!r}, not {task!r}; to start from its encoder with a '
      'new head add --fresh_head.'
    )
  raise ValueError(
    f'{place} was trained for the task {own!r}, not {task!r}: its answers would mean nothing. Give '
    f'a checkpoint of {task!r}, or train one from it first.'
  )


def check_labels(checkpoint: str, task: str, num_labels: int) -> None:
  """Checks that the head of a checkpoint of the same task has as many labels as the data.

  Args:
    checkpoint: folder, file or prefix of TF1.
    task: the task of the model.
    num_labels: labels of the data.

  Raises:
    ValueError: it has another number.
  """
  if task_of(checkpoint) != task:
    return
  path = os.path.join(folder_of(checkpoint) or '.', 'config.json')
  stored = _read_object(path).get('num_labels', num_labels)
  if stored != num_labels:
    raise ValueError(
      f'{path}: num_labels is {stored}, but the label file has {num_labels} answers; give the '
      '--label_file that it was trained with, or --fresh_head to train a new head.'
    )


def settings_of(checkpoint: str) -> dict[str, Any]:
  """Returns the flags that a checkpoint was trained with, {} if it does not say.

  Args:
    checkpoint: folder, file or prefix of TF1.

  Raises:
    ValueError: `task.json` or `training_args.bin` is damaged, or the latter holds anything that
      could run code.
  """
  folder = folder_of(checkpoint) or '.'
  path = os.path.join(folder, TASK_FILE)
  if files.is_file(path):
    settings = _read_object(path).get('settings')
    if not isinstance(settings, dict):
      raise ValueError(f"{path}: expected an object with the object 'settings'; export it again.")
    return settings
  path = os.path.join(folder, _ARGS_FILE)
  if not files.is_file(path):
    return {}
  with local_copies.local_copy(path) as copy:
    options = torch_tensors.load(copy)
  options = options if isinstance(options, Mapping) else getattr(options, '__dict__', None)
  if options is None:
    raise ValueError(f'{path}: expected the options of a program (argparse.Namespace).')
  return dict(options)


def entries_of(checkpoint: str) -> dict[str, Any]:
  """Returns all entries of `task.json`, such as the texts of the answers; {} without that file.

  Args:
    checkpoint: folder, file or prefix of TF1.

  Raises:
    ValueError: the file is damaged.
  """
  return _read_object(os.path.join(folder_of(checkpoint) or '.', TASK_FILE))


def write_settings(folder: str, task: str, settings: Mapping[str, Any], **more: Any) -> None:
  """Writes `task.json`, from which `settings_of` reads.

  Args:
    folder: folder of the export.
    task: the task.
    settings: {flag: JSON-able value}.
    **more: further JSON-able entries, such as the texts of the answers.

  Raises:
    OSError: it cannot be written.
  """
  content = {'task': task, 'settings': dict(settings), **more}
  files.write_json(os.path.join(folder, TASK_FILE), content)


def _read_object(path):
  """Returns the object in a JSON file; {} if there is no such file."""
  if not files.is_file(path):
    return {}
  with reading(path, 'JSON'):
    content = files.parse_json(files.read_bytes(path))
  if not isinstance(content, dict):
    raise ValueError(f'{path}: expected a JSON object, found {type(content).__name__}.')
  return content
