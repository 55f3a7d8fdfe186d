"""The gradient is the given one, and what was traced is let go."""
import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf

from tpu_utils.custom_gradient import custom_gradient


def doubled_gradient(x, y):
  """The product, with a gradient that is twice the true one."""

  @custom_gradient
  def multiply(x, y):
    return x * y, lambda upstream: (2 * upstream * y, 2 * upstream * x)

  return multiply(x, y)


def value_and_gradients(x, y):
  with tf.GradientTape() as tape:
    tape.watch([x, y])
    value = doubled_gradient(x, y) + y
  return [value, *tape.gradient(value, [x, y])]


@pytest.mark.parametrize('mode', ['eager', 'graph', 'xla'])
def test_gradient_is_the_given_one(mode):
  compute = value_and_gradients if mode == 'eager' else tf.function(value_and_gradients, jit_compile=mode == 'xla')
  found = compute(tf.constant([3.0, 1.0]), tf.constant([5.0, 2.0]))
  np.testing.assert_array_equal(found, [[20, 4], [10, 4], [7, 3]])


def traced():
  """Weak references to a traced graph and to the variable in it."""
  variable = tf.Variable([3.0])
  function = tf.function(lambda: value_and_gradients(tf.identity(variable), tf.constant([1.0])))
  function()
  return weakref.ref(variable.handle), weakref.ref(function.get_concrete_function().graph)


def test_variables_of_a_traced_graph_are_let_go():
  references = traced()
  gc.collect()
  assert [reference() for reference in references] == [None, None]
