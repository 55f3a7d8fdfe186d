"""Accuracy and speed of exported files beside those of the model."""
import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tpu_utils.command_line.progress import Progress
from tpu_utils.text_table import text_table

BATCH_SIZES = (8, 1)  # At which speed is measured.
_SECONDS = 0.5  # For each of them.
_MAX_RUNS = 20

Predict = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass
class Result:
  """Accuracy and speed of an exported file.

  Attributes:
    images: number of images.
    right: images with a correct top-1 class.
    unchanged: images with the same top-1 class as the original model.
    change: largest difference of a probability from the original model's.
    speeds: {batch size: images a second}.
  """

  images: int = 0
  right: int = 0
  unchanged: int = 0
  change: float = 0.0
  speeds: dict[int, float] = dataclasses.field(default_factory=dict)

  def add(self, probabilities: np.ndarray, labels: np.ndarray, original: np.ndarray) -> None:
    """Adds a batch; all arguments are [n, classes].

    Args:
      probabilities: of the file.
      labels: one-hot.
      original: probabilities of the original model.
    """
    classes = probabilities.argmax(-1)
    self.images += len(probabilities)
    self.right += int((classes == labels.argmax(-1)).sum())
    self.unchanged += int((classes == original.argmax(-1)).sum())
    self.change = max(self.change, float(np.abs(probabilities - original).max()))

  def as_json(self, known_classes: bool) -> dict[str, Any]:
    """Returns the result for export.json; without known classes it has no top-1."""
    top_1 = {'top_1_accuracy': self.right / self.images} if known_classes else {}
    return {
      'images': self.images,
      **top_1,
      'same_class': self.unchanged / self.images,
      'largest_change': self.change,
      'images_per_second': {str(size): round(speed, 2) for size, speed in self.speeds.items()},
    }


def measure(
  model: keras.Model,
  others: Mapping[str, Predict],
  batches: Iterator[tuple[np.ndarray, np.ndarray]],
) -> dict[str, Result]:
  """Measures a model and its files on the same images.

  Args:
    model: model from images to logits.
    others: {name of a file: function from images to probabilities}.
    batches: (images [n, height, width, 3], labels [n, classes]) of evaluation.

  Returns:
    {'model' or a name: `Result`}; {} without images.

  Raises:
    ValueError: an image cannot be read.
  """
  infer = tf.function(lambda batch: tf.nn.softmax(model(batch, training=False)), autograph=False)
  predict: dict[str, Predict] = {'model': lambda batch: infer(tf.constant(batch)).numpy(), **others}
  results = {name: Result() for name in predict}
  some_images = None
  with Progress(None, 'accuracy', unit='image') as progress:
    for images, labels in batches:
      some_images = images if some_images is None else some_images
      original = predict['model'](images)
      for name, result in results.items():
        result.add(original if name == 'model' else predict[name](images), labels, original)
      progress.update(results['model'].images)
  if some_images is None:
    return {}
  for name, result in results.items():
    result.speeds = {size: _speed(predict[name], some_images, size) for size in BATCH_SIZES}
  return results


def _speed(predict, images, size):
  """Returns images a second: the median of runs during half a second, after one."""
  batch = np.resize(images, (size, *images.shape[1:]))
  predict(batch)
  seconds: list[float] = []
  while len(seconds) < 2 or (sum(seconds) < _SECONDS and len(seconds) < _MAX_RUNS):
    start = time.perf_counter()
    predict(batch)
    seconds.append(time.perf_counter() - start)
  return size / statistics.median(seconds)


def table(results: Mapping[str, Result], known_classes: bool = True) -> str:
  """Formats the results of `measure`.

  Args:
    results: of `measure`.
    known_classes: whether the images' classes are the model's; without, there is no top-1.
  """
  count = results['model'].images
  rows = []
  for name, result in results.items():
    right = f'{100 * result.right / count:.2f}%' if known_classes else '-'
    same = f'{100 * result.unchanged / count:.2f}%'
    rows.append([name, right, same, f'{result.change:.4f}'])
  accuracy = text_table([f'on {count} images', 'top-1', 'same class', 'largest change'], rows)
  speeds = [
    [name, *(f'{result.speeds[size]:.1f}' for size in BATCH_SIZES)]
    for name, result in results.items()
    if result.speeds
  ]
  if not speeds:
    return accuracy
  head = ['images a second', *(f'{size} at a time' for size in BATCH_SIZES)]
  return f'{accuracy}\n\n{text_table(head, speeds)}'
