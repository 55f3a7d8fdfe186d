"""Reads the small official files (JSON, YAML, label pickles, `.pt`); errors name file and row."""

import json
import os
from collections.abc import Mapping
from typing import Any

import yaml

from tpu_utils import files
from tpu_utils.local_copies import local_copy
from tpu_utils.reading import reading
from tpu_utils.weights import safe_pickle, torch_tensors

_KIND_NAMES = {
  str: 'text', int: 'a whole number', float: 'a number', list: 'a list', dict: 'an object',
}  # fmt: skip


def read_json(path: str | os.PathLike[str]) -> Any:
  """Returns the parsed contents of a JSON file.

  Raises:
    FileNotFoundError: the file does not exist.
    ValueError: the file is not valid JSON.
  """
  require_file(path)
  with reading(path, 'JSON'), files.open_text(path) as file:
    return json.load(file)


def read_json_list(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
  """Returns the rows of a JSON file that holds a list of objects.

  Raises:
    FileNotFoundError: the file does not exist.
    ValueError: the file is not a JSON list of objects.
  """
  rows = read_json(path)
  if not isinstance(rows, list):
    raise ValueError(f'{path}: expected a JSON list of objects, found {type(rows).__name__}.')
  for number, row in enumerate(rows):
    if not isinstance(row, dict):
      raise ValueError(f'{path} row {number}: expected an object, found {row!r:.80}.')
  return rows


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
  """Returns the contents of an official data set description, {name: value}.

  Raises:
    FileNotFoundError: the file does not exist.
    ValueError: the file is not YAML, names a Python object, or is not a mapping.
  """
  require_file(path)
  with reading(path, 'YAML of plain values', foreign=True):
    value = yaml.safe_load(files.read_bytes(path))
  if not isinstance(value, dict):
    raise ValueError(f'{path}: expected lines of `name: value`, found {type(value).__name__}.')
  return value


def plain_path(path: str | os.PathLike[str]) -> str:
  """Returns the path of the file that `read_plain` reads, which is to be named in errors."""
  stem, _ = os.path.splitext(path)
  return stem + '.json' if not files.exists(path) and files.exists(stem + '.json') else str(path)


def read_plain(path: str | os.PathLike[str]) -> Any:
  """Returns the containers, text and numbers in a `.json`, `.pkl`, `.p` or `.pt` file.

  If the file does not exist, the `.json` file of the same stem is read instead.

  Raises:
    FileNotFoundError: neither file exists.
    ValueError: another file ending, or contents that its reader refuses.
  """
  path = plain_path(path)
  _, kind = os.path.splitext(path)
  readers = {
    '.json': read_json,
    '.pkl': safe_pickle.load,
    '.p': safe_pickle.load,
    '.pt': torch_tensors.load,
  }
  if kind not in readers:
    raise ValueError(f'{path}: expected a file that ends in one of {", ".join(sorted(readers))}.')
  require_file(path)
  with local_copy(path) as place:
    return readers[kind](place)


def check_local(flag: str, path: str | os.PathLike[str] | None) -> None:
  """Checks that the path of official files, which are read by byte offsets, is local.

  Raises:
    ValueError: it is remote.
  """
  remedy = 'copy the official files to a local folder; the prepared data sets may be remote'
  files.check_local(flag, path, remedy)


def require_file(path: str | os.PathLike[str]) -> None:
  """Checks that a file exists.

  Raises:
    FileNotFoundError: the file does not exist.
  """
  if not files.is_file(path):
    raise FileNotFoundError(f'{path} does not exist; is its folder in the official layout?')


def field(record: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
  """Returns `record[name]` after checking its type.

  Args:
    record: a row of an official file.
    name: the field.
    kind: its type, a key of `_KIND_NAMES`; float admits int, and no number admits bool.
    where: file and row, for the error.

  Raises:
    ValueError: the field is missing or has another type.
  """
  if name not in record:
    raise ValueError(f'{where}: {name!r} is missing; it has {sorted(map(str, record))}.')
  value = record[name]
  admitted = (int, float) if kind is float else kind
  if not isinstance(value, admitted) or isinstance(value, bool):
    raise ValueError(f'{where}: {name!r} is {value!r:.80}, expected {_KIND_NAMES[kind]}.')
  return value


def numbers(record: Mapping[str, Any], name: str, where: str) -> list[int | float]:
  """Returns `record[name]`, a list of numbers; arguments as for `field`.

  Raises:
    ValueError: the field is missing, is not a list, or holds something other than numbers.
  """
  values = field(record, name, list, where)
  for value in values:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
      raise ValueError(f'{where}: {name!r} holds {value!r:.80}, expected numbers.')
  return values


def read_index(path: str | os.PathLike[str]) -> dict[str, int]:
  """Reads an official JSON index: {key: row number or byte offset}.

  Raises:
    FileNotFoundError: the file does not exist.
    ValueError: the file is not JSON of whole numbers by key.
  """
  index = read_json(path)
  if not isinstance(index, dict) or not all(type(value) is int for value in index.values()):
    raise ValueError(f'{path}: expected JSON {{key: row number or offset}}.')
  return index


def tags(objects: object, where: str) -> str:
  """Returns the tag text of an official list of objects: their classes in order, repeats kept.

  Raises:
    ValueError: not a list of objects that each have a text `class`; names `where`.
  """
  if not isinstance(objects, list) or not all(isinstance(item, dict) for item in objects):
    raise ValueError(f'{where}: expected a list of objects with a class, found {objects!r:.80}.')
  return ' '.join(field(item, 'class', str, where) for item in objects)
