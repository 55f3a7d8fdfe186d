"""Label files for images in a flat folder, in one of three forms.

- one class per line, in the order of the image names: imagenet_2012_validation_synset_labels.txt
- image and class in each line: ILSVRC2012_val_00000001.JPEG n01751748
- the same with commas and more columns: LOC_val_solution.csv of Kaggle's ImageNet
"""
import os
from collections.abc import Sequence

import tensorflow as tf

from tpu_utils.errors import printable
from tpu_utils.images.sources import picture_files


def read(path: str, folder: str, names: Sequence[str]) -> dict[str, str]:
  """Reads the class of each image.

  Args:
    path: the label file.
    folder: folder or tar file of the images, for messages.
    names: file names of the images, without folders.

  Returns:
    {name: class name}.

  Raises:
    ValueError: the file does not fit the images; one line that names both.
  """
  picture_files.check_text(path, '--validation_labels')
  try:
    with tf.io.gfile.GFile(path) as file:
      text = file.read().removeprefix('\ufeff')
      lines = [line.replace(',', ' ').split() for line in text.splitlines() if line.strip()]
  except tf.errors.OpError as e:
    raise ValueError(f'--validation_labels={path} cannot be read ({e.message}).') from None
  except UnicodeDecodeError:
    raise ValueError(f'--validation_labels={path} is not a text file.') from None
  if lines and lines[0][0] == 'ImageId':  # The heading of Kaggle's file.
    lines = lines[1:]
  if not lines:
    raise ValueError(f'--validation_labels={path} is empty.')
  if any(len(line) > 1 for line in lines):
    return _by_name(path, folder, names, lines)
  if len(lines) != len(names):
    raise ValueError(
      f'--validation_labels={path} has {len(lines)} labels for the {len(names)} images of {folder}.'
    )
  if all(line[0].isdecimal() for line in lines):
    raise ValueError(
      f'--validation_labels={path} numbers the classes ({lines[0][0]}, ...), expected names: the '
      'numbers of the ILSVRC development kit are not the official labels. Give the file with the '
      'names (n01751748, ...), imagenet_2012_validation_synset_labels.txt.'
    )
  return {name: line[0] for name, line in zip(sorted(names), lines, strict=True)}


def _by_name(path, folder, names, lines):
  short = next((line for line in lines if len(line) < 2), None)
  if short:
    raise ValueError(f'--validation_labels={path} has a line without a class: {short[0]!r}.')
  by_stem = {_stem(line[0]): line[1] for line in lines}
  missing = [name for name in sorted(names) if _stem(name) not in by_stem]
  if missing:
    raise ValueError(
      f'--validation_labels={path} has no label for {printable(missing[0])} and {len(missing) - 1} '
      f'more of the images of {folder}.'
    )
  unused = sorted(set(by_stem) - {_stem(name) for name in names})
  if unused:
    raise ValueError(
      f'{folder} lacks {printable(unused[0])} and {len(unused) - 1} more of the images that '
      f'--validation_labels={path} lists.'
    )
  return {name: by_stem[_stem(name)] for name in names}


def _stem(name):
  return os.path.splitext(os.path.basename(name))[0]
