"""Images to measure files on, and the table of results."""
from unittest import mock

import numpy as np
import pytest

from tests.efficientnet.lite_job import DATA, SPEC
from tpu_utils.export import measuring, model_files
from tpu_utils.images.spec import PreprocessSpec

SMALL = PreprocessSpec(image_size=8, interpolation='bilinear', crop='whole')


def classes(num_classes):
  batches = model_files.Images(DATA, SMALL, num_classes).evaluation(20)
  return np.concatenate([labels.argmax(-1) for _, labels in batches])


@pytest.mark.slow
def test_class_0_of_1001_is_the_background():
  """As in the official EdgeTPU models: a digit's class is one more than among ten."""
  np.testing.assert_array_equal(classes(1001), classes(10) + 1)


@pytest.mark.slow
def test_counts_are_limits():
  images = model_files.Images(DATA, SMALL, 10)
  assert len(list(images.training(7))) == 7
  assert sum(len(batch) for batch, _ in images.evaluation(13)) == 13
  assert sum(len(batch) for batch, _ in images.evaluation(10**6)) == 355


def test_fewer_images_are_spread_over_the_split():
  images = model_files.Images(DATA, SMALL, 10)
  whole, part = (
    np.concatenate([labels for _, labels in images.evaluation(count)]) for count in (355, 20)
  )
  np.testing.assert_array_equal(part, whole[np.arange(20) * 355 // 20])


def test_a_file_that_loses_over_a_point_is_named():
  measurement = model_files.Measurement(None, mock.Mock(has_known_classes=True), 400)
  counts = {'model': 300, 'float16': 299, 'dynamic_range': 296, 'int8': 200}
  measurement._results = {name: measuring.Result(400, right) for name, right in counts.items()}
  assert measurement.text().splitlines()[-1].startswith('int8 is 25.0 points less accurate than')
  measurement._results['int8'].right = 296  # A point.
  assert 'less accurate' not in measurement.text()


def test_images_are_those_of_evaluation():
  image = next(model_files.Images(DATA, SPEC, 10).training(1))
  assert image.shape == (32, 32, 3) and image.min() >= 0 and 200 < image.max() <= 255


@pytest.mark.parametrize('num_classes, known', [(10, True), (1001, False), (1000, False)])
def test_images_of_other_classes_are_recognised(num_classes, known):
  assert model_files.Images(DATA, SMALL, num_classes).has_known_classes is known
