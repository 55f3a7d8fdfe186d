"""Finds Python code in data sets, which cannot run on the hosts of a remote TPU."""
from collections.abc import Callable

import tensorflow as tf

_PYTHON_OPS = ('PyFunc', 'PyFuncStateless', 'EagerPyFunc')


def python_ops(dataset: tf.data.Dataset) -> list[str]:
  """Returns the names of a data set's operations that call Python (`tf.numpy_function` and such).

  Args:
    dataset: the data set; functions inside it and the data sets before it are searched, too.
  """
  found, pending = set(), [dataset]
  while pending:
    dataset = pending.pop()
    pending += dataset._inputs()
    for wrapper in dataset._functions():
      definition = wrapper.function.graph.as_graph_def()
      nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
      found |= {node.name for node in nodes if node.op in _PYTHON_OPS}
  return sorted(found)


def without_python(strategy: tf.distribute.Strategy, dataset_fn: Callable) -> Callable:
  """Returns `dataset_fn`, with a check for Python code if other machines run the data sets.

  A process of a multi-worker job runs its own; the hosts of a remote TPU run no program of ours.

  Args:
    strategy: the `tf.distribute.Strategy`.
    dataset_fn: function(input_context) -> data set.
  """
  if not runs_remotely(strategy):
    return dataset_fn

  def checked(context):
    dataset = dataset_fn(context)
    ops = python_ops(dataset)
    if ops:
      raise ValueError(
        f'the input calls Python ({ops[0]}), which the {context.num_input_pipelines} hosts of the '
        'TPU cannot run: prepare the data as TFRecords, without --max_bad_records, or use the TPU '
        'of this machine (--tpu=local).'
      )
    return dataset

  return checked


def runs_remotely(strategy: tf.distribute.Strategy) -> bool:
  """Returns whether data sets run on other machines: the hosts of a TPU reached by network."""
  return isinstance(strategy, tf.distribute.TPUStrategy) and bool(
    strategy.cluster_resolver.master().startswith('grpc://')
  )
