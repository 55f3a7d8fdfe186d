"""Exponential moving average of a model's variables.

Source: tf.train.ExponentialMovingAverage with `num_updates=global_step`, as in tensorflow/tpu,
models/official/efficientnet/main.py, over the variables of its utils.py `get_ema_vars`: the trainable
ones and the moving statistics of batch norm.
"""
import tensorflow as tf


class ExponentialMovingAverage:
  """Shadow variables that follow a model's variables; a decay of 0 means none, and does nothing.

  Each replica's shadow follows that replica's own copy. The copies of trained variables are equal;
  moving statistics differ from replica to replica until someone averages them. The average is linear,
  so averaging the shadows over replicas equals following the averaged statistics.
  """

  def __init__(self, decay):
    if not 0 <= decay < 1:
      raise ValueError(f'moving_average_decay must be at least 0 and below 1, got {decay!r}.')
    self.decay = decay
    self._pairs = []

  def build(self, variables):
    """Creates the shadows with the variables' present values. Call in the strategy's scope.

    Args:
      variables: `keras.Variable`s. Those that aren't floating point (the seeds of dropout) have no
        average and get no shadow.
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
  def variables(self):
    """{path of the model variable: its shadow, a tf.Variable}; empty when the decay is 0."""
    return {variable.path: shadow for variable, shadow in self._pairs}

  def apply(self, step):
    """Replica context: moves every shadow towards its variable. Call after the optimizer.

    Args:
      step: number of updates done so far, this one included (1 at the first call): integer scalar.
        Early on it limits the decay to (1 + step) / (10 + step).
    """
    step = tf.cast(step, tf.float32)
    decay = tf.minimum(self.decay, (1.0 + step) / (10.0 + step))
    for variable, shadow in self._pairs:
      move = (shadow.read_value() - tf.convert_to_tensor(variable.value)) * (1.0 - decay)
      tf.raw_ops.AssignSubVariableOp(resource=shadow.handle, value=move)

  def swap(self):
    """Replica context: exchanges the values of model and shadows, bit for bit.

    Around an evaluation, call it twice.
    """
    for variable, shadow in self._pairs:
      trained, averaged = tf.convert_to_tensor(variable.value), shadow.read_value()
      tf.raw_ops.AssignVariableOp(resource=variable.value.handle, value=averaged)
      tf.raw_ops.AssignVariableOp(resource=shadow.handle, value=trained)
