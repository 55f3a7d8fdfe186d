"""Diagrams for 2 to 1000 classes: written as PNG, with names only where they can be read."""
import numpy as np
import pytest

from tpu_utils.image_jobs.reporting import drawing
from tpu_utils.image_jobs.reporting.measures import Bin


def texts(figure):
  (axes, *_) = figure.axes
  return [text.get_text() for text in axes.texts], [t.get_text() for t in axes.get_yticklabels()]


@pytest.mark.parametrize('count', [2, 30])
def test_few_classes_have_names_and_numbers(count):
  table = np.diag(np.arange(1, count + 1))
  names = [f'class\n{n} $x$' for n in range(count)]
  figure = drawing.confusion(table, names)
  numbers, labels = texts(figure)
  assert numbers == [str(n) for n in range(1, count + 1)]
  assert labels[0] == r'class 0 \$x\$' and len(labels) == count
  assert drawing.png(figure).startswith(b'\x89PNG')


@pytest.mark.parametrize('count', [31, 1000])
def test_many_classes_are_a_map_of_the_mistakes(count):
  table = np.diag(np.full(count, 50))
  table[3, count - 1] = 2
  figure = drawing.confusion(table, ['x'] * count)
  (image,) = figure.axes[0].images
  cells = image.get_array()
  assert cells.shape[0] <= 250 and cells.sum() == 2 and cells[3 * len(cells) // count, -1] == 2
  assert drawing.png(figure).startswith(b'\x89PNG')


def test_calibration_shows_accuracy_over_confidence():
  figure = drawing.calibration([Bin(0.4, 3, 0.45, 1 / 3), Bin(14 / 15, 9, 0.99, 1.0)])
  upper, lower = figure.axes
  assert [bar.get_height() for bar in upper.patches] == [1 / 3, 1.0]
  assert [bar.get_height() for bar in lower.patches] == [3, 9]
