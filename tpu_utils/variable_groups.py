"""Reads or assigns many variables in one call.

Reading a variable eagerly is a call of its own, which a remote TPU answers over the network; a job
has a thousand of them.
"""
import itertools
from collections.abc import Mapping
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
  replicas = itertools.zip_longest(*(_copies(variable) for variable in variables.values()))

  # Traced once: the handles are arguments, another replica's at each call.
  @tf.function(autograph=False)
  def assign_all(handles, tensors):
    for handle, tensor in zip(handles, tensors, strict=True):
      tf.raw_ops.AssignVariableOp(resource=handle, value=tensor)

  for copies in replicas:
    present = [(c.handle, t) for c, t in zip(copies, tensors, strict=True) if c is not None]
    assign_all(*map(list, zip(*present, strict=True)))


def _copies(variable):
  """Returns the copies of a variable on the replicas of this process."""
  if isinstance(variable, tf.distribute.DistributedValues):
    return variable.values
  return (variable,)
