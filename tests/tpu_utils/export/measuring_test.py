"""Accuracy and speed of files."""
import numpy as np
import pytest

from tpu_utils.export import measuring


def test_result_counts():
  result = measuring.Result()
  original = np.array([[0.9, 0.1], [0.2, 0.8]])
  result.add(np.array([[0.4, 0.6], [0.3, 0.7]]), np.eye(2), original)
  result.add(original, np.eye(2), original)
  assert (result.images, result.right, result.unchanged) == (4, 3, 3)
  assert result.change == pytest.approx(0.5)
  text = measuring.table({'model': result, 'int8': result})
  assert 'on 4 images' in text and text.count('75.00%') == 4
  assert measuring.table({'model': result}, known_classes=False).count('75.00%') == 1
