"""A TPU that is not there: `TPUStrategy` traces with CPUs as cores.

`TPUStrategy` builds its graph in Python, so its real variables, replica contexts and reductions run
here, up to the first operation that needs a TPU.
"""
import numpy as np
import tensorflow as tf
from tensorflow.python.framework import function_def_to_graph, kernels
from tensorflow.python.tpu import tpu_system_metadata

from tpu_utils import distribute
from tpu_utils.trainer import Trainer

CORES = 2
# Operations that XLA compiles on TPUs only, or that are removed before it compiles.
_OF_TPUS = {'CrossReplicaSum', 'TPUReplicateMetadata', 'Placeholder'}
_CALLS = {'PartitionedCall', 'StatefulPartitionedCall'}
# Operations with outputs of a size that depends on values: XLA pads them, slowly, or refuses.
_DYNAMIC = {'Where', 'Unique', 'UniqueV2', 'DynamicPartition', 'SparseSegmentSum'}


class _Resolver(tf.distribute.cluster_resolver.SimpleClusterResolver):
  """A cluster of one host with some TPU cores."""

  def get_tpu_system_metadata(self):
    name = '/job:localhost/replica:0/task:0/device:TPU:'
    return tpu_system_metadata.TPUSystemMetadata(
      num_cores=CORES,
      num_hosts=1,
      num_of_cores_per_host=CORES,
      topology=None,
      devices=[tf.config.LogicalDevice(f'{name}{i}', 'TPU') for i in range(CORES)],
    )


def make_strategy() -> tf.distribute.TPUStrategy:
  """Returns a `TPUStrategy` with CPUs as cores: it traces, but doesn't run."""
  strategy = tf.distribute.TPUStrategy(_Resolver(tf.train.ClusterSpec({})))
  extended = strategy.extended
  devices = [f'/job:localhost/replica:0/task:0/device:CPU:{i}' for i in range(CORES)]
  extended._tpu_devices = np.array([[device] for device in devices], dtype=object)
  extended._host_device = devices[0]
  extended._device_input_worker_devices = {devices[0]: devices}
  extended._host_input_worker_devices = {devices[0]: [devices[0]] * CORES}
  return strategy


def trace(trainer, function, *arguments):
  """Traces a `tf.function` of `Trainer` and returns its operations for the TPU; see `cluster`."""
  return cluster(function.__get__(trainer, Trainer).get_concrete_function(*arguments).graph)


def cluster(graph):
  """Returns the operations that `graph` sends to TPU cores, including those of called functions.

  Bodies and branches of loops and conditions count, too.
  """
  library = {f.signature.name: f for f in graph.as_graph_def().library.function}
  bodies = {
    name: function_def_to_graph.function_def_to_graph(definition).get_operations()
    for name, definition in library.items()
  }
  operations = [*graph.get_operations(), *(op for body in bodies.values() for op in body)]
  found = [op for op in operations if '_tpu_replicate' in op.node_def.attr]
  assert found, 'nothing was sent to the TPU'
  seen = {op.graph for op in found}
  for op in found:  # The list grows during the loop.
    for name in _called(op):
      body = bodies.get(name, [])
      if body and body[0].graph not in seen:
        seen.add(body[0].graph)
        found += body
  return found


def _called(op):
  """Returns the names of the functions that an operation calls."""
  for value in op.node_def.attr.values():
    if value.HasField('func'):
      yield value.func.name
    yield from (function.name for function in value.list.func)


def check_compilable(operations):
  """Asserts that XLA has a kernel for every operation: that of TPUs in TensorFlow's TPU build."""
  kind = 'XLA_TPU_JIT' if distribute.has_tpu_kernels() else 'XLA_CPU_JIT'
  for name in {op.type for op in operations}:
    known = {kernel.device_type for kernel in kernels.get_registered_kernels_for_op(name).kernel}
    assert kind in known or name in _OF_TPUS | _CALLS, name
    assert name not in _DYNAMIC, name
  for op in operations:
    for tensor in op.outputs:  # TPUs compute float64 slowly, in software.
      assert tensor.dtype != tf.float64 or tensor.shape.rank == 0, op


def ancestors(op):
  """Returns the operations that `op` depends on within its graph."""
  seen, pending = set(), [op]
  while pending:
    op = pending.pop()
    if op not in seen:
      seen.add(op)
      pending += [tensor.op for tensor in op.inputs]
  return seen
