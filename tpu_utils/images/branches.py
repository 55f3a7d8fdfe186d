"""Branches that cost nothing unless they are taken.

In a graph `tf.cond` and `tf.switch_case` place the operations of all branches in sequence, and those
that are not taken still pass through the executor, each handed from thread to thread: with the
sixteen of RandAugment that took more than a quarter of the augmentation's time. Here a branch is a
function that is called, or not.
"""
import tensorflow as tf


def switch_case(index, branches, inputs):
  """Calls one of several functions.

  Args:
    index: int32 scalar, which of them.
    branches: functions(*inputs) -> tensor, all of one type and shape; of the tensors around them they may use
      inputs alone.
    inputs: list of tensors.
  """
  if tf.executing_eagerly():
    return branches[int(index)](*inputs)
  like = [tf.TensorSpec(x.shape, x.dtype) for x in inputs]
  functions = [tf.function(branch, autograph=False).get_concrete_function(*like) for branch in branches]
  result = functions[0].outputs[0]
  (taken,) = tf.raw_ops.StatelessCase(
    branch_index=index, input=inputs, Tout=[result.dtype], branches=functions, output_shapes=[result.shape]
  )
  return taken


def cond(predicate, if_true, if_false, inputs):
  """Calls one of two functions; see `switch_case`."""
  return switch_case(tf.cast(predicate, tf.int32), [if_false, if_true], inputs)
