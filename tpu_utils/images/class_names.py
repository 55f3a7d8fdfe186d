"""Class names from a labels map in the official form, {"0": "tench, Tinca tinca", ...}."""
import json
import os

from tpu_utils import files
from tpu_utils.reading import reading

# WordNet's words for the 1,000 classes of ImageNet (ILSVRC 2012), ordered by WordNet number.
IMAGENET_FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'imagenet_labels.json')


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
  return read(IMAGENET_FILE, 1000)
