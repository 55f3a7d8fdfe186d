"""The image files that a command line names: files, folders and patterns, local or remote."""
import glob
import os
from collections.abc import Iterator, Sequence

import tensorflow as tf

from tpu_utils import files
from tpu_utils.errors import printable
from tpu_utils.images.sources import image_folder, picture_files

# Files with these endings are images to a user; those that are not read are reported as such.
_ENDINGS = (*image_folder.READABLE, *image_folder.CONVERTIBLE, '.heic', '.avif')


def find(words: Sequence[str | os.PathLike[str]]) -> tuple[list[str], int]:
  """Finds the images that paths and patterns name.

  Of folders, with all that is in them, and of patterns, only files with an ending of images count;
  hidden ones and those of operating systems don't. A file named by itself always counts.

  Args:
    words: files, folders, and patterns with *, ?, [...] or **.

  Returns:
    (paths, each once, those of a folder or pattern sorted; number of other files left out).

  Raises:
    FileNotFoundError: there is nothing at a path, or a pattern fits no file.
    ValueError: a folder holds no image.
  """
  found: dict[str, None] = {}
  left_out = 0
  for word in (os.fspath(word) for word in words):
    is_folder = files.is_folder(word)
    if not is_folder and files.exists(word):
      found[word] = None
      continue
    listed = sorted(_below(word) if is_folder else _fitting(word))
    images = [path for path in listed if path.lower().endswith(_ENDINGS)]
    if not images:
      raise ValueError(
        f'{printable(word)} holds no image: expected files that end in '
        f'{", ".join(image_folder.READABLE)}, found {len(listed)} others.'
      )
    left_out += len(listed) - len(images)
    found.update(dict.fromkeys(images))
  return list(found), left_out


def _below(folder) -> Iterator[str]:
  """Yields the files in a folder and in those below it, without hidden ones and clutter."""
  walk = tf.io.gfile.walk if files.is_remote(folder) else os.walk
  for place, folders, names in walk(folder):
    folders[:] = [name for name in folders if not name.startswith('.')]
    yield from (os.path.join(place, n) for n in names if not picture_files.is_clutter(n))


def _fitting(pattern):
  """Returns the files that fit a pattern."""
  # TensorFlow's glob takes only names that are text.
  remote = files.is_remote(pattern)
  paths = tf.io.gfile.glob(pattern) if remote else glob.glob(pattern, recursive=True)
  paths = [path for path in paths if not files.is_folder(path)]
  if not paths:
    raise FileNotFoundError(f'{printable(pattern)}: no such image, folder or pattern.')
  return paths
