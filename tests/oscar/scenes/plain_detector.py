"""A stand-in for the trained detector of scenes."""

import numpy as np

from oscar.scenes import graph


class PlainDetector:
  """An instant detector with arbitrary tags; `seen` counts the crops that it was given."""

  image_size = 4
  labels = graph.DIGITS

  def __init__(self):
    self.seen = 0

  def __call__(self, images):
    self.seen += len(images)
    probabilities = np.zeros((len(images), 10), np.float32)
    likeliest = np.asarray(images).sum(axis=(1, 2, 3)).astype(int) % 10
    probabilities[np.arange(len(images)), likeliest] = 0.9
    return np.tile(images.mean(axis=(1, 2, 3))[:, None], (1, 2048)) / 255, probabilities

  def save(self, path):
    open(path, 'wb').close()

  def load(self, path):
    pass
