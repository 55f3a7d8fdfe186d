"""Conditional execution in which branches that are not taken cost nothing.

In a graph `tf.cond` and `tf.switch_case` inline the operations of all branches, and those that are
not taken still pass through the executor and its threads. With RandAugment's sixteen branches that
took more than a quarter of the augmentation's time. Here each branch stays a function, and only
one of them is called.
"""
from collections.abc import Callable, Sequence

import tensorflow as tf


def switch_case(
  index: tf.Tensor,
  branches: Sequence[Callable[..., tf.Tensor]],
  inputs: Sequence[tf.Tensor],
) -> tf.Tensor:
  """Calls the branch at `index` and returns its result.

  Args:
    index: int32 scalar.
    branches: called with `inputs`; all return a tensor of the same dtype and shape. They must not
      capture other tensors.
    inputs: tensors to pass to the branch.
  """
  if tf.executing_eagerly():
    return branches[int(index)](*inputs)
  like = [tf.TensorSpec(x.shape, x.dtype) for x in inputs]
  functions = [
    tf.function(branch, autograph=False).get_concrete_function(*like) for branch in branches
  ]
  result = functions[0].outputs[0]
  (taken,) = tf.raw_ops.StatelessCase(
    branch_index=index,
    input=inputs,
    Tout=[result.dtype],
    branches=functions,
    output_shapes=[result.shape],
  )
  return taken


def cond(
  predicate: tf.Tensor,
  if_true: Callable[..., tf.Tensor],
  if_false: Callable[..., tf.Tensor],
  inputs: Sequence[tf.Tensor],
) -> tf.Tensor:
  """Calls one of two branches and returns its result; see `switch_case`."""
  return switch_case(tf.cast(predicate, tf.int32), [if_false, if_true], inputs)
