"""Measures of a classifier's predictions: confusion, accuracy by class, calibration, mistakes."""
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

BINS = 15  # Of confidence; as in Guo et al., arXiv 1706.04599, Section 4.


@dataclasses.dataclass(frozen=True)
class Predictions:
  """Predictions for the images of a data set, in its order.

  Attributes:
    label: int [n], the true output.
    predicted: int [n], the likeliest output.
    probability: float [n], of the likeliest output.
    true_probability: float [n], of the true one.
    rank: int [n], how many outputs are likelier than the true one.
    num_outputs: outputs of the model.
  """

  label: np.ndarray
  predicted: np.ndarray
  probability: np.ndarray
  true_probability: np.ndarray
  rank: np.ndarray
  num_outputs: int

  @classmethod
  def from_rows(cls, rows: Mapping[str, np.ndarray], num_outputs: int) -> 'Predictions':
    """Returns the predictions in rows that `train.classification_task` collects."""
    return cls(**{name: np.asarray(value) for name, value in rows.items()}, num_outputs=num_outputs)

  def __len__(self) -> int:
    return len(self.label)

  @property
  def right(self) -> np.ndarray:
    """Bool [n]: whether the likeliest output is the true one."""
    return self.label == self.predicted

  @property
  def top_1(self) -> float:
    """Share of images whose likeliest output is the true one."""
    return float(self.right.mean())

  @property
  def top_5(self) -> float:
    """Share of images whose true output is among the five likeliest."""
    return float((self.rank < 5).mean())

  @property
  def log_loss(self) -> float:
    """Mean negative logarithm of the true output's probability."""
    return float(-np.log(np.maximum(self.true_probability, 1e-12)).mean())

  def confusion(self) -> np.ndarray:
    """Returns int [outputs, outputs]: images by true (row) and predicted (column) output."""
    table = np.zeros((self.num_outputs, self.num_outputs), np.int64)
    np.add.at(table, (self.label, self.predicted), 1)
    return table

  def confused_pairs(self, count: int) -> list[tuple[int, int, int]]:
    """Returns (true, predicted, images) of the pairs most often confused, the first the most."""
    wrong = ~self.right
    pairs, images = np.unique(
      np.stack([self.label[wrong], self.predicted[wrong]], axis=1), axis=0, return_counts=True
    )
    order = np.argsort(-images, kind='stable')[:count]
    return [(int(pairs[i, 0]), int(pairs[i, 1]), int(images[i])) for i in order]

  def classes(self) -> list['ClassResult']:
    """Returns the results of the outputs that occur, as truth or as prediction."""
    images = np.bincount(self.label, minlength=self.num_outputs)
    guesses = np.bincount(self.predicted, minlength=self.num_outputs)
    right = np.bincount(self.label[self.right], minlength=self.num_outputs)
    return [
      ClassResult(n, int(images[n]), int(guesses[n]), int(right[n]))
      for n in range(self.num_outputs)
      if images[n] or guesses[n]
    ]

  def mistakes(self) -> np.ndarray:
    """Returns the places of the wrong predictions, the most confident first."""
    wrong = np.flatnonzero(~self.right)
    return wrong[np.argsort(-self.probability[wrong], kind='stable')]

  def calibration(self) -> list['Bin']:
    """Returns the bins of confidence that hold predictions; bin n is (n / 15, (n + 1) / 15]."""
    places = np.clip(np.ceil(self.probability.astype(np.float64) * BINS) - 1, 0, BINS - 1)
    return [
      Bin(number / BINS, int(own.sum()), float(self.probability[own].mean()),
          float(self.right[own].mean()))
      for number in range(BINS)
      if (own := places == number).any()
    ]  # fmt: skip

  @property
  def calibration_error(self) -> float:
    """Expected calibration error: mean difference of confidence and accuracy over the bins."""
    gaps = [part.images * abs(part.confidence - part.accuracy) for part in self.calibration()]
    return float(sum(gaps) / len(self))


@dataclasses.dataclass(frozen=True)
class ClassResult:
  """One class.

  Attributes:
    number: of its output.
    images: with this class.
    guesses: images predicted to have it.
    right: images of it that are recognised.
  """

  number: int
  images: int
  guesses: int
  right: int

  @property
  def accuracy(self) -> float | None:
    """Share of its images that are recognised (recall); None without images."""
    return self.right / self.images if self.images else None

  @property
  def precision(self) -> float | None:
    """Share of right ones among the predictions of it; None if it is never predicted."""
    return self.right / self.guesses if self.guesses else None


@dataclasses.dataclass(frozen=True)
class Bin:
  """Predictions of similar confidence.

  Attributes:
    start: lower end of the bin.
    images: number of predictions.
    confidence: their mean probability.
    accuracy: share of right ones.
  """

  start: float
  images: int
  confidence: float
  accuracy: float


def worst_first(results: Sequence[ClassResult]) -> list[ClassResult]:
  """Sorts classes by accuracy, the worst first; those without images last."""
  return sorted(results, key=lambda c: (c.accuracy is None, c.accuracy or 0, -c.images, c.number))
