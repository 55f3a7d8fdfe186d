"""Names of a classifier's classes, one for each of its outputs.

A job finds them in its data and keeps them in `classes.json` in its model_dir, so that evaluation
and export name the classes without the data. With 1001 outputs the first is the background, as in
the official models, and the names of the data follow it; unless the data have 1001 classes.

Does not import TensorFlow.
"""
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tpu_utils import files
from tpu_utils.command_line import job_flags
from tpu_utils.images import class_names, digits

FILE = 'classes.json'
BACKGROUND = 'background'
EXPORT_INFO = 'export.json'  # Of `tpu_utils.export`, which imports TensorFlow.
_KEY = 'class_names'


def has_background(num_outputs: int, names: Sequence[str] | None = None) -> bool:
  """Returns whether output 0 of a model is the background, which is no class of the data.

  Args:
    num_outputs: outputs of the model.
    names: their names, if they are known.
  """
  return num_outputs == 1001 and (names is None or names[0] == BACKGROUND)


def of_data(names: Sequence[str] | None, num_outputs: int) -> list[str] | None:
  """Names a model's outputs after the classes of its data; None if these have no names.

  Outputs beyond the classes are called `class N`, with the number of the class.

  Args:
    names: of the classes in the data.
    num_outputs: outputs of the model, at least as many as classes.
  """
  if names is None:
    return None
  background = [BACKGROUND] if num_outputs == 1001 and len(names) < 1001 else []
  rest = range(len(names), num_outputs - len(background))
  return [*background, *names, *(f'class {number}' for number in rest)]


def of_labels_map(path: str, num_outputs: int, background: bool | None = None) -> list[str]:
  """Reads the names of a model's outputs from a labels map, which leaves out the background.

  Args:
    path: JSON file of {"0": "name of the first class", ...}.
    num_outputs: outputs of the model.
    background: whether the first is the background; None: if there are 1001.

  Raises:
    ValueError, OSError: see `class_names.read`.
  """
  if background is None:
    background = has_background(num_outputs)
  return [BACKGROUND] * background + class_names.read(path, num_outputs - background)


def content(names: Sequence[str]) -> dict[str, Any]:
  """Returns the JSON-able content of `classes.json`."""
  return {_KEY: list(names)}


def of_checkpoint(path: str, num_outputs: int) -> list[str] | None:
  """Reads the names that a job kept for its checkpoints, or those in an export.

  Args:
    path: as for `job_flags.of_checkpoint`; or an export of this project: its folder, or a file in
      it.
    num_outputs: outputs of the model.

  Returns:
    One name for each output; None if neither the job nor the export has any.

  Raises:
    ValueError: the file is damaged, or names another number of classes.
  """
  found = job_flags.file_of_job(path, FILE)
  if not found:
    return _of_export(path, num_outputs)
  file_name, text = found
  try:
    names = _parsed(file_name, text)
  except ValueError as error:
    raise ValueError(f'{error}; remove the file to go on without names.') from None
  return checked(names, num_outputs, file_name)


def _of_export(path, num_outputs):
  """Returns the names in the export.json of an export; None if there are none."""
  folder = path if files.is_folder(path) else os.path.dirname(path)
  file_name = os.path.join(folder, EXPORT_INFO)
  text = files.read_text(file_name)
  if text is None:
    return None
  try:
    content = files.parse_json(text)
  except ValueError as error:
    raise ValueError(f'{file_name}: expected JSON ({error}); correct or remove it.') from None
  names = content.get(_KEY) if isinstance(content, dict) else None
  return None if names is None else checked(names, num_outputs, f'{file_name}: {_KEY}')


def checked(names: Any, num_outputs: int, source: str) -> list[str]:
  """Checks that a file's names are one text for each output of a model.

  Args:
    names: from the file.
    num_outputs: outputs of the model.
    source: the file, for the error.

  Raises:
    ValueError: they are not.
  """
  if not _are_texts(names):
    raise ValueError(
      f'{source}: expected a list of names of classes, found {names!r:.80}; correct or remove it.'
    )
  if len(names) != num_outputs:
    raise ValueError(
      f'{source} names {len(names)} classes, and the model has {num_outputs}; give the right names '
      'with --labels_map_file, or correct the file.'
    )
  return names


def check_same(model_dir: str, names: Sequence[str]) -> None:
  """Checks that the data of a job have the classes with which it began.

  Args:
    model_dir: folder of the job.
    names: of the model's outputs, from the data.

  Raises:
    ValueError: `classes.json` of the job has other names. A damaged one is reported and ignored.
  """
  path = os.path.join(model_dir, FILE)
  text = files.read_text(path)
  if text is None:
    return
  try:
    before = _parsed(path, text)
  except ValueError as error:
    print(f'{error}; the names in the data replace it.', file=sys.stderr)
    return
  if len(before) != len(names):
    raise ValueError(
      f'--model_dir={model_dir} learnt {len(before)} classes, and the model now has {len(names)}. '
      'Give the data and flags that it was trained with, or another --model_dir.'
    )
  for number, (old, new) in enumerate(zip(before, names, strict=True)):
    if old != new:
      raise ValueError(
        f'--model_dir={model_dir} learnt other classes: output {number} was {old!r}, and the data '
        f'call it {new!r}. Give the data that it was trained on, or another --model_dir; if the '
        f'classes were only renamed, remove {path}.'
      )


def _parsed(path, text):
  """Returns the names in the text of `classes.json`; ValueError, without a remedy, for damage."""
  try:
    names = json.loads(text)[_KEY]
  except (ValueError, KeyError, TypeError, RecursionError):
    names = None
  if not _are_texts(names):
    raise ValueError(f'{path}: expected {{"{_KEY}": ["name", ...]}}, found {text[:40]!r}')
  return names


def _are_texts(names):
  return isinstance(names, list) and all(isinstance(name, str) for name in names)


def known(
  num_outputs: int,
  *,
  labels_map_file: str | None = None,
  background: bool | None = None,
  own: Sequence[str] | None = None,
  checkpoint: str | None = None,
  data_names: Sequence[str] | None = None,
  is_digits: bool = False,
  log: Callable[[str], object] = lambda text: None,
) -> list[str] | None:
  """Finds the names of a model's outputs, in words; None if nothing names them.

  The first of these that names them: the labels map, the model's own file, its job, its data, and
  for 1000 classes ImageNet.

  Args:
    num_outputs: outputs of the model.
    labels_map_file: labels map that the user gave.
    background: whether output 0 is the background; None: see `has_background`.
    own: names in the file of the model, one for each output.
    checkpoint: path of the checkpoint, to look for its job.
    data_names: names of the classes in the data of the model.
    is_digits: whether the data are the embedded digits.
    log: called with a line if nothing names the classes.

  Raises:
    ValueError, OSError: the labels map or the job's file is missing, damaged or of another number
      of classes.
  """
  if labels_map_file:
    return of_labels_map(labels_map_file, num_outputs, background)
  names = own or (of_checkpoint(checkpoint, num_outputs) if checkpoint else None)
  if names is None and data_names and len(data_names) <= num_outputs:
    names = of_data(data_names, num_outputs)
  if names is None and is_digits and num_outputs >= len(digits.NAMES):
    names = of_data(digits.NAMES, num_outputs)
  if names is None and num_outputs - bool(has_background(num_outputs)) == 1000:
    log(f'Nothing names the {num_outputs} classes; they are called as those of ImageNet.')
    names = of_data(class_names.imagenet(), num_outputs)
  if names is None:
    log(f'Nothing names the {num_outputs} classes; --labels_map_file can.')
  return in_words(names) if names else None


def labels(names: Sequence[str] | None, num_outputs: int, background: bool) -> list[str]:
  """Returns the names of the classes without the background; `class N` where nothing names them.

  Args:
    names: of the outputs, from `known`.
    num_outputs: outputs of the model.
    background: whether output 0 is the background.
  """
  if names is None:
    return [f'class {number}' for number in range(num_outputs - background)]
  return list(names[background:])


def in_words(names: Sequence[str]) -> list[str]:
  """Replaces the WordNet numbers of ImageNet's classes by words; a background stays."""
  first = [BACKGROUND] if has_background(len(names), names) else []
  return [*first, *class_names.in_words(names[len(first) :])]
