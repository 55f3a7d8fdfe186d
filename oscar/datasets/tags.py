"""Tags that replace those of a data set: none, those of another image, or those of a file.

    tags.replaced('wrong', {'7': 'cat dog', '9': 'tree'})  # {'7': 'tree', '9': 'cat dog'}

A file of tags has a line for each image: its key, a tab, and its tags separated by blanks.
"""

import functools
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence

from tpu_utils import files

GIVEN, NONE, WRONG = 'given', 'none', 'wrong'
Chooser = Callable[[Mapping[str, str]], Mapping[str, str]]


def check(choice: str) -> None:
  """Checks a value of --tags.

  Raises:
    ValueError: it is neither one of the names nor a file.
  """
  if choice not in (GIVEN, NONE, WRONG) and not files.is_file(choice):
    raise ValueError(
      f'--tags={choice}: expected {GIVEN}, {NONE}, {WRONG} or a file of tags; there is no such '
      'file.'
    )


def name(choice: str) -> str:
  """Returns the part of file names that tells the tags: 'wrong_tags'."""
  return {NONE: 'no_tags', WRONG: 'wrong_tags', GIVEN: 'given_tags'}.get(choice, 'other_tags')


def chooser(choice: str) -> Chooser | None:
  """Returns function({image: tags}) -> {image: tags to use}; None if the tags stay as they are.

  Args:
    choice: value of --tags.
  """
  return None if choice in (GIVEN, NONE) else functools.partial(replaced, choice)


def replaced(choice: str, own: Mapping[str, str]) -> dict[str, str]:
  """Returns other tags for the images of a split.

  Args:
    choice: 'wrong' for the tags of another image of the split, each given to one image, in an order
      that depends on the keys alone; otherwise a file.
    own: {image: its tags}.

  Raises:
    ValueError: the split has one image only, or the file is damaged or lacks an image.
    OSError: the file cannot be read.
  """
  if choice != WRONG:
    found = read(choice)
    missing = next((key for key in own if key not in found), None)
    if missing is not None:
      raise ValueError(
        f'--tags={choice}: there is no line for image {missing}; expected all images of the split.'
      )
    return {key: found[key] for key in own}
  if len(own) == 1:
    raise ValueError('--tags=wrong needs two or more images, to exchange their tags; found 1.')
  order = sorted(own, key=lambda key: hashlib.sha256(key.encode()).digest())
  return {key: own[other] for key, other in zip(order, order[1:] + order[:1], strict=True)}


def of_rows(choose: Chooser | None, keys: Sequence[str], texts: Sequence[str]) -> list[str]:
  """Returns the tags of rows, replaced if there is a chooser.

  Args:
    choose: see `chooser`.
    keys: the image of each row.
    texts: the image's own tags.
  """
  if choose is None:
    return list(texts)
  chosen = choose(dict(zip(keys, texts, strict=True)))
  return [chosen[key] for key in keys]


def read(path: str | os.PathLike[str]) -> dict[str, str]:
  """Returns {image: tags} of a file.

  Raises:
    ValueError: a line has no tab, or an image has two lines.
    OSError: the file cannot be read.
  """
  found: dict[str, str] = {}
  lines = files.read_bytes(path).decode('utf-8-sig', errors='replace').splitlines()
  for number, line in enumerate(lines, 1):
    key, tab, text = line.partition('\t')
    if not tab:
      raise ValueError(
        f'{path}, line {number}: expected the key of an image, a tab and its tags, found '
        f'{line[:40]!r}.'
      )
    if key in found:
      raise ValueError(f'{path}, line {number}: image {key} has tags already; leave one line.')
    found[key] = text
  return found


def write(path: str | os.PathLike[str], of_image: Mapping[str, str]) -> None:
  """Writes a file of tags.

  Raises:
    OSError: it cannot be written.
  """
  files.write_text(path, ''.join(f'{key}\t{text}\n' for key, text in of_image.items()))
