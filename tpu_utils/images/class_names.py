"""Class names: labels maps in the official form, ImageNet's names, names as people read them."""
import functools
import json
import os
from collections.abc import Sequence

from tpu_utils import files
from tpu_utils.reading import reading

_FOLDER = os.path.dirname(os.path.abspath(__file__))
# WordNet's words for the 1,000 classes of ImageNet (ILSVRC 2012), ordered by WordNet number:
# {"0": "tench, Tinca tinca", ...}.
IMAGENET_FILE = os.path.join(_FOLDER, 'imagenet_labels.json')
# Their WordNet numbers in the same order, one per line: n01440764, ... Class folders, prepared
# shards and TensorFlow Datasets name ImageNet's classes by them.
_WORDNET_FILE = os.path.join(_FOLDER, 'imagenet_wordnet_ids.txt')


def read(path: str, num_classes: int) -> list[str]:
  """Reads the class names from a labels map.

  Args:
    path: JSON file of {class index as text: name}, indices from 0.
    num_classes: required number of classes.

  Returns:
    The names, ordered by class index.

  Raises:
    FileNotFoundError: the file does not exist.
    ValueError: the file is not a labels map of `num_classes` classes.
  """
  if not files.is_file(path):
    raise FileNotFoundError(
      f'{path}: no such file; --labels_map_file is a JSON file such as {IMAGENET_FILE}.'
    )
  with reading(path, 'JSON of {"0": "name", ...}'), files.open_text(path) as file:
    names = json.load(file)
  if not isinstance(names, dict):
    raise ValueError(f'{path} holds a {type(names).__name__}; expected {{"0": "name", ...}}.')
  wanted = [str(number) for number in range(num_classes)]
  if len(names) != num_classes or any(key not in names for key in wanted):
    missing = [key for key in wanted if key not in names]
    lacks = f', without {missing[0]}' if missing else ''
    raise ValueError(
      f'{path} names {len(names)} classes{lacks}, and the model has {num_classes}, numbered from '
      '0; give the labels map of the data it was trained on.'
    )
  return [str(names[key]) for key in wanted]


def imagenet() -> list[str]:
  """Returns the names of ImageNet's 1,000 classes."""
  return list(_words_by_wordnet_id().values())


def wordnet_ids() -> list[str]:
  """Returns the WordNet numbers of ImageNet's 1,000 classes in their order: n01440764, ..."""
  return list(_words_by_wordnet_id())


@functools.cache
def _words_by_wordnet_id():
  """Returns {WordNet number: words} of ImageNet's 1,000 classes, in their order."""
  with files.open_text(_WORDNET_FILE) as file:
    numbers = file.read().split()
  return dict(zip(numbers, read(IMAGENET_FILE, len(numbers)), strict=True))


def in_words(names: Sequence[str]) -> list[str]:
  """Replaces the WordNet numbers of ImageNet's classes by words, if all names are such numbers."""
  words = _words_by_wordnet_id()
  return [words[name] for name in names] if all(name in words for name in names) else list(names)


def on_one_line(name: str) -> str:
  """Replaces line breaks, tabs and other runs of white space by single spaces."""
  return ' '.join(name.split())


def short(name: str) -> str:
  """Returns a name on one line, and short if it is ImageNet's.

  Of WordNet's synonyms the first is enough. Other names keep their commas.
  """
  if name in _words_by_wordnet_id().values():
    name = name.split(',')[0]
  return on_one_line(name)


def for_picture(name: str) -> str:
  """Returns a name for a label in a picture: as `short`, and never a formula."""
  return short(name).replace('$', r'\$')  # matplotlib reads `$...$` as a formula.
