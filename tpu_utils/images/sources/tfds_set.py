"""Image classification sets of TensorFlow Datasets, read from their prepared files.

Nothing is downloaded. The code that prepared a set is not needed: its folder describes it.
"""
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core import read_only_builder, registered

from tpu_utils import file_systems, files
from tpu_utils.errors import one_line, printable
from tpu_utils.images import record_index
from tpu_utils.images.sources.interface import DataSet, ExampleFormat, ExampleRecords
from tpu_utils.images.sources.slices import Slice
from tpu_utils.names import check_name, unknown_name

_EVAL_SPLITS = ('validation', 'test')  # In order of preference.
_FORMATS = ('tfrecord', 'array_record')


class TfdsSet(DataSet):
  """A prepared set.

  Args:
    name: as for `tfds.load`: NAME, NAME/CONFIG, NAME:VERSION.
    data_dir: the folder of prepared sets; None for `~/tensorflow_datasets`.
    eval_split: the split to evaluate on; by default 'validation', else 'test'.
    holdout_fraction: share of the training split, its end, to evaluate on instead.

  Raises:
    ValueError: the set does not exist or is not for image classification. `open` raises it for
      missing splits and damaged files.
  """

  def __init__(
    self,
    name: str,
    data_dir: str | None = None,
    eval_split: str | None = None,
    holdout_fraction: float | None = None,
  ):
    self.name = name
    self._data_dir = os.path.expanduser(data_dir or os.path.join('~', 'tensorflow_datasets'))
    self._builder = _find(name, self._data_dir)
    self._format, label = self._image_and_label()
    self.num_classes, self.class_names = label.num_classes, label.names
    self._holdout_fraction = holdout_fraction
    self._splits = {'train': 'train', 'validation': self._eval_split(eval_split)}
    if holdout_fraction:
      self._splits['validation'] = 'train'

  @property
  def lacks_validation(self) -> bool:
    """Whether there are training images and none to evaluate on."""
    return self._splits['validation'] is None and 'train' in self._builder.info.splits

  def _image_and_label(self):
    """Returns (`ExampleFormat`, the feature of the label)."""
    features = self._builder.info.features
    keys = {
      kind: [key for key, feature in features.items() if type(feature) is kind]
      for kind in (tfds.features.Image, tfds.features.ClassLabel)
    }
    # Sets with several images or labels name the pair to learn from.
    supervised = self._builder.info.supervised_keys or ()
    keys = {kind: [k for k in names if k in supervised] or names for kind, names in keys.items()}
    if any(len(names) != 1 for names in keys.values()):
      raise ValueError(
        f'--dataset={self.name} is not an image classification set: expected one image and one '
        f'class label, found the features {", ".join(sorted(features))}.'
      )
    (image,), (label,) = keys.values()
    if features[image].np_dtype != np.uint8:
      dtype = np.dtype(features[image].np_dtype).name
      raise ValueError(f'--dataset={self.name} has images of {dtype}; only uint8 is supported.')
    return ExampleFormat(image, label, lowest_label=0), features[label]

  def _eval_split(self, wanted):
    available = self._builder.info.splits
    if wanted:
      check_name(f'split (--eval_split) of {self.name}', wanted, available)
      if wanted == 'train':
        raise ValueError(
          '--eval_split=train would evaluate on the training images; use --holdout_fraction to '
          'hold some out.'
        )
      return wanted
    return next((split for split in _EVAL_SPLITS if split in available), None)

  def _open(self, split):
    source = self._read(self._splits[split], split)
    if not self._holdout_fraction:
      return source
    # TFDS stores examples in random order, so the last ones are a random sample.
    cut = len(source) - min(max(round(self._holdout_fraction * len(source)), 1), len(source) - 1)
    return Slice(source, 0, cut) if split == 'train' else Slice(source, cut, len(source))

  def _read(self, stored, split):
    """Returns the source of the stored split that 'train' or 'validation' is read from."""
    info = self._builder.info
    if stored not in info.splits:
      remedy = ''
      if split == 'validation':
        remedy = '; name one with --eval_split, or set --holdout_fraction'
      raise ValueError(
        f'--dataset={self.name} has no {split} split ({", ".join(info.splits)}){remedy}.'
      )
    count = info.splits[stored].num_examples
    if not count:
      raise ValueError(f'--dataset={self.name}: its split {stored} is empty; prepare it again.')
    paths = [os.fspath(path) for path in info.splits[stored].filepaths]
    for path in paths:
      if not tf.io.gfile.exists(path):
        raise ValueError(f'{path} is missing; copy or prepare {self.name} again.')
    if info.file_format.value == 'array_record':
      source = ArrayRecords(paths, self._format)
    elif info.file_format.value == 'tfrecord':
      index = record_index.path_beside(os.fspath(self._builder.data_path), stored)
      source = ExampleRecords(paths, self._format, index)
    else:
      raise ValueError(
        f'--dataset={self.name} is stored as {info.file_format.value}; only '
        f'{" and ".join(_FORMATS)} can be read in any order. Prepare it with '
        '--file_format=array_record.'
      )
    if len(source) != count:
      raise ValueError(
        f'{os.path.dirname(paths[0])}: dataset_info.json lists {count} examples in {stored} and '
        f'its files hold {len(source)}; copy or prepare {self.name} again.'
      )
    return source


class ArrayRecords:
  """Source: ArrayRecord files of serialised tf.train.Examples.

  Args:
    paths: the files.
    example_format: names of the features.

  Raises:
    ValueError: the files are damaged.
  """

  portable = False  # Read by Python code in this process.

  def __init__(self, paths: Sequence[str], example_format: ExampleFormat):
    # Imported here so that other formats do not depend on this package.
    from array_record.python import array_record_data_source

    try:
      self._records = array_record_data_source.ArrayRecordDataSource(paths)
      self._length = len(self._records)
    except RuntimeError as e:
      raise ValueError(
        f'{os.path.dirname(paths[0])}: its ArrayRecord files cannot be read '
        f'({one_line(e) or "cut off"}); copy or prepare them again.'
      ) from None
    self._folder = os.path.dirname(paths[0])
    self.format = example_format
    self.label_name = example_format.label
    self.lowest_label = example_format.lowest_label

  def __len__(self):
    return self._length

  def read(self, first: tf.Tensor, last: tf.Tensor) -> tf.data.Dataset:
    """Reads a range of examples; see `Source`."""
    types = [tf.int64, tf.string]
    numbers, data = tf.numpy_function(self._read, [first, last], types, stateful=False)
    numbers, data = tf.ensure_shape(numbers, [None]), tf.ensure_shape(data, [None])
    return tf.data.Dataset.from_tensor_slices((numbers, data))

  def _read(self, first, last):
    numbers = range(int(first), int(last))
    try:
      data = self._records.__getitems__(numbers) if numbers else []
    except RuntimeError:  # One of them is damaged. The caller then reads the others one by one.
      numbers, data = [], []
    return np.array(numbers, np.int64), np.array(data, object)

  def parse(self, number: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Extracts the image and label; see `Source`."""
    del number
    return self.format.parse(data)

  def read_one(self, number: int) -> bytes:
    """Reads the data of an example; see `Source`."""
    try:
      return self._records[int(number)]
    except RuntimeError as e:
      raise ValueError(f'{self.where(number)}: cannot be read ({one_line(e)}).') from None

  def where(self, number: int) -> str:
    """Returns the name of an example for messages; see `Source`."""
    return f'{self._folder}, example {number}'


def _find(name, data_dir):
  """Returns the builder of a prepared set; ValueError naming the existing sets if there is none."""
  file_systems.check_tfds_folder(data_dir, 'tfds_data_dir')
  if not tf.io.gfile.isdir(data_dir):
    raise ValueError(
      f'--tfds_data_dir={data_dir} is not a folder; give the one that `tfds build --data_dir` '
      'prepared sets in.'
    )
  try:
    return read_only_builder.builder_from_files(name, data_dir=data_dir)
  except registered.DatasetNotFoundError:
    pass
  folders = [os.path.basename(path) for path in files.paths_in(data_dir) if files.is_folder(path)]
  prepared = [printable(name) for name in folders if name != 'downloads']
  plain = name.split('/')[0].split(':')[0]
  if plain in prepared:
    folder = os.path.join(data_dir, plain)
    versions = [printable(os.path.basename(path)) for path in files.paths_in(folder)]
    raise ValueError(
      f'--dataset={name}: {folder} has no such version or configuration; it holds '
      f'{", ".join(versions) or "nothing"}.'
    )
  known = tfds.list_builders(with_community_datasets=False)
  if plain in known:
    raise ValueError(
      f'--dataset={name} is not prepared in {data_dir}, which holds '
      f'{", ".join(prepared) or "nothing"}; with network access run: '
      f'tfds build {plain} --data_dir={data_dir}'
    )
  raise unknown_name('data set (--dataset)', name, {*prepared, *known})
