"""A data set whose evaluation split is an evenly spread sample of another one's."""
import tensorflow as tf

from tpu_utils.images.sources.interface import DataSet, Source


class Sample(DataSet):
  """A data set with the same classes and fewer evaluation images.

  Args:
    data: the data set.
    count: greatest number of images.
  """

  def __init__(self, data: DataSet, count: int):
    self.name, self.num_classes, self.class_names = data.name, data.num_classes, data.class_names
    self._data, self._count = data, count

  def _open(self, split):
    source = self._data.open(split)
    return source if split == 'train' or len(source) <= self._count else Spread(source, self._count)


class Spread:
  """Source: `count` examples of another one, evenly spread over it.

  Args:
    source: has at least `count` examples.
    count: number of examples.
  """

  portable = False

  def __init__(self, source: Source, count: int):
    self._source, self._count = source, count
    self.format, self.label_name = source.format, source.label_name
    self.lowest_label = source.lowest_label

  def __len__(self):
    return self._count

  def _place(self, number):
    return number * len(self._source) // self._count

  def read(self, first: tf.Tensor, last: tf.Tensor) -> tf.data.Dataset:
    """Reads a range of examples; see `Source`."""

    def read_one(number):
      place = self._place(number)
      return self._source.read(place, place + 1).map(lambda _, data: (number, data))

    return tf.data.Dataset.range(first, last).flat_map(read_one)

  def parse(self, number: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Extracts the image and label; see `Source`."""
    return self._source.parse(self._place(number), data)

  def read_one(self, number: int) -> bytes:
    """Reads the data of an example; see `Source`."""
    return self._source.read_one(self._place(number))

  def where(self, number: int) -> str:
    """Returns the name of an example for messages; see `Source`."""
    return self._source.where(self._place(number))
