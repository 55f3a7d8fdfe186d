"""Reading the small official files (JSON, YAML, label pickles, `.pt`) with clear errors."""

import json
import os

import yaml

from tpu_utils.reading import reading
from tpu_utils.weights import safe_pickle, torch_tensors

_WANTED = {str: 'text', int: 'a whole number', float: 'a number', list: 'a list', dict: 'an object'}


def read_json(path):
  """The contents of a JSON file.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is no JSON.
  """
  require_file(path)
  with reading(path, 'JSON'), open(path, encoding='utf-8') as file:
    return json.load(file)


def read_json_list(path):
  """The rows of a JSON file that must be a list of objects."""
  rows = read_json(path)
  if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
    raise ValueError(f'{path}: expected a JSON list of objects, found {type(rows).__name__}.')
  return rows


def read_yaml(path):
  """The contents of an official dataset description: dict."""
  require_file(path)
  with reading(path, 'YAML of plain values', foreign=True), open(path, encoding='utf-8') as file:
    value = yaml.safe_load(file)
  if not isinstance(value, dict):
    raise ValueError(f'{path}: expected lines of `name: value`, found {type(value).__name__}.')
  return value


def read_plain(path):
  """Plain containers, text and numbers from a `.json`, `.pkl` or `.pt` file, by its name.

  A file that is missing under an official pickle's name may lie beside it as JSON.
  """
  path = os.fspath(path)
  stem, kind = os.path.splitext(path)
  if not os.path.exists(path) and os.path.exists(stem + '.json'):
    return read_json(stem + '.json')
  readers = {
    '.json': read_json,
    '.pkl': safe_pickle.load,
    '.p': safe_pickle.load,
    '.pt': torch_tensors.load,
  }
  if kind not in readers:
    raise ValueError(f'{path}: expected a file that ends in one of {", ".join(sorted(readers))}.')
  return readers[kind](path)


def require_file(path):
  if not os.path.isfile(path):
    raise FileNotFoundError(f'{path} does not exist; is its folder in the official layout?')


def field(record, name, kind, where):
  """`record[name]`, which must be a `kind` (float admits int).

  Raises:
    ValueError: missing or of another kind, naming `where`.
  """
  if name not in record:
    raise ValueError(f'{where}: {name!r} is missing; it has {sorted(map(str, record))}.')
  value = record[name]
  admitted = (int, float) if kind is float else kind
  if not isinstance(value, admitted) or isinstance(value, bool):
    raise ValueError(f'{where}: {name!r} is {value!r:.80}, expected {_WANTED[kind]}.')
  return value


def numbers(record, name, where):
  """`record[name]`, which must be a list of numbers."""
  values = field(record, name, list, where)
  for value in values:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
      raise ValueError(f'{where}: {name!r} holds {value!r:.80}, expected numbers.')
  return values


def read_index(path):
  """{key: number} of an official index file: JSON of key to row or offset."""
  index = read_json(path)
  if not isinstance(index, dict) or not all(type(value) is int for value in index.values()):
    raise ValueError(f'{path}: expected JSON of key to row number or offset.')
  return index


def tags(objects, where):
  """The text of an official list of objects: their classes in order, repeats kept."""
  if not isinstance(objects, list) or not all(isinstance(item, dict) for item in objects):
    raise ValueError(f'{where}: expected a list of objects with a class, found {objects!r:.80}.')
  return ' '.join(field(item, 'class', str, where) for item in objects)
