"""Reads or assigns many variables in one call.

Reading a variable eagerly is a call of its own, which a remote TPU answers over the network; a job
has a thousand of them.
"""
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf


class VariableReader:
  """Reads the values of variables in one call, in which all are copied to the host.

  Args:
    variables: {name: variable}; of one with a copy on each replica, the first copy is read.
  """

  def __init__(self, variables: Mapping[str, tf.Variable]):
    self._variables = dict(variables)
    self._read = tf.function(self._on_the_host, autograph=False)

  def reads(self, variables: Mapping[str, tf.Variable]) -> bool:
    """Returns whether these are the reader's variables."""
    return self._variables.keys() == variables.keys() and all(
      variables[name] is variable for name, variable in self._variables.items()
    )

  def read(self) -> dict[str, tf.Tensor]:
    """Returns {name: value now}. Later updates of the variables do not change the values."""
    return self._read()

  def _on_the_host(self):
    with tf.device('CPU:0'):
      return {name: tf.identity(_copies(v)[0]) for name, v in self._variables.items()}


def assign(variables: Mapping[str, tf.Variable], values: Mapping[str, Any]) -> None:
  """Assigns values to variables, in one call for each replica.

  Args:
    variables: {name: variable}.
    values: {name: array of the variable's shape}; other names are ignored.
  """
  tensors = [tf.convert_to_tensor(values[name], v.dtype) for name, v in variables.items()]
  groups: list[list[tuple[tf.Variable, tf.Tensor]]] = []
  for variable, tensor in zip(variables.values(), tensors, strict=True):
    for replica, copy in enumerate(_copies(variable)):
      if replica == len(groups):
        groups.append([])
      groups[replica].append((copy, tensor))
  for group in groups:
    _assign_in_one_call(*zip(*group, strict=True))


def _assign_in_one_call(variables: Sequence[tf.Variable], tensors: Sequence[tf.Tensor]) -> None:
  def assign_all(tensors):
    for variable, tensor in zip(variables, tensors, strict=True):
      tf.raw_ops.AssignVariableOp(resource=variable.handle, value=tensor)

  tf.function(assign_all, autograph=False)(list(tensors))


def _copies(variable):
  """Returns the copies of a variable on the replicas of this process."""
  if isinstance(variable, tf.distribute.DistributedValues):
    return variable.values
  return (variable,)
