"""Exponential moving average of a model's variables.

Source: tf.train.ExponentialMovingAverage with `num_updates=global_step`, as in tensorflow/tpu,
models/official/efficientnet/main.py, over the variables that `get_ema_vars` in its utils.py lists:
the trainable ones and the moving statistics of batch norm.
"""
from collections.abc import Iterable

import keras
import tensorflow as tf


class ExponentialMovingAverage:
  """Shadow variables that follow a model's variables; with a decay of 0 there are none.

  Each replica's shadow follows that replica's copy of the variable. The copies of trained variables
  are equal; moving statistics differ between replicas until they are averaged. The moving average
  is linear, so averaging the shadows over replicas equals following the averaged statistics.

  Args:
    decay: at least 0 and below 1.

  Raises:
    ValueError: the decay is out of range.
  """

  def __init__(self, decay: float):
    if not 0 <= decay < 1:
      raise ValueError(f'moving_average_decay must be at least 0 and below 1, got {decay!r}.')
    self.decay = decay
    self._pairs: list[tuple[keras.Variable, tf.Variable]] = []

  def build(self, variables: Iterable[keras.Variable]) -> None:
    """Creates the shadows with the variables' current values. Call in the strategy's scope.

    Args:
      variables: the model's. Those that aren't floating point (the seeds of dropout) have no
        average and get no shadow.

    Raises:
      ValueError: this was called before.
    """
    if self._pairs:
      raise ValueError('ExponentialMovingAverage.build was called twice.')
    if self.decay == 0:
      return
    strategy = tf.distribute.get_strategy()
    for variable in variables:
      if not tf.as_dtype(variable.dtype).is_floating:
        continue
      with strategy.extended.colocate_vars_with(variable.value):
        value = tf.convert_to_tensor(variable.value)
        shadow = tf.Variable(value, trainable=False, name=f'ema/{variable.path}')
      self._pairs.append((variable, shadow))

  @property
  def variables(self) -> dict[str, tf.Variable]:
    """{path of the model variable: its shadow}; empty when the decay is 0."""
    return {variable.path: shadow for variable, shadow in self._pairs}

  def apply(self, step: tf.Tensor | int) -> None:
    """Replica context: moves every shadow towards its variable. Call after the optimizer.

    Args:
      step: integer scalar, the number of updates including this one (1 at the first call). It
        limits the decay to (1 + step) / (10 + step), which matters early in training.
    """
    step = tf.cast(step, tf.float32)
    decay = tf.minimum(self.decay, (1.0 + step) / (10.0 + step))
    for variable, shadow in self._pairs:
      move = (shadow.read_value() - tf.convert_to_tensor(variable.value)) * (1.0 - decay)
      tf.raw_ops.AssignSubVariableOp(resource=shadow.handle, value=move)

  def swap(self) -> None:
    """Replica context: exchanges the values of the model's variables and shadows, bit for bit.

    Call it before and after an evaluation.
    """
    for variable, shadow in self._pairs:
      trained, averaged = tf.convert_to_tensor(variable.value), shadow.read_value()
      tf.raw_ops.AssignVariableOp(resource=variable.value.handle, value=averaged)
      tf.raw_ops.AssignVariableOp(resource=shadow.handle, value=trained)
