"""Optimizers with the arithmetic of TensorFlow 1, for training loops that reduce gradients themselves.

Gradients reach `apply` already averaged over replicas and clipped, hence equal on all of them. Each
replica then updates its own copy of every variable through that copy's handle, and the copies stay
equal; no replica waits for another, and the update may stand inside a loop or a condition.

Sources: TensorFlow's kernels, which are called directly; tensorflow/tpu,
models/official/efficientnet/utils.py (`build_optimizer`) and lars_optimizer.py; pytorch-transformers 1.0,
optimization.py (`AdamW`).
"""
import collections
import inspect
import math

import numpy as np
import tensorflow as tf

from tpu_utils.names import check_name


class Optimizer:
  """Base of the optimizers: makes the slots and goes through the variables.

  A subclass names its slots with their initial values in `slots` and writes `_update`.
  """

  slots = {}

  def __init__(self):
    self._model_variables = None
    self._slots = {}
    self.learning_rate_factors = {}  # {path: factor} of variables with a learning rate of their own.

  def build(self, variables):
    """Creates the slots. Call once, in the strategy's scope, before the step is traced.

    Args:
      variables: the `keras.Variable`s to train, in the order in which `apply` gets gradients.
    """
    if self._model_variables is not None:
      raise ValueError(f'{type(self).__name__}.build was called twice; each training has its own.')
    _check_trainable(variables)
    self._model_variables = list(variables)
    for slot, initial in self.slots.items():
      self._slots[slot] = {
        v.path: _variable_like(v, initial, f'{slot}/{v.path}') for v in self._model_variables
      }

  @property
  def variables(self):
    """{'<slot>/<path of the model variable>': tf.Variable}, all float32."""
    return {
      f'{slot}/{path}': variable
      for slot, of_slot in self._slots.items()
      for path, variable in of_slot.items()
    }

  def apply(self, gradients, learning_rate):
    """Replica context: one update of every variable.

    Args:
      gradients: one tensor for each variable given to `build`, equal on all replicas. A variable
        whose gradient is None is left as it is, and so are its slots.
      learning_rate: float32 scalar tensor, or a number.
    """
    if self._model_variables is None:
      raise ValueError(f'{type(self).__name__}.apply needs build(variables) first.')
    gradients = list(gradients)
    if len(gradients) != len(self._model_variables):
      raise ValueError(
        f'{type(self).__name__} was built for {len(self._model_variables)} variables, '
        f'got {len(gradients)} gradients.'
      )
    if self._model_variables and all(gradient is None for gradient in gradients):
      raise ValueError('No variable has a gradient: the loss does not depend on the model.')
    rate = self._start(tf.cast(learning_rate, tf.float32))
    for variable, gradient in zip(self._model_variables, gradients, strict=True):
      if gradient is not None:
        gradient = tf.convert_to_tensor(gradient)  # Sparse gradients (embeddings) become dense.
        slots = {slot: of_slot[variable.path] for slot, of_slot in self._slots.items()}
        factor = self.learning_rate_factors.get(variable.path)
        own_rate = rate if factor is None else tf.nest.map_structure(lambda r, f=factor: r * f, rate)
        self._update(variable, gradient, own_rate, **slots)

  def _start(self, learning_rate):
    """Replica context: called once before the variables; returns what `_update` gets as the rate."""
    return learning_rate

  def _update(self, variable, gradient, learning_rate, **slots):
    raise NotImplementedError


class SGD(Optimizer):
  """variable -= learning_rate * gradient."""

  def _update(self, variable, gradient, learning_rate):
    tf.raw_ops.ResourceApplyGradientDescent(
      var=variable.value.handle, alpha=learning_rate, delta=gradient
    )


class Momentum(Optimizer):
  """accumulator = momentum * accumulator + gradient; variable -= learning_rate * accumulator.

  With `nesterov`, variable -= learning_rate * (gradient + momentum * accumulator).
  """

  slots = {'momentum': 0.0}

  def __init__(self, momentum=0.9, nesterov=False):
    super().__init__()
    self.momentum = _at_least_zero('momentum', momentum)
    self.nesterov = nesterov

  def _update(self, variable, gradient, learning_rate, momentum):
    tf.raw_ops.ResourceApplyMomentum(
      var=variable.value.handle, accum=momentum.handle, lr=learning_rate, grad=gradient,
      momentum=self.momentum, use_nesterov=self.nesterov,
    )


class RMSProp(Optimizer):
  """RMSProp of TensorFlow 1, which differs from Keras' in what EfficientNet depends on.

  The mean square starts at one, epsilon stands inside the root, and the learning rate is inside the
  momentum: rms += (1 - decay) * (gradient^2 - rms); momentum = momentum * m +
  learning_rate * gradient / sqrt(rms + epsilon); variable -= momentum.
  """

  slots = {'rms': 1.0, 'momentum': 0.0}

  def __init__(self, decay=0.9, momentum=0.9, epsilon=0.001):
    super().__init__()
    self.decay = _at_least_zero('decay', decay)
    self.momentum = _at_least_zero('momentum', momentum)
    self.epsilon = _at_least_zero('epsilon', epsilon)

  def _update(self, variable, gradient, learning_rate, rms, momentum):
    tf.raw_ops.ResourceApplyRMSProp(
      var=variable.value.handle, ms=rms.handle, mom=momentum.handle, lr=learning_rate,
      rho=self.decay, momentum=self.momentum, epsilon=self.epsilon, grad=gradient,
    )


def is_norm_or_bias(variable):
  """Whether a variable is the scale, the offset or the bias of a layer, by its own name."""
  return variable.name in ('gamma', 'beta') or variable.name.endswith('bias')


class LARS(Optimizer):
  """Layer-wise adaptive rate scaling (https://arxiv.org/abs/1708.03888), as the official code has it.

  Each variable's learning rate is multiplied by eeta * |variable| / (|gradient| + weight_decay *
  |variable| + epsilon), or by one where either norm is zero, and its gradient gains weight_decay *
  variable; then momentum, with the learning rate inside the accumulator.

  Args:
    momentum: decay of the accumulator.
    weight_decay: of this update; a weight decay in the loss comes on top, as in the official code.
    eeta: the trust coefficient.
    epsilon: added to the denominator of the ratio.
    nesterov: look one step ahead.
    skip: variables that get plain momentum: no ratio, no weight decay. None: what the official list of
      names amounts to, every batch norm's scale and offset and every bias (`is_norm_or_bias`).
  """

  slots = {'momentum': 0.0}

  def __init__(
    self, momentum=0.9, weight_decay=1e-5, eeta=0.001, epsilon=0.0, nesterov=False, skip=None
  ):
    super().__init__()
    self.momentum = _at_least_zero('momentum', momentum)
    self.weight_decay = _at_least_zero('weight_decay', weight_decay)
    self.eeta = _at_least_zero('eeta', eeta)
    self.epsilon = _at_least_zero('epsilon', epsilon)
    self.nesterov = nesterov
    self._skip_paths = None if skip is None else {variable.path for variable in skip}

  def _skips(self, variable):
    if self._skip_paths is None:
      return is_norm_or_bias(variable)
    return variable.path in self._skip_paths

  def _update(self, variable, gradient, learning_rate, momentum):
    if not self._skips(variable):
      value = tf.convert_to_tensor(variable.value)
      learning_rate *= self._trust_ratio(tf.norm(value), tf.norm(gradient))
      gradient += self.weight_decay * value
    tf.raw_ops.ResourceApplyMomentum(
      var=variable.value.handle, accum=momentum.handle, lr=tf.ones([]),
      grad=gradient * learning_rate, momentum=self.momentum, use_nesterov=self.nesterov,
    )

  def _trust_ratio(self, variable_norm, gradient_norm):
    denominator = gradient_norm + self.weight_decay * variable_norm + self.epsilon
    both = tf.logical_and(variable_norm > 0, gradient_norm > 0)
    return tf.where(both, self.eeta * variable_norm / denominator, 1.0)


class AdamW(Optimizer):
  """Adam with decoupled weight decay, as BERT's and OSCAR's official code has it.

  m += (1 - beta_1) * (gradient - m); v += (1 - beta_2) * (gradient^2 - v); with t the number of this
  update, variable -= learning_rate * sqrt(1 - beta_2^t) / (1 - beta_1^t) * m / (sqrt(v) + epsilon);
  then variable -= learning_rate * weight_decay * variable. So epsilon stands outside of the correction
  (Keras and torch put it inside), and what decays is the updated value.

  Args:
    beta_1: decay of the mean of gradients.
    beta_2: decay of the mean of squared gradients.
    epsilon: added to the root.
    weight_decay: share of a variable taken off at a learning rate of one.
    skip: variables without weight decay; None: every norm's scale and offset and every bias.
    correct_bias: False takes both means as they are, which start at zero (Google's BERT).
  """

  slots = {'m': 0.0, 'v': 0.0}

  def __init__(
    self,
    beta_1=0.9,
    beta_2=0.999,
    epsilon=1e-8,
    weight_decay=0.01,
    skip=None,
    correct_bias=True,
  ):
    super().__init__()
    self.correct_bias = correct_bias
    self.beta_1 = _decay('beta_1', beta_1)
    self.beta_2 = _decay('beta_2', beta_2)
    self.epsilon = _at_least_zero('epsilon', epsilon)
    self.weight_decay = _at_least_zero('weight_decay', weight_decay)
    self._skip_paths = None if skip is None else {variable.path for variable in skip}
    self._updates = None

  def build(self, variables):
    super().build(variables)
    self._updates = tf.Variable(0, dtype=tf.int64, trainable=False, name='updates')

  @property
  def variables(self):
    """The slots, and 'updates': how many there were (int64)."""
    return {**super().variables, 'updates': self._updates}

  def decays(self, variable):
    """Whether `variable` is subject to weight decay."""
    if self._skip_paths is None:
      return not is_norm_or_bias(variable)
    return variable.path not in self._skip_paths

  def _start(self, learning_rate):
    tf.raw_ops.AssignAddVariableOp(
      resource=self._updates.handle, value=tf.constant(1, self._updates.dtype)
    )
    updates = tf.raw_ops.ReadVariableOp(resource=self._updates.handle, dtype=self._updates.dtype)
    updates = tf.cast(updates, tf.float32)
    if not self.correct_bias:
      return learning_rate, learning_rate * self.weight_decay
    # 1 - beta^t, by expm1 since the plain power loses five digits for beta near one and small t; with
    # beta as the kernel rounds it, so that the two cancel in the first update.
    rounded = (float(np.float32(beta)) for beta in (self.beta_1, self.beta_2))
    first, second = (-tf.math.expm1(updates * math.log(beta)) for beta in rounded)
    return learning_rate * tf.sqrt(second) / first, learning_rate * self.weight_decay

  def _update(self, variable, gradient, rate, m, v):
    step_size, decay = rate
    handle = variable.value.handle
    # With powers of zero the kernel takes the step size as it is.
    tf.raw_ops.ResourceApplyAdam(
      var=handle, m=m.handle, v=v.handle, beta1_power=0.0, beta2_power=0.0, lr=step_size,
      beta1=self.beta_1, beta2=self.beta_2, epsilon=self.epsilon, grad=gradient,
    )
    if self.weight_decay and self.decays(variable):
      updated = tf.raw_ops.ReadVariableOp(resource=handle, dtype=variable.value.dtype)
      tf.raw_ops.ResourceApplyGradientDescent(var=handle, alpha=decay, delta=updated)


OPTIMIZERS = {'sgd': SGD, 'momentum': Momentum, 'rmsprop': RMSProp, 'lars': LARS, 'adamw': AdamW}


def build_optimizer(name, **settings):
  """An optimizer by its official name; `settings` are the arguments of its class.

  Raises:
    ValueError: no optimizer or no setting of that name, or a setting out of range.
  """
  check_name('optimizer', name, OPTIMIZERS)
  known = list(inspect.signature(OPTIMIZERS[name]).parameters)
  for setting in settings:
    check_name(f'setting of optimizer {name}', setting, known)
  return OPTIMIZERS[name](**settings)


def clip_by_global_norm(gradients, max_norm, epsilon=0.0):
  """Scales all gradients together so that their joint norm is at most `max_norm`.

  Call it after gradients are reduced over replicas: clipped before, the result depends on the number
  of replicas.

  Args:
    gradients: tensors; None where a variable has no gradient.
    max_norm: the largest norm to let through.
    epsilon: added to the norm before dividing (torch: 1e-6, TensorFlow: 0).

  Returns:
    (gradients, norm before clipping as a float32 scalar). A norm that isn't finite is for the caller
    to act on.
  """
  # Dense first: the norm of an embedding's sparse gradient is wrong where a row comes twice.
  gradients = [None if g is None else tf.convert_to_tensor(g) for g in gradients]
  norm = tf.linalg.global_norm(gradients)
  scale = tf.minimum(1.0, max_norm / (norm + epsilon))
  return [None if g is None else g * scale for g in gradients], norm


def _check_trainable(variables):
  for path, count in collections.Counter(v.path for v in variables).items():
    if count > 1:
      raise ValueError(
        f'{count} variables have the path {path!r}; checkpoints are keyed by path, so give every '
        'layer a name of its own.'
      )
  for variable in variables:
    if variable.dtype != 'float32':
      raise ValueError(
        f'{variable.path} is {variable.dtype}; training needs float32 variables. For bfloat16 '
        'arithmetic use dtype_policy="mixed_bfloat16", which keeps them so.'
      )


def _variable_like(variable, initial, name):
  """A float32 variable beside `variable`, on the same devices, filled with `initial`."""
  strategy = tf.distribute.get_strategy()
  with strategy.extended.colocate_vars_with(variable.value):
    return tf.Variable(tf.fill(variable.shape, initial), trainable=False, name=name)


def _at_least_zero(name, value):
  if not value >= 0:
    raise ValueError(f'Optimizer setting {name} must be zero or more, got {value!r}.')
  return value


def _decay(name, value):
  if not 0 < value < 1:
    raise ValueError(f'Optimizer setting {name} must be above 0 and below 1, got {value!r}.')
  return value
