"""`branches` gives the results of tf.switch_case without adding all branches to the graph."""
import numpy as np
import pytest
import tensorflow as tf

from tpu_utils.images import branches

BRANCHES = [lambda x, n: x + n, lambda x, n: x * n, lambda x, n: tf.reverse(x, [0]) - n]


def expected(index, x, n):
  return [x + n, x * n, x[::-1] - n][index]


def chosen(index, x, n):
  return branches.switch_case(index, BRANCHES, [x, n])


@pytest.mark.parametrize('index', range(3))
def test_calls_the_chosen_branch_eagerly_and_in_a_dataset(index):
  x, n = np.arange(4), np.int64(3)
  result = chosen(tf.constant(index), tf.constant(x), tf.constant(n))
  np.testing.assert_array_equal(result, expected(index, x, n))
  chosen_in_graph = tf.autograph.experimental.do_not_convert(chosen)
  dataset = tf.data.Dataset.from_tensors((np.int32(index), x, n)).map(chosen_in_graph)
  assert dataset.element_spec == tf.TensorSpec([4], tf.int64)
  np.testing.assert_array_equal(next(iter(dataset)), expected(index, x, n))


def test_cond():
  both = [lambda x: x + 1, lambda x: x - 1]
  in_graph = tf.function(lambda p, x: branches.cond(p, *both, [x]), autograph=False)
  for run in (in_graph, lambda p, x: branches.cond(p, *both, [x])):
    assert [int(run(tf.constant(p), tf.constant(5))) for p in (True, False)] == [6, 4]


def test_untaken_branches_are_not_in_the_graph():
  function = tf.function(chosen, autograph=False).get_concrete_function(
    tf.TensorSpec([], tf.int32), tf.TensorSpec([4]), tf.TensorSpec([])
  )
  types = {operation.type for operation in function.graph.get_operations()}
  assert 'StatelessCase' in types and not types & {'Switch', 'Merge', 'Mul', 'ReverseV2'}
