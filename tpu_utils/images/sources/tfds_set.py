"""Image classification sets of TensorFlow Datasets, read from their prepared files.

Nothing is downloaded, and the code that once prepared a set is not needed: its folder describes it.
"""
import os

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core import read_only_builder, registered

from tpu_utils.command_line import cli
from tpu_utils.images import record_index
from tpu_utils.images.sources.interface import DataSet, ExampleFormat, ExampleRecords
from tpu_utils.images.sources.slices import Slice
from tpu_utils.names import check_name, unknown_name

_EVAL_SPLITS = ('validation', 'test')  # In the order of preference.
_FORMATS = ('tfrecord', 'array_record')


class TfdsSet(DataSet):
  """A prepared set.

  Args:
    name: as for `tfds.load`: NAME, NAME/CONFIG, NAME:VERSION.
    data_dir: the folder of prepared sets; None for `~/tensorflow_datasets`.
    eval_split: the split to evaluate on; by default 'validation', else 'test'.
    holdout_fraction: evaluate on this last share of the training split instead, and train on the rest.

  Raises (here and from `open`):
    ValueError: there is no such set, or it is none of images and classes.
  """

  def __init__(self, name, data_dir=None, eval_split=None, holdout_fraction=None):
    self.name = name
    self._data_dir = os.path.expanduser(data_dir or os.path.join('~', 'tensorflow_datasets'))
    self._builder = _find(name, self._data_dir)
    self._format, self.num_classes = self._image_and_label()
    self._holdout_fraction = holdout_fraction
    self._splits = {'train': 'train', 'validation': self._eval_split(eval_split)}
    if holdout_fraction:
      self._splits['validation'] = 'train'

  def _image_and_label(self):
    """(ExampleFormat, number of classes)."""
    features = self._builder.info.features
    keys = {
      kind: [key for key, feature in features.items() if type(feature) is kind]
      for kind in (tfds.features.Image, tfds.features.ClassLabel)
    }
    # A set of several images or labels says which pair it is about.
    supervised = self._builder.info.supervised_keys or ()
    keys = {kind: [k for k in found if k in supervised] or found for kind, found in keys.items()}
    if any(len(found) != 1 for found in keys.values()):
      raise ValueError(
        f'--dataset={self.name} is not an image classification set: expected one image and one class label, '
        f'found the features {", ".join(sorted(features))}.'
      )
    (image,), (label,) = keys.values()
    if features[image].np_dtype != np.uint8:
      raise ValueError(
        f'--dataset={self.name} has images of {np.dtype(features[image].np_dtype).name}; only uint8 is supported.'
      )
    return ExampleFormat(image, label, lowest_label=0), features[label].num_classes

  def _eval_split(self, wanted):
    available = self._builder.info.splits
    if wanted:
      check_name(f'split (--eval_split) of {self.name}', wanted, available)
      if wanted == 'train':
        raise ValueError(
          '--eval_split=train would evaluate on the training images; --holdout_fraction keeps some apart.'
        )
      return wanted
    return next((split for split in _EVAL_SPLITS if split in available), None)

  def _open(self, split):
    source = self._read(self._splits[split], split)
    if not self._holdout_fraction:
      return source
    # The shards of TFDS are in random order, so the last ones are as good as any.
    cut = len(source) - min(max(round(self._holdout_fraction * len(source)), 1), len(source) - 1)
    return Slice(source, 0, cut) if split == 'train' else Slice(source, cut, len(source))

  def _read(self, stored, split):
    info = self._builder.info
    if stored not in info.splits:
      mend = '; name one with --eval_split, or set --holdout_fraction' if split == 'validation' else ''
      raise ValueError(f'--dataset={self.name} has no {split} split ({", ".join(info.splits)}){mend}.')
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
        f'--dataset={self.name} is stored as {info.file_format.value}; only {" and ".join(_FORMATS)} can be '
        'read in any order. Prepare it with --file_format=array_record.'
      )
    if len(source) != count:
      raise ValueError(
        f'{os.path.dirname(paths[0])}: dataset_info.json speaks of {count} examples in {stored} and its files '
        f'hold {len(source)}; copy or prepare {self.name} again.'
      )
    return source


class ArrayRecords:
  """Source: ArrayRecord files of serialised tf.train.Examples; see `interface`.

  Args:
    paths: the files.
    example_format: `ExampleFormat`.
  """

  portable = False  # Read by Python code of this process.

  def __init__(self, paths, example_format):
    # Only who has such files needs it to work.
    from array_record.python import array_record_data_source

    try:
      self._records = array_record_data_source.ArrayRecordDataSource(paths)
      self._length = len(self._records)
    except RuntimeError as e:
      raise ValueError(
        f'{os.path.dirname(paths[0])}: its ArrayRecord files cannot be read ({cli.one_line(e) or "cut off"}); '
        'copy or prepare them again.'
      ) from None
    self._folder = os.path.dirname(paths[0])
    self.format = example_format
    self.label_name = example_format.label
    self.lowest_label = example_format.lowest_label

  def __len__(self):
    return self._length

  def read(self, first, last):
    """See `interface`."""
    types = [tf.int64, tf.string]
    numbers, data = tf.numpy_function(self._read, [first, last], types, stateful=False)
    numbers, data = tf.ensure_shape(numbers, [None]), tf.ensure_shape(data, [None])
    return tf.data.Dataset.from_tensor_slices((numbers, data))

  def _read(self, first, last):
    numbers = range(int(first), int(last))
    try:
      data = self._records.__getitems__(numbers) if numbers else []
    except RuntimeError:  # One of them is damaged. The others will be asked for singly.
      numbers, data = [], []
    return np.array(numbers, np.int64), np.array(data, object)

  def parse(self, number, data):
    """See `interface`."""
    del number
    return self.format.parse(data)

  def read_one(self, number):
    """See `interface`."""
    try:
      return self._records[int(number)]
    except RuntimeError as e:
      raise ValueError(f'{self.where(number)}: cannot be read ({cli.one_line(e)}).') from None

  def where(self, number):
    """See `interface`."""
    return f'{self._folder}, example {number}'


def _find(name, data_dir):
  """The builder of a prepared set. ValueError that says what is there instead."""
  if not tf.io.gfile.isdir(data_dir):
    raise ValueError(
      f'--tfds_data_dir={data_dir} is no folder; give the one that `tfds build --data_dir` prepared sets in.'
    )
  try:
    return read_only_builder.builder_from_files(name, data_dir=data_dir)
  except registered.DatasetNotFoundError:
    pass
  prepared = sorted(
    entry.rstrip('/')
    for entry in tf.io.gfile.listdir(data_dir)
    if entry.rstrip('/') != 'downloads' and tf.io.gfile.isdir(os.path.join(data_dir, entry))
  )
  plain = name.split('/')[0].split(':')[0]
  if plain in prepared:
    below = sorted(entry.rstrip('/') for entry in tf.io.gfile.listdir(os.path.join(data_dir, plain)))
    raise ValueError(
      f'--dataset={name}: {os.path.join(data_dir, plain)} has no such version or configuration; it holds '
      f'{", ".join(below) or "nothing"}.'
    )
  known = tfds.list_builders(with_community_datasets=False)
  if plain in known:
    raise ValueError(
      f'--dataset={name} is not prepared in {data_dir}, which holds {", ".join(prepared) or "nothing"}; with '
      f'network access run: tfds build {plain} --data_dir={data_dir}'
    )
  raise unknown_name('data set (--dataset)', name, {*prepared, *known})
