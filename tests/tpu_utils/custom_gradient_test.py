"""Tests that the custom gradient is used, and that traced graphs are freed."""
import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf

from tpu_utils.custom_gradient import custom_gradient


def doubled_gradient(x, y):
  """Returns the product, with twice its true gradient."""

  @custom_gradient
  def multiply(x, y):
    return x * y, lambda upstream: (2 * upstream * y, 2 * upstream * x)

  return multiply(x, y)


def value_and_gradients(x, y):
  with tf.GradientTape() as tape:
    tape.watch([x, y])
    value = doubled_gradient(x, y) + y
  return [value, *tape.gradient(value, [x, y])]


@pytest.mark.parametrize(
  'mode', ['eager', 'graph', pytest.param('xla', marks=pytest.mark.host_xla)]
)
def test_the_custom_gradient_is_used(mode):
  compute = value_and_gradients
  if mode != 'eager':
    compute = tf.function(value_and_gradients, jit_compile=mode == 'xla')
  results = compute(tf.constant([3.0, 1.0]), tf.constant([5.0, 2.0]))
  np.testing.assert_array_equal(results, [[20, 4], [10, 4], [7, 3]])


def traced():
  """Traces a graph; returns weak references to its variable and to the graph."""
  variable = tf.Variable([3.0])
  function = tf.function(lambda: value_and_gradients(tf.identity(variable), tf.constant([1.0])))
  function()
  return weakref.ref(variable.handle), weakref.ref(function.get_concrete_function().graph)


@pytest.mark.slow
def test_a_traced_graph_and_its_variables_are_freed():
  references = traced()
  gc.collect()
  assert [reference() for reference in references] == [None, None]
