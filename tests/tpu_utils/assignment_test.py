"""Tests that all variables are set or none, and that differences are listed."""
import numpy as np
import pytest

from tpu_utils import assignment


class Variable:
  """Stand-in for a Keras or TensorFlow variable."""

  def __init__(self, *shape):
    self.shape = shape
    self.value = None

  def assign(self, value):
    self.value = value


def error(mismatch):
  return KeyError(mismatch)


def test_sets_all():
  variables = {'a': Variable(2), 'b': Variable()}
  assignment.assign(variables, {'a': np.ones(2), 'b': np.float32(3), 'c': np.ones(1)}, error)
  assert variables['a'].value.tolist() == [1, 1] and variables['b'].value == 3


def test_sets_no_variable_if_one_does_not_fit():
  variables = {'a': Variable(2), 'b': Variable(2), 'c': Variable(3), 'd': Variable(1)}
  values = {'a': np.ones(2), 'b': np.ones(3)}
  with pytest.raises(KeyError) as caught:
    assignment.assign(
      variables, values, error, names={'c': 'both', 'd': 'both'}, unexpected=['x', 'y', 'z']
    )
  assert all(v.value is None for v in variables.values())
  mismatch = caught.value.args[0]
  assert mismatch.missing == ('both',)  # One array for two variables.
  assert mismatch.text() == (
    '1 missing: both; 3 unexpected: x, y, z; 1 wrong shape: b is [3], not [2]'
  )
  assert '3 unexpected: x and 2 more;' in mismatch.text(most=1)


def test_shapes_and_names_of_the_file_are_reported():
  with pytest.raises(KeyError) as caught:
    assignment.assign(
      {'fc/kernel': Variable(2, 3)}, {'fc/kernel': np.ones((4, 3))}, error,
      names={'fc/kernel': 'fc.weight'}, shapes={'fc/kernel': (3, 4)},
    )  # fmt: skip
  assert caught.value.args[0].text() == '1 wrong shape: fc.weight [3, 4] for fc/kernel [2, 3]'


def test_a_mismatch_without_entries_is_false():
  assert not assignment.Mismatch()
  assert assignment.Mismatch(unexpected=('a',))
