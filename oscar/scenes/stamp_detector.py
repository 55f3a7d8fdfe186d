"""The detector of the photographic world: ImageNet features, and a linear classifier of stamps.

Boxes are ground truth. The appearance is what a network trained on ImageNet gives for the crop:
by default EfficientNet-Lite0, 1,280 numbers of its last pooling, then zeros up to the 2,048 of the
official layout (`oscar.datasets.lite_features`), all divided by five so that the six numbers of the
box beside them count. The tag is the class that a linear classifier
predicts from it, fitted by ridge regression to prints of the training split.
"""

import os
import random
from collections.abc import Callable, Mapping, Sequence

import h5py
import numpy as np

from oscar.datasets import region_extraction
from oscar.scenes import graph, stamps
from oscar.scenes.theme import Theme

_PRINTS = 2  # Random tints and sizes of each sample to fit the classifier to.
_RIDGE = 0.003  # Penalty, as a part of the features' mean square.
# Unscaled, the appearance varies six times as much as the numbers of the box.
_SCALE = 0.2
_TEMPERATURE = 0.1  # The fitted outputs are about 1 for the class and 0 for others.

# The appearance of crops: float32 [n, size, size, 3] in [0, 255] to ([n, 2048], anything).
Features = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class StampDetector:
  """A classifier of crops, callable as the model of `region_extraction.extract`.

  Attributes:
    image_size: height and width of the crops in pixels.
    labels: the class names.
  """

  def __init__(self, features: Features | None = None) -> None:
    """Starts without classes; `fit` or `load` gives them.

    Args:
      features: gives the appearance, with an attribute `image_size`; None for EfficientNet-Lite0.

    Raises:
      ValueError: the package with the weights of EfficientNet-Lite0 is not installed.
    """
    if features is None:
      from oscar.datasets import lite_features  # TensorFlow, only when needed.

      features = lite_features.LiteFeatures()
    self._features = features
    self.image_size: int = features.image_size  # type: ignore[attr-defined]
    self.labels: tuple[str, ...] = ()
    self._weights = np.zeros((0, 0), np.float32)

  def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maps float32 [n, size, size, 3] to (appearance [n, 2048], probabilities [n, classes])."""
    appearance = self.appearance(images)
    scores = _with_one(appearance) @ self._weights / _TEMPERATURE
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return appearance, (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)

  def appearance(self, images: np.ndarray) -> np.ndarray:
    """Maps float32 [n, size, size, 3] in [0, 255] to float32 [n, 2048]."""
    return np.asarray(self._features(images)[0], np.float32) * np.float32(_SCALE)

  def fit(self, appearance: np.ndarray, names: Sequence[str]) -> None:
    """Fits the classifier to features [n, 2048] of crops and the names of their classes."""
    self.labels = tuple(sorted(set(names)))
    used = _with_one(appearance).any(axis=0)  # Not the zeros that fill up the official width.
    inputs = _with_one(appearance.astype(np.float64))[:, used]
    targets = np.array(names)[:, None] == np.array(self.labels)
    product = inputs.T @ inputs
    product[np.diag_indices_from(product)] += _RIDGE * np.square(inputs).mean() * len(inputs)
    self._weights = np.zeros((len(used), len(self.labels)), np.float32)
    self._weights[used] = np.linalg.solve(product, inputs.T @ targets)

  def save(self, path: str | os.PathLike[str]) -> None:
    """Writes the classes and the classifier (HDF5); the network's weights are the package's."""
    with h5py.File(path, 'w') as file:
      file['classifier'] = self._weights
      file['labels'] = np.array([label.encode() for label in self.labels])

  def load(self, path: str | os.PathLike[str]) -> None:
    """Reads what `save` wrote."""
    with h5py.File(path) as file:
      self._weights = file['classifier'][()]
      self.labels = tuple(label.decode() for label in file['labels'][()])


def _with_one(appearance):
  return np.pad(appearance, ((0, 0), (0, 1)), constant_values=1)


def train(
  inks: Mapping[str, Sequence[np.ndarray]],
  theme: Theme,
  seed: int,
  features: Features | None = None,
) -> StampDetector:
  """Fits a detector to prints of the training split, in random sizes and tints.

  Args:
    inks: prints of the photographs, from `stamps.prints`.
    theme: their vocabulary.
    seed: decides sizes and tints.
    features: as for `StampDetector`.
  """
  detector = StampDetector(features)
  rng = random.Random(f'{seed} stamps')
  things = [
    _thing(rng, name, number, ink, theme)
    for name, samples in inks.items()
    for number, ink in enumerate(samples)
    for _ in range(_PRINTS)
  ]
  found = region_extraction.extract(
    ((thing.digit, *_crop(thing, inks)) for thing in things), _Appearance(detector), ('',)
  )
  width = slice(None, -6)  # Without the geometry.
  detector.fit(
    np.stack([regions.features[0, width] for regions in found]), [t.digit for t in things]
  )
  return detector


class _Appearance:
  """Gives a detector's features without classes."""

  def __init__(self, detector):
    self.image_size, self._appearance = detector.image_size, detector.appearance

  def __call__(self, images):
    return self._appearance(images), np.ones((len(images), 1), np.float32)


def _thing(rng, name, number, ink, theme):
  """Returns a thing in the corner of the canvas, of random size and tint."""
  tints = theme.colours_of[name]
  colour = rng.choice(tints) if tints and rng.random() < 0.5 else None
  stamp = graph.Stamp(name, colour, rng.choice(list(theme.sizes)), number)
  width, height = graph.extent(stamp, ink.shape, theme)
  return graph.Thing(name, colour, stamp.size, (0, 0, width, height), number, theme)


def _crop(thing, inks):
  """Returns (the picture of a thing, its box in it)."""
  return stamps.paint_thing(thing, inks), [thing.box]
