"""Reads or assigns many variables, on accelerators in one call.

Reading a variable eagerly is a call of its own, which an accelerator answers late, most of all a
TPU over the network; a job has a thousand variables. Where all of them are in the host's memory,
single calls take less time than tracing a function of all.
"""
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf


class VariableReader:
  """Copies the values of variables to the host.

  Args:
    variables: {name: variable}; of one with a copy on each replica, the first copy is read.
    together: whether to read all in one call; None where some are not in the host's memory.
  """

  def __init__(self, variables: Mapping[str, tf.Variable], together: bool | None = None):
    self._variables = dict(variables)
    if together is None:
      together = not on_cpus(self._variables.values())
    self._read = tf.function(self._on_the_host, autograph=False) if together else self._singly

  def reads(self, variables: Mapping[str, tf.Variable]) -> bool:
    """Returns whether these are the reader's variables."""
    return self._variables.keys() == variables.keys() and all(
      variables[name] is variable for name, variable in self._variables.items()
    )

  def read(self) -> dict[str, Any]:
    """Returns {name: value now}. Later updates of the variables do not change the values."""
    return self._read()

  def _singly(self):
    return {name: _copies(v)[0].numpy() for name, v in self._variables.items()}

  def _on_the_host(self):
    # By its full name: connected to a remote TPU there are several CPU:0.
    host = tf.config.list_logical_devices('CPU')[0].name
    values = {}
    for name, variable in self._variables.items():
      copy = _copies(variable)[0]
      value = tf.raw_ops.ReadVariableOp(resource=copy.handle, dtype=copy.dtype)
      with tf.device(host):
        values[name] = tf.identity(value)
    return values


def assign(
  variables: Mapping[str, tf.Variable],
  values: Mapping[str, Any],
  together: bool | None = None,
) -> None:
  """Assigns values to variables, on accelerators in one call for each replica.

  Args:
    variables: {name: variable}.
    values: {name: array of the variable's shape}; other names are ignored.
    together: whether to assign all in one call; None where some are not in the host's memory.
  """
  if together is None:
    together = not on_cpus(variables.values())
  if together:
    _assign_together(variables, values)
    return
  for name, variable in variables.items():
    variable.assign(values[name])


def _assign_together(variables, values):
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


def on_cpus(variables: Iterable[tf.Variable]) -> bool:
  """Returns whether all copies of all variables are on CPUs."""
  copies = (copy for variable in variables for copy in _copies(variable))
  return all(tf.DeviceSpec.from_string(copy.device).device_type == 'CPU' for copy in copies)


def _copies(variable):
  """Returns the copies of a variable on the replicas of this process."""
  if isinstance(variable, tf.distribute.DistributedValues):
    return variable.values
  return (variable,)
