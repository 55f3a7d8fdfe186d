"""Lowers a trainer's steps to StableHLO, as TensorFlow lowers them for XLA."""
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tensorflow as tf

from tpu_utils.errors import first_line
from tpu_utils.preflight import tpu_random

_NOT_LOWERED = re.compile(r'(\w+) \(No registered [^{]*?\{\{node ([^}]+)\}\}')
_CUSTOM_CALL = re.compile(r'stablehlo\.custom_call @([\w.$]+)')


class NotLoweredError(ValueError):
  """A step holds operations that XLA cannot compile."""


def tpu_like_strategy() -> tf.distribute.Strategy:
  """Returns a strategy that computes on this CPU and tells layers that its device is a TPU.

  Layers that choose between formulations by the strategy's devices then choose the TPU's.
  """
  strategy = tf.distribute.OneDeviceStrategy('CPU:0')
  kind = type(strategy.extended)
  devices = ('/job:localhost/replica:0/task:0/device:TPU:0',)
  strategy.extended.__class__ = type(
    kind.__name__, (kind,), {'worker_devices': property(lambda self: devices)}
  )
  return strategy


def scaled_spec(
  dataset_fn: Callable, batch_size: int, batch_per_core: int
) -> dict[str, tf.TensorSpec]:
  """Returns the shapes of a core's batch, whichever axes the batch is on.

  Args:
    dataset_fn: function(`tf.distribute.InputContext`) -> dataset of one replica's batches.
    batch_size: the global batch size of the data set.
    batch_per_core: examples of a core; need not divide the batch size.

  Raises:
    ValueError: the batch of one example shows no axes that shrink.
  """

  def spec(replicas):
    context = tf.distribute.InputContext(num_replicas_in_sync=replicas)
    return dataset_fn(context).element_spec

  whole = spec(1)
  if batch_per_core == batch_size:
    return dict(whole)
  # The axes of the batch are those that shrink with more replicas.
  parts = next(n for n in range(2, 2 * batch_size + 2) if batch_size % n == 0 or n > batch_size)
  if parts > batch_size:
    raise ValueError(
      f'--find_batch_size and other topologies need a global batch above 1, found {batch_size}.'
    )
  smaller = spec(parts)

  def scaled(name):
    sizes = [
      size if size == part or size is None else size * batch_per_core // batch_size
      for size, part in zip(whole[name].shape, smaller[name].shape, strict=True)
    ]
    return tf.TensorSpec(sizes, whole[name].dtype)

  return {name: scaled(name) for name in whole}


def open_dimensions(spec: Mapping[str, tf.TensorSpec]) -> list[str]:
  """Returns the entries of a batch whose shapes vary, as 'name [128, None]'."""
  return [
    f'{name} {each.shape.as_list() if each.shape.rank is not None else "[...]"}'
    for name, each in spec.items()
    if not each.shape.is_fully_defined()
  ]


def lower(function: tf.types.experimental.GenericFunction, spec: Mapping) -> str:
  """Lowers a step.

  Args:
    function: `Trainer.step_fn` with `jit_compile=True`.
    spec: {name: tf.TensorSpec} of its batch.

  Returns:
    The StableHLO module as text.

  Raises:
    NotLoweredError: an operation has no XLA kernel; the message names it and its layer.
  """
  batch = {name: tf.zeros(each.shape, each.dtype) for name, each in spec.items()}
  try:
    with tpu_random.generator():
      compiler_ir = function.experimental_get_compiler_ir(batch, tf.constant(0, tf.int64))
      return compiler_ir(stage='stablehlo')
  except (tf.errors.OpError, ValueError) as e:  # The second for what XLA itself refuses.
    found = _NOT_LOWERED.findall(str(e))
    if not found:
      raise NotLoweredError(f'XLA refuses the step: {first_line(e)}') from e
    named = ', '.join(f'{op} in {node.rpartition("/")[0] or node}' for op, node in found)
    raise NotLoweredError(f'XLA has no kernel for these operations: {named}') from e


def concerns(text: str) -> list[str]:
  """Returns what may fail or be slow on a TPU in a lowered module."""
  found = [f'custom call {name}' for name in dict.fromkeys(_CUSTOM_CALL.findall(text))]
  if 'tensor<?' in text or 'x?x' in text:
    found.append('dynamic shapes')
  if re.search(r'x?f64>', text):
    found.append('float64, which TPUs emulate')
  return found


def count(variables: Iterable[Any]) -> int:
  """Returns the number of values in variables."""
  return sum(math.prod(variable.shape) for variable in variables)
