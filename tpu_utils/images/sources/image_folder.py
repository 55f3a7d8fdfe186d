"""Image files in one folder a class.

Either `train/CLASS/*.jpg` and `validation/CLASS/*.jpg` (also `val`), or `CLASS/*.jpg` alone with a share of the
images held out. Classes are numbered in the order of their sorted names.
"""
import collections
import concurrent.futures
import functools
import hashlib
import os
import random

import tensorflow as tf

from tpu_utils.images.sources.interface import DataSet

READABLE = ('.jpg', '.jpeg', '.png', '.bmp', '.gif')
_FOLDERS = {'train': ('train',), 'validation': ('validation', 'val')}
_LISTING_THREADS = 16
_CLUTTER = ('thumbs.db', 'desktop.ini')


class ImageFolder(DataSet):
  """A tree of image files.

  Args:
    data_dir: its root, local or remote.
    holdout_fraction: evaluate on this share of each class's training images, and train on the others.
  """

  def __init__(self, data_dir, holdout_fraction=None):
    self.name = data_dir
    self.data_dir = data_dir
    self.holdout_fraction = holdout_fraction
    self._roots = split_folders(data_dir)
    self.class_names = class_folders(self._roots.get('train') or self._roots['validation'])
    self.num_classes = len(self.class_names)

  def _open(self, split):
    files = self._files(split)
    if split == 'train':
      # So that neighbours are of different classes; `order` then shuffles within reach of its window.
      random.Random(0).shuffle(files)
    return ImageFiles(files)

  def _files(self, split):
    if self.holdout_fraction:
      train = list_images(self._root('train'), self.class_names)
      return hold_out(train, self.holdout_fraction)[split]
    return list_images(self._root(split), self.class_names)

  def _root(self, split):
    if split in self._roots:
      return self._roots[split]
    wanted = ' or '.join(os.path.join(self.data_dir, name) for name in _FOLDERS[split])
    held_out = '' if split == 'train' else ', or set --holdout_fraction to evaluate on some of the training images'
    raise ValueError(f'{self.data_dir} has no {split} images: make the folder {wanted}{held_out}.')


class ImageFiles:
  """Source: image files; see `interface`.

  Args:
    files: list of (path, label), labels from 0 on.
  """

  portable = True
  format = 'image file'
  label_name = 'the number of its class'
  lowest_label = 0

  def __init__(self, files):
    self._paths = [path for path, _ in files]
    self._labels = [label for _, label in files]

  @functools.cached_property
  def _tensors(self):
    with tf.init_scope(), tf.device('/CPU:0'):  # As in `RecordFiles`.
      return tf.constant(self._paths), tf.constant(self._labels, tf.int64)

  def __len__(self):
    return len(self._paths)

  def read(self, first, last):
    """See `interface`."""
    paths, _ = self._tensors
    numbers = tf.data.Dataset.range(first, last)
    return numbers.map(lambda n: (n, tf.io.read_file(paths[n]))).ignore_errors()

  def parse(self, number, data):
    """See `interface`."""
    _, labels = self._tensors
    return data, labels[number]

  def read_one(self, number):
    """See `interface`."""
    try:
      return tf.io.read_file(self._paths[number]).numpy()
    except tf.errors.OpError as e:
      raise ValueError(f'{self._paths[number]}: cannot be read ({e.message}).') from None

  def where(self, number):
    """See `interface`."""
    return self._paths[number]


def split_folders(data_dir):
  """{split: root of its class folders} of a tree; {'train': data_dir} if it has class folders only.

  Raises:
    ValueError: there is no such folder.
  """
  if not tf.io.gfile.isdir(data_dir):
    raise ValueError(f'{data_dir} is no folder; give one that holds a folder of images for each class.')
  there = {name.rstrip('/') for name in tf.io.gfile.listdir(data_dir)}
  roots = {}
  for split, names in _FOLDERS.items():
    paths = [os.path.join(data_dir, name) for name in names if name in there]
    found = [path for path in paths if tf.io.gfile.isdir(path)]
    if len(found) > 1:
      raise ValueError(f'{" and ".join(found)} are both there; keep the one to evaluate on.')
    if found:
      roots[split] = found[0]
  return roots or {'train': data_dir}


def class_folders(root):
  """The names of the folders in `root`, sorted. ValueError unless there are at least two."""
  names = sorted(name.rstrip('/') for name in tf.io.gfile.listdir(root) if not name.startswith('.'))
  classes = [name for name in names if tf.io.gfile.isdir(os.path.join(root, name))]
  if len(classes) < 2:
    found = f'it holds {some(names)}' if names else 'it is empty'
    raise ValueError(f'{root} needs a folder of images for each of at least two classes ({found}).')
  return classes


def list_images(root, class_names, readable=READABLE):
  """The images of a split, class after class.

  Args:
    root: folder of the class folders.
    class_names: the classes; exactly these must be there.
    readable: endings of files that are images.

  Returns:
    List of (path, number of the class), sorted.

  Raises:
    ValueError: a class folder is missing, unknown or empty, or holds something else than images.
  """
  found = class_folders(root)
  unknown = sorted(set(found) - set(class_names))
  missing = sorted(set(class_names) - set(found))
  if missing:
    raise ValueError(
      f'{root} has no folder for {some(missing)}, which the training images have: every split needs '
      'images of every class.'
    )
  if unknown:
    raise ValueError(f'{root} holds {some(unknown)}, which are no classes of the training images; remove them.')
  folders = [os.path.join(root, name) for name in class_names]
  with concurrent.futures.ThreadPoolExecutor(_LISTING_THREADS) as pool:
    listings = pool.map(lambda folder: _images_in(folder, readable), folders)
    return [(path, label) for label, paths in enumerate(listings) for path in paths]


def _images_in(folder, readable):
  names = [name for name in sorted(tf.io.gfile.listdir(folder)) if not is_clutter(name)]
  others = [name for name in names if not name.lower().endswith(readable)]
  if others:
    raise ValueError(
      f'{folder} holds {some(others)}: not images by name ({", ".join(readable)}); move them elsewhere.'
    )
  if not names:
    raise ValueError(f'{folder} holds no images; add some, or remove the folder from every split.')
  return [os.path.join(folder, name) for name in names]


def is_clutter(name):
  """Whether a file name is one of those that operating systems leave about."""
  return name.startswith('.') or name.lower() in _CLUTTER


def hold_out(files, fraction):
  """Divides images between training and evaluation: the same share of each class, the same ones always.

  Args:
    files: list of (path, class).
    fraction: share to evaluate on, between 0 and 1; of each class at least one image, and not all.

  Returns:
    {'train': list, 'validation': list}, in the order of `files`.

  Raises:
    ValueError: a class has a single image.
  """
  by_class = collections.defaultdict(list)
  for path, label in files:
    by_class[label].append(path)
  held = set()
  for label, paths in by_class.items():
    if len(paths) < 2:
      raise ValueError(f'{paths[0]} is the only image of its class: it cannot be in both splits.')
    count = min(max(round(fraction * len(paths)), 1), len(paths) - 1)
    # By a checksum of the name: adding images moves few of the others.
    by_checksum = sorted(paths, key=lambda path: hashlib.sha256(_name(path)).digest())
    held.update((path, label) for path in by_checksum[:count])
  return {
    'train': [file for file in files if file not in held],
    'validation': [file for file in files if file in held],
  }


def _name(path):
  """What is left of a path when its tree is moved: class and file."""
  return '/'.join(path.replace(os.sep, '/').split('/')[-2:]).encode()


def some(names):
  """A few of many names, for a message of one line."""
  names = list(names)
  return ', '.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '')
