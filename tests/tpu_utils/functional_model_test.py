"""Depth is no obstacle."""
import sys

import keras
import numpy as np
import pytest

from tpu_utils.functional_model import functional_model


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
