"""Image files in one folder for each class.

Either `train/CLASS/*.jpg` and `validation/CLASS/*.jpg` (also `val`), or only `CLASS/*.jpg` with a
share of the images held out: by the rule of `splitting`, or as a `split.json` says. Classes
are numbered in the order of their sorted names.
"""
import concurrent.futures
import functools
import os
import random
import sys
from collections.abc import Collection, Sequence

import tensorflow as tf

from tpu_utils import files
from tpu_utils.errors import printable
from tpu_utils.images import decoding
from tpu_utils.images.sources import picture_files, splitting
from tpu_utils.images.sources.interface import DataSet
from tpu_utils.images.sources.picture_files import some

READABLE = ('.jpg', '.jpeg', '.png', '.bmp', '.gif')
CONVERTIBLE = ('.webp', '.tif', '.tiff')  # Read by `tpu_utils.images.prepare` alone.
_FOLDERS = {'train': ('train',), 'validation': ('validation', 'val')}
_LISTING_THREADS = 16


class ImageFolder(DataSet):
  """A tree of image files.

  Args:
    data_dir: root of the tree, local or remote.
    holdout_fraction: share of the training images of each class to evaluate on; the others are for
      training.
    held_out: names CLASS/FILE of the training images to evaluate on instead; the others, also those
      that were added later, are for training.

  Raises:
    ValueError: the folder does not exist or has fewer than two classes. `open` raises it if images
      of a split or class are missing.
  """

  def __init__(
    self,
    data_dir: str,
    holdout_fraction: float | None = None,
    held_out: Collection[str] | None = None,
  ):
    self.name = data_dir
    self.data_dir = data_dir
    self.holdout_fraction = holdout_fraction
    self._held_out = held_out
    self._roots = split_folders(data_dir)
    self.class_names = class_folders(self._roots.get('train') or self._roots['validation'])
    self.num_classes = len(self.class_names)

  def _open(self, split):
    files = self._files(split)
    gifs = sum(path.lower().endswith('.gif') for path, _ in files)
    if gifs:
      print(
        f'{self.data_dir}, {split}: {gifs} GIF files; of an animation the first picture is read.',
        file=sys.stderr,
      )
    if split == 'train':
      # Mixes the classes; the shuffling of `order` reaches only as far as its window.
      random.Random(0).shuffle(files)
    return ImageFiles(files)

  @property
  def lacks_validation(self) -> bool:
    """Whether there are training images and none to evaluate on."""
    divided = self.holdout_fraction or self._held_out is not None
    return not divided and 'train' in self._roots and 'validation' not in self._roots

  def divide(self) -> splitting.Split:
    """Holds out `holdout_fraction` or a fifth of the training images; call it before `open`.

    Raises:
      ValueError: see `list_images` and `splitting.divide`.
    """
    split = splitting.divide(self._training_files, self.holdout_fraction or splitting.FRACTION)
    self._held_out = split.validation
    self.split_record = split.content()
    return split

  @functools.cached_property
  def _training_files(self):
    return list_images(self._root('train'), self.class_names)

  def _files(self, split):
    if self.holdout_fraction and self._held_out is None:
      undivided = self.divide().undivided
      if undivided:
        print(
          f'{self.data_dir}: no image of {some(undivided)} is held out, too few to divide.',
          file=sys.stderr,
        )
    if self._held_out is None:
      return list_images(self._root(split), self.class_names)
    evaluating = split == 'validation'
    chosen = [
      (path, label)
      for path, label in self._training_files
      if (splitting.name_of(path) in self._held_out) == evaluating
    ]
    if not chosen:
      raise ValueError(
        f'{self.data_dir}: the split (--split_file) leaves no {split} images: it lists '
        f'{len(self._held_out)} to evaluate on, such as {min(self._held_out)}, and the folder has '
        f'{len(self._training_files)}. Give the folder that it was made for, or another split.'
      )
    return chosen

  def _root(self, split):
    if split in self._roots:
      return self._roots[split]
    wanted = ' or '.join(os.path.join(self.data_dir, name) for name in _FOLDERS[split])
    remedy = '' if split == 'train' else ', or set --holdout_fraction to hold out training images'
    raise ValueError(f'{self.data_dir} has no {split} images: make the folder {wanted}{remedy}.')


class ImageFiles:
  """Source: image files.

  Args:
    files: (path, label) of each image, labels from 0.
  """

  portable = True
  format = 'image file'
  label_name = 'the number of its class'
  lowest_label = 0

  def __init__(self, files: Sequence[tuple[str, int]]):
    self._paths = [path for path, _ in files]
    self._labels = [label for _, label in files]

  @functools.cached_property
  def _tensors(self):
    with tf.init_scope(), tf.device('/CPU:0'):  # As in `RecordFiles`.
      paths = tf.constant(picture_files.as_bytes(self._paths))
      return paths, tf.constant(self._labels, tf.int64)

  def __len__(self):
    return len(self._paths)

  def read(self, first: tf.Tensor, last: tf.Tensor) -> tf.data.Dataset:
    """Reads a range of examples; see `Source`."""
    paths, _ = self._tensors
    numbers = tf.data.Dataset.range(first, last)
    return numbers.map(lambda n: (n, tf.io.read_file(paths[n]))).ignore_errors()

  def parse(self, number: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Extracts the image and label; see `Source`."""
    _, labels = self._tensors
    return data, labels[number]

  def read_one(self, number: int) -> bytes:
    """Reads the data of an example; see `Source`."""
    try:
      return picture_files.read(self._paths[number])
    except OSError as e:
      raise ValueError(f'{self.where(number)}: cannot be read ({e.strerror or e}).') from None

  def where(self, number: int) -> str:
    """Returns the name of an example for messages; see `Source`."""
    return printable(self._paths[number])


def split_folders(data_dir: str) -> dict[str, str]:
  """Finds the folders of the splits in a tree.

  Returns:
    {split: folder of its class folders}; {'train': data_dir} for a tree without folders of splits.

  Raises:
    ValueError: the folder does not exist, or has two for evaluation.
  """
  if not files.is_folder(data_dir):
    raise ValueError(
      f'{data_dir} is not a folder; give one that holds a folder of images for each class.'
    )
  existing = set(files.paths_in(data_dir))
  roots = {}
  for split, names in _FOLDERS.items():
    paths = [os.path.join(data_dir, name) for name in names]
    folders = [path for path in paths if path in existing and files.is_folder(path)]
    if len(folders) > 1:
      raise ValueError(f'{" and ".join(folders)} are both there; keep the one to evaluate on.')
    if folders:
      roots[split] = folders[0]
  return roots or {'train': data_dir}


def class_folders(root: str) -> list[str]:
  """Returns the sorted names of the folders in `root`.

  Raises:
    ValueError: there are fewer than two.
  """
  paths = [path for path in files.paths_in(root) if not os.path.basename(path).startswith('.')]
  names = [os.path.basename(path) for path in paths]
  classes = [os.path.basename(path) for path in paths if files.is_folder(path)]
  if len(classes) < 2:
    contents = f'it holds {some(names)}' if names else 'it is empty'
    raise ValueError(
      f'{root} needs a folder of images for each of at least two classes ({contents}).'
    )
  return classes


def list_images(
  root: str, class_names: Sequence[str], readable: tuple[str, ...] = READABLE
) -> list[tuple[str, int]]:
  """Lists the images of a split.

  Args:
    root: folder of the class folders.
    class_names: the classes; `root` must have a folder for each and no others.
    readable: file name extensions of images, in lower case.

  Returns:
    (path, class index) of each image, sorted by class and path.

  Raises:
    ValueError: a class folder is missing, unknown or empty, contains other files, or has a name
      that is not UTF-8.
  """
  existing = set(class_folders(root))
  for name in sorted(existing):
    picture_files.check_text(os.path.join(root, name), 'Folder of a class')
  unknown = sorted(existing - set(class_names))
  missing = sorted(set(class_names) - existing)
  if missing:
    raise ValueError(
      f'{root} has no folder for {some(missing)}, which the training images have: every split '
      'needs images of every class.'
    )
  if unknown:
    raise ValueError(
      f'{root} holds {some(unknown)}, which are not classes of the training images; remove them.'
    )
  folders = [os.path.join(root, name) for name in class_names]
  with concurrent.futures.ThreadPoolExecutor(_LISTING_THREADS) as pool:
    listings = pool.map(lambda folder: _images_in(folder, readable), folders)
    return [(path, label) for label, paths in enumerate(listings) for path in paths]


def _images_in(folder, readable):
  names = picture_files.names_in(folder)
  others = [name for name in names if not name.lower().endswith(readable)]
  if others:
    is_convertible = others[0].lower().endswith(CONVERTIBLE)
    remedy = decoding.REMEDY if is_convertible else 'move them elsewhere'
    raise ValueError(
      f'{folder} holds {some(others)}: not images by name ({", ".join(readable)}); {remedy}.'
    )
  if not names:
    raise ValueError(f'{folder} holds no images; add some, or remove the folder from every split.')
  return [os.path.join(folder, name) for name in names]
