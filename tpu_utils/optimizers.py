"""Optimizers with TensorFlow 1's arithmetic, for training loops that reduce gradients themselves.

`apply` expects gradients that are reduced over replicas and clipped, and therefore equal on all of
them. Each replica updates its own copy of every variable through that copy's handle, so the copies
stay equal without communication, and the update works inside a loop or a condition.

Sources: TensorFlow's kernels, called directly; tensorflow/tpu,
models/official/efficientnet/utils.py (`build_optimizer`) and lars_optimizer.py;
pytorch-transformers 1.0, optimization.py (`AdamW`).
"""
import collections
import inspect
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from tpu_utils.names import check_name

_LEAST_UNIT_NORM = 0.03  # Of the weights, see `clip_units`.


class Optimizer:
  """Base class of the optimizers: creates slots and updates one variable after another.

  A subclass defines `slots`, {name: initial value}, and `_update`.

  Attributes:
    learning_rate_factors: {path: factor} for variables with a learning rate of their own.
    clip_ratios: {path: ratio} for variables whose gradient is clipped, see `clip_units`.
  """

  slots: ClassVar[Mapping[str, float]] = {}

  def __init__(self) -> None:
    self._model_variables: list[keras.Variable] | None = None
    self._slots: dict[str, dict[str, tf.Variable]] = {}
    self.learning_rate_factors: dict[str, float] = {}
    self.clip_ratios: dict[str, float] = {}

  def build(self, variables: Sequence[keras.Variable]) -> None:
    """Creates the slots. Call it once, in the strategy's scope, before the step is traced.

    Args:
      variables: the variables to train, in the order of the gradients of `apply`.

    Raises:
      ValueError: a second call, two variables of one path, or a variable that is not float32.
    """
    if self._model_variables is not None:
      raise ValueError(
        f'{type(self).__name__}.build was called twice; create an optimizer for each training.'
      )
    _check_trainable(variables)
    self._model_variables = list(variables)
    for slot, initial in self.slots.items():
      self._slots[slot] = {
        v.path: _variable_like(v, initial, f'{slot}/{v.path}') for v in self._model_variables
      }

  @property
  def variables(self) -> dict[str, tf.Variable]:
    """Returns {'<slot>/<path of the model variable>': tf.Variable}, all float32."""
    return {
      f'{slot}/{path}': variable
      for slot, by_path in self._slots.items()
      for path, variable in by_path.items()
    }

  def apply(
    self, gradients: Sequence[tf.Tensor | None], learning_rate: tf.Tensor | float
  ) -> None:
    """Updates every variable once (replica context).

    Args:
      gradients: one tensor for each variable given to `build`, equal on all replicas. Without a
        gradient (None), a variable and its slots do not change.
      learning_rate: float32 scalar tensor, or a number.

    Raises:
      ValueError: a call before `build`, another number of gradients, or no gradient at all.
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
        if ratio := self.clip_ratios.get(variable.path):
          gradient = clip_units(gradient, tf.convert_to_tensor(variable), ratio)
        slots = {slot: by_path[variable.path] for slot, by_path in self._slots.items()}
        own_rate = rate
        factor = self.learning_rate_factors.get(variable.path)
        if factor is not None:
          own_rate = tf.nest.map_structure(lambda r, f=factor: r * f, rate)
        self._update(variable, gradient, own_rate, **slots)

  def _start(self, learning_rate):
    """Called once per step; returns the `learning_rate` argument of `_update` (replica context)."""
    return learning_rate

  def _update(self, variable, gradient, learning_rate, **slots):
    raise NotImplementedError


class SGD(Optimizer):
  """Gradient descent: variable -= learning_rate * gradient."""

  def _update(self, variable, gradient, learning_rate):
    tf.raw_ops.ResourceApplyGradientDescent(
      var=variable.value.handle, alpha=learning_rate, delta=gradient
    )


class Momentum(Optimizer):
  """Momentum: a = momentum * a + gradient; variable -= learning_rate * a.

  With `nesterov`, variable -= learning_rate * (gradient + momentum * a).
  """

  slots = {'momentum': 0.0}

  def __init__(self, momentum: float = 0.9, nesterov: bool = False):
    super().__init__()
    self.momentum = _at_least_zero('momentum', momentum)
    self.nesterov = nesterov

  def _update(self, variable, gradient, learning_rate, momentum):
    tf.raw_ops.ResourceApplyMomentum(
      var=variable.value.handle, accum=momentum.handle, lr=learning_rate, grad=gradient,
      momentum=self.momentum, use_nesterov=self.nesterov,
    )


class RMSProp(Optimizer):
  """TensorFlow 1's RMSProp, which EfficientNet's training depends on.

  Unlike in Keras, the mean square starts at one, epsilon is inside the root, and the accumulator
  includes the learning rate: rms += (1 - decay) * (gradient^2 - rms);
  a = momentum * a + learning_rate * gradient / sqrt(rms + epsilon); variable -= a.
  """

  slots = {'rms': 1.0, 'momentum': 0.0}

  def __init__(self, decay: float = 0.9, momentum: float = 0.9, epsilon: float = 0.001):
    super().__init__()
    self.decay = _at_least_zero('decay', decay)
    self.momentum = _at_least_zero('momentum', momentum)
    self.epsilon = _at_least_zero('epsilon', epsilon)

  def _update(self, variable, gradient, learning_rate, rms, momentum):
    tf.raw_ops.ResourceApplyRMSProp(
      var=variable.value.handle, ms=rms.handle, mom=momentum.handle, lr=learning_rate,
      rho=self.decay, momentum=self.momentum, epsilon=self.epsilon, grad=gradient,
    )


def is_norm_or_bias(variable: keras.Variable) -> bool:
  """Returns whether the variable's name is that of a scale, an offset or a bias."""
  return variable.name in ('gamma', 'beta') or variable.name.endswith('bias')


class LARS(Optimizer):
  """Layer-wise adaptive rate scaling (https://arxiv.org/abs/1708.03888), as in the official code.

  Each variable's learning rate is multiplied by eeta * |variable| / (|gradient| + weight_decay *
  |variable| + epsilon), or by one where either norm is zero, and weight_decay * variable is added
  to its gradient. Momentum follows; its accumulator includes the learning rate.

  Args:
    momentum: decay of the accumulator.
    weight_decay: decay within this update; like the official code, a job may add one to the loss.
    eeta: the trust coefficient.
    epsilon: added to the denominator of the ratio.
    nesterov: whether to use Nesterov's momentum.
    skip: variables that get plain momentum, without ratio and weight decay. None: every batch
      norm's scale and offset and every bias (`is_norm_or_bias`), equivalent to the official list of
      names.
  """

  slots = {'momentum': 0.0}

  def __init__(
    self,
    momentum: float = 0.9,
    weight_decay: float = 1e-5,
    eeta: float = 0.001,
    epsilon: float = 0.0,
    nesterov: bool = False,
    skip: Collection[keras.Variable] | None = None,
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
  """Adam with decoupled weight decay, as in BERT's and OSCAR's official code.

  m += (1 - beta_1) * (gradient - m); v += (1 - beta_2) * (gradient^2 - v); in update t (from 1),
  variable -= learning_rate * sqrt(1 - beta_2^t) / (1 - beta_1^t) * m / (sqrt(v) + epsilon);
  then variable -= learning_rate * weight_decay * variable. Unlike in Keras and torch, the bias
  correction does not scale epsilon, and the decay applies to the updated value.

  Args:
    beta_1: decay of the mean of gradients.
    beta_2: decay of the mean of squared gradients.
    epsilon: added to the root.
    weight_decay: share of a variable to subtract at a learning rate of one.
    skip: variables without weight decay; None: every norm's scale and offset and every bias.
    correct_bias: whether to correct the means for starting at zero; Google's BERT does not.
  """

  slots = {'m': 0.0, 'v': 0.0}

  def __init__(
    self,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.01,
    skip: Collection[keras.Variable] | None = None,
    correct_bias: bool = True,
  ):
    super().__init__()
    self.correct_bias = correct_bias
    self.beta_1 = _decay('beta_1', beta_1)
    self.beta_2 = _decay('beta_2', beta_2)
    self.epsilon = _at_least_zero('epsilon', epsilon)
    self.weight_decay = _at_least_zero('weight_decay', weight_decay)
    self._skip_paths = None if skip is None else {variable.path for variable in skip}
    self._updates = None

  def build(self, variables: Sequence[keras.Variable]) -> None:
    super().build(variables)
    self._updates = tf.Variable(0, dtype=tf.int64, trainable=False, name='updates')

  @property
  def variables(self) -> dict[str, tf.Variable]:
    """Returns the slots and 'updates', the number of updates (int64)."""
    return {**super().variables, 'updates': self._updates}

  def decays(self, variable: keras.Variable) -> bool:
    """Returns whether weight decay applies to `variable`."""
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
    # expm1 for 1 - beta^t: a power in float32 loses five digits for beta near one and small t. The
    # kernel's rounding of beta makes the correction and the kernel's factor cancel in update 1.
    rounded = (float(np.float32(beta)) for beta in (self.beta_1, self.beta_2))
    first, second = (-tf.math.expm1(updates * math.log(beta)) for beta in rounded)
    return learning_rate * tf.sqrt(second) / first, learning_rate * self.weight_decay

  def _update(self, variable, gradient, rate, m, v):
    step_size, decay = rate
    handle = variable.value.handle
    # beta powers of 0 disable the kernel's bias correction; `step_size` already includes it.
    tf.raw_ops.ResourceApplyAdam(
      var=handle, m=m.handle, v=v.handle, beta1_power=0.0, beta2_power=0.0, lr=step_size,
      beta1=self.beta_1, beta2=self.beta_2, epsilon=self.epsilon, grad=gradient,
    )
    if self.weight_decay and self.decays(variable):
      updated = tf.raw_ops.ReadVariableOp(resource=handle, dtype=variable.value.dtype)
      tf.raw_ops.ResourceApplyGradientDescent(var=handle, alpha=decay, delta=updated)


OPTIMIZERS = {'sgd': SGD, 'momentum': Momentum, 'rmsprop': RMSProp, 'lars': LARS, 'adamw': AdamW}


def build_optimizer(name: str, **settings: Any) -> Optimizer:
  """Builds an optimizer from its official name and the arguments of its class.

  Raises:
    ValueError: an unknown optimizer or setting, or a setting out of range.
  """
  check_name('optimizer', name, OPTIMIZERS)
  known = list(inspect.signature(OPTIMIZERS[name]).parameters)
  for setting in settings:
    check_name(f'setting of optimizer {name}', setting, known)
  return OPTIMIZERS[name](**settings)


def clip_by_global_norm(
  gradients: Sequence[tf.Tensor | None], max_norm: float, epsilon: float = 0.0
) -> tuple[list[tf.Tensor | None], tf.Tensor]:
  """Scales all gradients by one factor so that their joint norm is at most `max_norm`.

  Reduce gradients over replicas first; otherwise the result depends on the number of replicas.

  Args:
    gradients: tensors; None where a variable has no gradient.
    max_norm: the largest norm that is not clipped.
    epsilon: added to the norm before dividing (torch: 1e-6, TensorFlow: 0).

  Returns:
    (gradients, norm before clipping as a float32 scalar). The caller must check that the norm is
    finite.
  """
  # Dense first: a sparse gradient's norm is wrong if the embedding's row occurs twice.
  gradients = [None if g is None else tf.convert_to_tensor(g) for g in gradients]
  norm = tf.linalg.global_norm(gradients)
  scale = tf.minimum(1.0, max_norm / (norm + epsilon))
  return [None if g is None else g * scale for g in gradients], norm


def clip_units(gradient: tf.Tensor, weights: tf.Tensor, ratio: float) -> tf.Tensor:
  """Scales the gradient of each unit to at most `ratio` times the norm of the unit's weights.

  A unit has the weights of one output, of a depthwise kernel those of one channel; vectors are one
  unit. Norms count as at least 0.03, so that weights of zero can move.

  Source: adaptive gradient clipping, arXiv 2102.06171, Section 4 (its least norm is 0.001).

  Args:
    gradient: float32, summed over replicas.
    weights: float32, of the same shape.
    ratio: the largest ratio of the norms.
  """
  depthwise = len(weights.shape) == 4 and weights.shape[-1] == 1
  kept = 0 if len(weights.shape) < 2 else 2 if depthwise else 1
  axes = list(range(len(weights.shape) - kept))

  def norm(values):
    return tf.sqrt(tf.reduce_sum(tf.square(values), axes, keepdims=True))

  largest = ratio * tf.maximum(norm(weights), _LEAST_UNIT_NORM)
  return gradient * tf.minimum(1.0, largest / tf.maximum(norm(gradient), 1e-12))


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
  """Creates a float32 variable on the devices of `variable`, filled with `initial`."""
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
