"""What a data set and its sources are. `ImageNetInput` asks for nothing else.

A data set is a `DataSet`: `open('train')` and `open('validation')` give its sources.

A source is the examples of a split, numbered 0 <= n < len(source). It has

  read(first, last)       Dataset of (n, data) for first <= n < last, int64 scalar tensors, in order. data is a
                          string, as it is stored. Examples that cannot be read are left out, and so may be
                          others of the same call; those must come when they are asked for on their own.
                          Called inside functions of datasets, for some tens of examples at a time.
  parse(n, data)          (encoded image, label): string and int64 scalars, in graph or eagerly. What is
                          missing is '' or a negative label; what has another format raises InvalidArgumentError.
  read_one(n)             The data, as bytes; ValueError of one line if it cannot be read.
  where(n)                Which file (and record) it is, for messages.
  format                  What `parse` expects, for messages.
  label_name              What the label is called where it is stored, for messages.
  lowest_label            The label of the first class: 1 where 0 is left to the background, else 0.
  portable                Whether another process can read it (`--tf_data_service`).
"""
import dataclasses

import tensorflow as tf

from tpu_utils.images import tfrecords

SPLITS = ('train', 'validation')


class DataSet:
  """Base of the data sets. A subclass defines `_open(split)`, which is called once for each split.

  Attributes:
    name: what to call it in messages.
    num_classes: number of classes (without background), or None if nothing says so.
  """

  name = None
  num_classes = None

  def open(self, split):
    """The source of 'train' or 'validation'. ValueError of one line if there is no such data."""
    sources = self.__dict__.setdefault('_sources', {})
    if split not in sources:
      sources[split] = self._open(split)
    return sources[split]


@dataclasses.dataclass(frozen=True)
class ExampleFormat:
  """Which features of a serialised tf.train.Example are the image and the label."""

  image: str
  label: str
  lowest_label: int

  def parse(self, data):
    """(encoded image, label) of a serialised Example, '' and -1 for what it lacks."""
    features = tf.io.parse_single_example(
      data,
      {
        self.image: tf.io.FixedLenFeature([], tf.string, ''),
        self.label: tf.io.FixedLenFeature([], tf.int64, -1),
      },
    )
    return features[self.image], features[self.label]

  def __str__(self):
    return f'tf.train.Example with a string {self.image} and an integer {self.label}'


class ExampleRecords(tfrecords.RecordFiles):
  """Source: TFRecord files of serialised tf.train.Examples.

  Args:
    paths: the files.
    example_format: `ExampleFormat`.
    index_path: see `RecordFiles`.
  """

  portable = True

  def __init__(self, paths, example_format, index_path=None):
    super().__init__(paths, index_path)
    self.format = example_format
    self.label_name = example_format.label
    self.lowest_label = example_format.lowest_label

  def parse(self, number, data):
    """See the top of the file."""
    del number
    return self.format.parse(data)
