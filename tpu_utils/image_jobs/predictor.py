"""Predictions for many images: in batches, with reading and computing at the same time.

A paper's package loads it, in three lines:

    import efficientnet
    classifier = efficientnet.load('runs/flowers/export')
    predictions = classifier.predict(['photographs/', 'one_more.jpg'])
"""
import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from tpu_utils.command_line.progress import Progress
from tpu_utils.errors import first_line
from tpu_utils.export import serving
from tpu_utils.image_jobs import image_paths, opening
from tpu_utils.image_jobs.predictions import Guess, top_guesses
from tpu_utils.images import decoding, preprocessing
from tpu_utils.images.sources import picture_files

Path = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class Prediction:
  """The likeliest classes of an image, or why it could not be read.

  Attributes:
    image: path of the image.
    guesses: the likeliest classes, the likeliest first; empty if the image could not be read.
    error: why it could not be read; '' if it was.
  """

  image: str
  guesses: tuple[Guess, ...] = ()
  error: str = ''

  @property
  def label(self) -> str:
    """Name of the likeliest class; ValueError if the image could not be read."""
    return self._best().label

  @property
  def probability(self) -> float:
    """Probability of the likeliest class; ValueError if the image could not be read."""
    return self._best().probability

  def _best(self):
    if self.error:
      raise ValueError(f'{self.image}: {self.error}')
    return self.guesses[0]

  def as_json(self) -> dict[str, Any]:
    """Returns {'image', 'predictions': [{'class', 'label', 'probability'}]}, or 'error' instead."""
    if self.error:
      return {'image': self.image, 'error': self.error}
    guesses = [
      {'class': g.number, 'label': g.label, 'probability': g.probability} for g in self.guesses
    ]
    return {'image': self.image, 'predictions': guesses}


class Predictor:
  """Predicts the classes of images.

  Args:
    opened: the classifier with the names of its classes.
  """

  def __init__(self, opened: opening.Opened):
    self._opened = opened
    self.classifier = opened.classifier
    self.labels = opened.labels

  def predict(
    self, images: Path | Sequence[Path], top_k: int = 5, batch_size: int = 16
  ) -> list[Prediction]:
    """Predicts the classes of images.

    Args:
      images: paths of files and folders, and patterns; or one of them. See `image_paths.find`.
      top_k: greatest number of classes for each image.
      batch_size: images at a time.

    Returns:
      A prediction for each image, in the order of the paths; those of unreadable ones say why.

    Raises:
      OSError, ValueError: a path names no image.
    """
    words = [images] if isinstance(images, str | os.PathLike) else list(images)
    paths, _ = image_paths.find(words)
    return [found for part in self.stream(paths, top_k, batch_size) for found in part]

  def stream(
    self, paths: Sequence[str], top_k: int, batch_size: int, progress: Progress | None = None
  ) -> Iterator[list[Prediction]]:
    """Yields the predictions of each batch; see `predict`.

    Args:
      paths: of image files.
      top_k: greatest number of classes for each image.
      batch_size: images at a time.
      progress: shows the number of images that are done; None for none.
    """
    if not paths:
      return
    done = failed = 0
    for numbers, images in self._batches(paths, batch_size):
      probabilities = self.classifier.predict(images)
      rows = dict(zip(numbers.tolist(), probabilities, strict=True))
      last = int(numbers[-1]) + 1
      found = [self._prediction(paths[n], rows.get(n), top_k) for n in range(done, last)]
      done, failed = last, failed + sum(bool(p.error) for p in found)
      yield found
      if progress:
        progress.update(done, **({'unreadable': failed} if failed else {}))
    if done < len(paths):  # Unreadable ones at the end.
      yield [self._prediction(path, None, top_k) for path in paths[done:]]
      if progress:
        progress.update(len(paths))

  def _prediction(self, path, row, top_k):
    if row is None:
      return Prediction(path, error=_flaw(path))
    guesses = top_guesses(row, self.labels, self._opened.background, top_k)
    return Prediction(path, tuple(guesses))

  def _batches(self, paths, batch_size):
    """Yields (numbers [n], images [n, height, width, 3]), without images that cannot be read."""
    prepare = serving.checked_preprocess(preprocessing.eval_function(self.classifier.spec))

    def read(number, path):
      return number, prepare(tf.io.read_file(path))

    names = tf.constant(picture_files.as_bytes(paths), tf.string)
    dataset = tf.data.Dataset.from_tensor_slices((tf.range(len(paths)), names))
    dataset = dataset.map(read, tf.data.AUTOTUNE).ignore_errors().batch(batch_size).prefetch(1)
    return dataset.as_numpy_iterator()


def _flaw(path):
  """Returns why an image cannot be read."""
  try:
    return decoding.flaw(picture_files.read(path))
  except OSError as error:
    return f'it cannot be read ({error.strerror or first_line(error)})'
