"""Tests of deep models, and that invalid sizes and endpoints are refused."""
import sys

import keras
import numpy as np
import pytest

from tpu_utils.functional_model import check_endpoints, functional_model, height_and_width


def chain(length):
  inputs = outputs = keras.Input((1,), name='x')
  for i in range(length):
    outputs = keras.layers.Rescaling(1.0, offset=1.0, name=f'plus_one_{i}')(outputs)
  return inputs, outputs


def test_a_chain_longer_than_pythons_limit():
  inputs, outputs = chain(sys.getrecursionlimit())
  with pytest.raises(RecursionError):
    keras.Model(inputs, outputs)
  limit = sys.getrecursionlimit()
  model = functional_model(inputs, outputs, name='deep')
  assert sys.getrecursionlimit() == limit
  assert model.name == 'deep'
  np.testing.assert_array_equal(model(np.zeros((1, 1), np.float32)), [[limit]])


def test_height_and_width():
  assert height_and_width(32) == height_and_width(np.int64(32)) == (32, 32)
  assert height_and_width(np.array([32, 64]).tolist()) == (32, 64)
  assert height_and_width((None, 7)) == (None, 7)
  for size in (None, 0, True, 32.5, '32', (32,), (32, -1)):
    message = 'image_size=.* must be a positive number of pixels or a pair'
    with pytest.raises(ValueError, match=message):
      height_and_width(size)


def test_endpoints_are_a_list_of_known_names():
  check_endpoints(['stem', 'features'], ['stem', 'block_1', 'features'])
  with pytest.raises(ValueError, match="Unknown endpoint 'block_2': did you mean block_1"):
    check_endpoints(['block_2'], ['stem', 'block_1', 'features'])
  for endpoints in ('stem', []):
    message = r"must be a list of one name or more, as endpoints=\['features'\]"
    with pytest.raises(ValueError, match=message):
      check_endpoints(endpoints, ['stem', 'features'])
