"""The interface of data sets and their sources; `ImageNetInput` uses nothing else of them.

A data set is a `DataSet`: `open('train')` and `open('validation')` return its sources.
"""
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import tensorflow as tf

from tpu_utils.images import tfrecords

SPLITS = ('train', 'validation')


class Source(Protocol):
  """The examples of a split, numbered 0 <= n < len(source)."""

  @property
  def format(self) -> object:
    """Format that `parse` expects, as text for messages."""

  @property
  def label_name(self) -> str:
    """Name of the label where it is stored, for messages."""

  @property
  def lowest_label(self) -> int:
    """Label of the first class: 1 if 0 is reserved for the background, else 0."""

  @property
  def portable(self) -> bool:
    """Whether another process can read the source (`--tf_data_service`)."""

  def __len__(self) -> int: ...

  def read(self, first: tf.Tensor, last: tf.Tensor) -> tf.data.Dataset:
    """Returns the examples first <= n < last, in order.

    Called inside functions of datasets, for some tens of examples at a time.

    Args:
      first: int64 scalar.
      last: int64 scalar.

    Returns:
      Dataset of (n, data); data is a string scalar, as stored. Unreadable examples are left out,
      and may take others of the same call with them; those can be read by a call of their own.
    """

  def parse(self, number: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Extracts the image and label from the data of an example, eagerly or in a graph.

    Returns:
      (encoded image, label): string and int64 scalars. A missing image is '', a missing label
      negative.

    Raises:
      tf.errors.InvalidArgumentError: the data have another format.
    """

  def read_one(self, number: int) -> bytes:
    """Reads the data of an example.

    Raises:
      ValueError: it cannot be read; one line that names the file.
    """

  def where(self, number: int) -> str:
    """Returns the file (and record) of an example, for messages."""


class DataSet:
  """Base class of data sets. A subclass defines `_open(split)`, called once for each split.

  Attributes:
    name: name of the data set in messages.
    num_classes: number of classes (without background), or None if it is not known.
    class_names: their names in order, or None if they are not known.
    split_record: JSON-able record of how the images were divided, to keep as `split.json`; None if
      they came divided.
  """

  name: str
  num_classes: int | None = None
  class_names: Sequence[str] | None = None
  split_record: Mapping[str, Any] | None = None

  @property
  def lacks_validation(self) -> bool:
    """Whether there are training images that can be divided, and none to evaluate on."""
    return False

  def open(self, split: str) -> Source:
    """Returns the source of a split.

    Args:
      split: 'train' or 'validation'.

    Raises:
      ValueError: the split does not exist or cannot be read; one line.
    """
    sources = self.__dict__.setdefault('_sources', {})
    if split not in sources:
      sources[split] = self._open(split)
    return sources[split]

  def _open(self, split) -> Source:
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class ExampleFormat:
  """Feature names of the image and the label in serialised tf.train.Examples.

  Attributes:
    image: feature of the encoded image.
    label: feature of the label.
    lowest_label: label of the first class.
  """

  image: str
  label: str
  lowest_label: int

  def parse(self, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns (encoded image, label) of a serialised Example; '' and -1 for missing features.

    Raises:
      tf.errors.InvalidArgumentError: it is not an Example, or a feature has another type.
    """
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
    example_format: names of the features.
    index_path: see `RecordFiles`.
  """

  portable = True

  def __init__(
    self, paths: Sequence[str], example_format: ExampleFormat, index_path: str | None = None
  ):
    super().__init__(paths, index_path)
    self.format = example_format
    self.label_name = example_format.label
    self.lowest_label = example_format.lowest_label

  def parse(self, number: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Extracts the image and label; see `Source`."""
    del number
    return self.format.parse(data)
