"""Names of classes: a labels map in the official form, {"0": "tench, Tinca tinca", ...}, or ImageNet's own."""
import json
import os

from tpu_utils.reading import reading

# WordNet's words for the 1,000 classes of ImageNet (ILSVRC 2012), in the order of their WordNet numbers.
IMAGENET_FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'imagenet_labels.json')


def read(path, num_classes):
  """The names in a labels map.

  Args:
    path: JSON file of {number of a class as text: name}, numbers from 0.
    num_classes: how many there must be.

  Returns:
    List of names, in the order of the classes.

  Raises:
    FileNotFoundError: no such file.
    ValueError: it is no labels map, or of another number of classes.
  """
  if not os.path.isfile(path):
    raise FileNotFoundError(f'{path}: no such file; --labels_map_file is a JSON file such as {IMAGENET_FILE}.')
  with reading(path, 'JSON of {"0": "name", ...}'), open(path, encoding='utf-8') as file:
    names = json.load(file)
  if not isinstance(names, dict):
    raise ValueError(f'{path} holds a {type(names).__name__}; expected {{"0": "name", ...}}.')
  wanted = [str(number) for number in range(num_classes)]
  if len(names) != num_classes or any(key not in names for key in wanted):
    missing = [key for key in wanted if key not in names]
    lacks = f', without {missing[0]}' if missing else ''
    raise ValueError(
      f'{path} names {len(names)} classes{lacks}, and the model has {num_classes}, from 0 on; give the labels '
      'map of the data it was trained on.'
    )
  return [str(names[key]) for key in wanted]


def imagenet():
  """The names of ImageNet's 1,000 classes."""
  return read(IMAGENET_FILE, 1000)
