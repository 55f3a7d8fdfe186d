"""MNIST's files: all grey images of a split in one file, and their labels in another.

    train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz     the training images
    t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz       those to evaluate on

Also without .gz. A file has two zero bytes, the type of its values (8: unsigned bytes), the number
of dimensions, each dimension as a big-endian 32-bit number, and the values. Debian's package
`dataset-fashion-mnist` installs such files in `FASHION_MNIST`; EMNIST, KMNIST and QMNIST have the
same form.
"""
import functools
import gzip
import io
import os
import struct

import numpy as np
import tensorflow as tf

from tpu_utils import files
from tpu_utils.images import digits
from tpu_utils.images.sources.interface import DataSet
from tpu_utils.reading import check_unpacked, reading

_SPLITS = {'train': 'train', 'validation': 't10k'}
_UNSIGNED_BYTE = 8
_KIND = 'an IDX file of unsigned bytes'


def has_idx_files(data_dir: str) -> bool:
  """Returns whether a folder holds the images of a split in MNIST's format."""
  return any(_path(data_dir, name, 'images', 3) for name in _SPLITS.values())


class IdxFiles(DataSet):
  """A folder of MNIST's files.

  Args:
    data_dir: the folder, local or remote.

  Raises:
    FileNotFoundError: there are no training labels.
    ValueError: they are damaged. `open` raises it for the images.
  """

  def __init__(self, data_dir: str):
    self.name = data_dir
    self._data_dir = data_dir
    self.num_classes = int(self._labels('train').max()) + 1

  def _open(self, split):
    labels = self._labels(split)
    path = self._find(split, 'images', 3)
    images = read_idx(path, 3)
    if len(images) != len(labels):
      raise ValueError(
        f'{path} has {len(images)} images and its file of labels {len(labels)}; copy both again.'
      )
    if labels.max() >= self.num_classes:
      raise ValueError(
        f'{self._find(split, "labels", 1)} has the label {labels.max()}; the training images have '
        f'0 to {self.num_classes - 1}.'
      )
    return IdxImages(path, images, labels)

  def _labels(self, split):
    path = self._find(split, 'labels', 1)
    labels = read_idx(path, 1)
    if not len(labels):
      raise ValueError(f'{path} has no labels; copy it again.')
    return labels

  def _find(self, split, kind, dimensions):
    path = _path(self._data_dir, _SPLITS[split], kind, dimensions)
    if path is None:
      name = _name(_SPLITS[split], kind, dimensions)
      raise FileNotFoundError(f'--data_dir={self._data_dir} lacks {name} or {name}.gz.')
    return path


def read_idx(path: str, dimensions: int) -> np.ndarray:
  """Reads an IDX file.

  Args:
    path: the file; compressed if its name ends in .gz.
    dimensions: the expected number of dimensions.

  Returns:
    uint8 array.

  Raises:
    ValueError: it is damaged, or has another type or number of dimensions.
    OSError: it cannot be read.
  """
  with reading(path, _KIND):
    stored = files.read_bytes(path)
    start = 4 + 4 * dimensions
    file = gzip.GzipFile(fileobj=io.BytesIO(stored)) if path.endswith('.gz') else io.BytesIO(stored)
    header = file.read(start)
    if header[:4] != bytes((0, 0, _UNSIGNED_BYTE, dimensions)):
      raise ValueError(
        f'it begins with {header[:4].hex(" ")}, expected 00 00 08 {dimensions:02x}: unsigned '
        f'bytes in {dimensions} dimensions'
      )
    shape = struct.unpack(f'>{dimensions}I', header[4:])
    size = int(np.prod(shape, dtype=object))
    check_unpacked('its values', size, len(stored))
    values = file.read(size + 1)
    if len(values) != size:
      found = 'more' if len(values) > size else str(len(values))
      raise ValueError(f'its header announces {size} values, and {found} follow')
  return np.frombuffer(values, np.uint8).reshape(shape)


class IdxImages:
  """Source: grey images in memory.

  Args:
    path: file of the images, for messages.
    images: uint8 [number, height, width].
    labels: uint8 [number].
  """

  portable = False  # Encoded by Python code in this process.
  format = 'image of an IDX file'
  label_name = 'label'
  lowest_label = 0

  def __init__(self, path: str, images: np.ndarray, labels: np.ndarray):
    self._path, self._images, self._numbers = path, images, labels

  @functools.cached_property
  def _labels(self):
    with tf.init_scope(), tf.device('/CPU:0'):  # As in `RecordFiles`.
      return tf.constant(self._numbers, tf.int64)

  def __len__(self):
    return len(self._images)

  def read(self, first: tf.Tensor, last: tf.Tensor) -> tf.data.Dataset:
    """Reads a range of examples; see `Source`."""
    data = tf.numpy_function(self._encoded, [first, last], tf.string, stateful=False)
    data = tf.ensure_shape(data, [None])
    return tf.data.Dataset.from_tensor_slices((tf.range(first, last), data))

  def _encoded(self, first, last):
    return np.array([digits.grey_png(image) for image in self._images[first:last]], object)

  def parse(self, number: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Extracts the image and label; see `Source`."""
    return data, self._labels[number]

  def read_one(self, number: int) -> bytes:
    """Reads the data of an example; see `Source`."""
    return digits.grey_png(self._images[int(number)])

  def where(self, number: int) -> str:
    """Returns the name of an example for messages; see `Source`."""
    return f'{self._path}, image {number}'


def _name(split, kind, dimensions):
  return f'{split}-{kind}-idx{dimensions}-ubyte'


def _path(data_dir, split, kind, dimensions):
  """Returns the path of a file, compressed or not; None if there is neither."""
  name = _name(split, kind, dimensions)
  paths = [os.path.join(data_dir, f'{name}{ending}') for ending in ('', '.gz')]
  return next((path for path in paths if files.is_file(path)), None)
