"""Learning rates as functions of the global step.

Sources: tensorflow/tpu, models/official/efficientnet/utils.py, `build_learning_rate`;
pytorch-transformers 1.0, optimization.py, `WarmupLinearSchedule`. Every formula uses float32 and
the official order of operations, so that rates agree to the last bit or two even after 200,000
steps.
"""
import dataclasses
import functools
import math
from collections.abc import Sequence

import tensorflow as tf

from tpu_utils.names import check_name


def _require(condition, name, value, expected):
  if not condition:
    raise ValueError(f'Learning rate schedule: {name} must be {expected}, got {value!r}.')


def _require_positive(**settings):
  for name, value in settings.items():
    good = isinstance(value, (int, float)) and math.isfinite(value) and value > 0
    _require(good, name, value, 'a positive number')


@dataclasses.dataclass(frozen=True)
class Schedule:
  """A learning rate as a function of the step, an integer or an int64 scalar.

  All settings are plain numbers, so `dataclasses.asdict` describes a schedule completely.
  """

  initial_lr: float

  def __post_init__(self):
    lr = self.initial_lr
    good = isinstance(lr, (int, float)) and math.isfinite(lr) and lr >= 0
    _require(good, 'initial_lr', lr, 'a finite number, zero or more')

  def __call__(self, step: int | tf.Tensor) -> tf.Tensor:
    """Returns the learning rate (float32 scalar) of the update at `step` (0 for the first)."""
    return _as_graph(self)(tf.cast(step, tf.int64))

  def _at(self, step):
    raise NotImplementedError


@functools.cache
def _as_graph(schedule):
  """Returns the formula as a `tf.function`: the official code's graphs round unlike eager mode."""
  return tf.function(schedule._at, autograph=False)


@dataclasses.dataclass(frozen=True)
class Constant(Schedule):
  """The constant initial_lr."""

  def _at(self, step):
    del step
    return tf.constant(self.initial_lr, tf.float32)


@dataclasses.dataclass(frozen=True)
class Exponential(Schedule):
  """A staircase: initial_lr, multiplied by `decay_factor` after every `decay_steps` steps."""

  decay_steps: float  # Not an integer: epochs are seldom a whole number of steps.
  decay_factor: float = 0.97

  def __post_init__(self):
    super().__post_init__()
    _require_positive(decay_steps=self.decay_steps, decay_factor=self.decay_factor)

  def _at(self, step):
    stairs = tf.floor(tf.cast(step, tf.float32) / self.decay_steps)
    return self.initial_lr * tf.pow(self.decay_factor, stairs)


@dataclasses.dataclass(frozen=True)
class Step(Schedule):
  """Stairs at given steps: initial_lr, multiplied by `decay_factor` at each of `boundaries`."""

  boundaries: tuple[float, ...]  # Rising, in steps; not integers, as for `decay_steps`.
  decay_factor: float = 0.1

  def __post_init__(self):
    super().__post_init__()
    _require_positive(decay_factor=self.decay_factor)
    rising = all(a < b for a, b in zip((0, *self.boundaries), self.boundaries, strict=False))
    _require(rising, 'boundaries', self.boundaries, 'rising positive numbers')

  def _at(self, step):
    # A table, since a power in float32 would be off in the last bits.
    drops = range(len(self.boundaries) + 1)
    rates = [self.initial_lr * self.decay_factor**drop for drop in drops]
    passed = step >= tf.constant([math.ceil(boundary) for boundary in self.boundaries], tf.int64)
    return tf.gather(tf.constant(rates, tf.float32), tf.reduce_sum(tf.cast(passed, tf.int32)))


@dataclasses.dataclass(frozen=True)
class Cosine(Schedule):
  """Half a cosine from initial_lr at step 0 to zero at `total_steps`; warm-up does not shift it."""

  total_steps: int

  def __post_init__(self):
    super().__post_init__()
    _require_positive(total_steps=self.total_steps)

  def _at(self, step):
    angle = math.pi * tf.cast(step, tf.float32) / self.total_steps
    return 0.5 * self.initial_lr * (1 + tf.cos(angle))


@dataclasses.dataclass(frozen=True)
class Poly(Schedule):
  """A polynomial (by default quadratic) from initial_lr after warm-up to `end_lr`.

  The official code fixes the end at 0.1, suited to LARS with its large learning rates: a smaller
  initial_lr therefore rises.
  """

  total_steps: int
  warmup_steps: int = 0
  end_lr: float = 0.1
  power: float = 2.0

  def __post_init__(self):
    super().__post_init__()
    _require_positive(total_steps=self.total_steps)
    _require(
      0 <= self.warmup_steps <= self.total_steps, 'warmup_steps', self.warmup_steps,
      f'between 0 and total_steps={self.total_steps}, for the decay to have steps left',
    )

  def _at(self, step):
    decay_steps = float(self.total_steps - self.warmup_steps + 1)
    # The decay begins with its step 1, as in the official code.
    into_decay = tf.cast(tf.maximum(step - self.warmup_steps, 1), tf.float32)
    done = tf.minimum(into_decay, decay_steps) / decay_steps
    initial, end = tf.constant(self.initial_lr, tf.float32), tf.constant(self.end_lr, tf.float32)
    return (initial - end) * tf.pow(1 - done, self.power) + end


@dataclasses.dataclass(frozen=True)
class Linear(Schedule):
  """A straight line from initial_lr at `warmup_steps` to zero at `total_steps`, then zero."""

  total_steps: int
  warmup_steps: int = 0

  def __post_init__(self):
    super().__post_init__()
    _require_positive(total_steps=self.total_steps)

  def _at(self, step):
    left = tf.cast(tf.maximum(self.total_steps - step, 0), tf.float32)
    return self.initial_lr * (left / float(max(1, self.total_steps - self.warmup_steps)))


@dataclasses.dataclass(frozen=True)
class Ahead(Schedule):
  """Another schedule's rate at the next step.

  Programs that advance their schedule before the update, not after it, train with these rates.
  """

  of: Schedule

  def _at(self, step):
    return self.of(step + 1)


@dataclasses.dataclass(frozen=True)
class Warmup(Schedule):
  """A straight line from zero at step 0 to initial_lr at `warmup_steps`, followed by `after`."""

  warmup_steps: int
  after: Schedule

  def __post_init__(self):
    super().__post_init__()
    _require_positive(warmup_steps=self.warmup_steps)

  def _at(self, step):
    rising = self.initial_lr * tf.cast(step, tf.float32) / float(self.warmup_steps)
    return tf.where(step < self.warmup_steps, rising, self.after(step))


_NEEDS: dict[str, tuple[str, ...]] = {
  'exponential': ('steps_per_epoch',),
  'cosine': ('total_steps',),
  'constant': (),
  'poly': ('steps_per_epoch', 'total_steps'),
  'step': ('steps_per_epoch',),
}


def build_learning_rate(
  initial_lr: float,
  steps_per_epoch: float | None = None,
  lr_decay_type: str = 'exponential',
  decay_factor: float = 0.97,
  decay_epochs: float = 2.4,
  total_steps: int | None = None,
  warmup_epochs: float = 5,
  step_epochs: Sequence[float] = (30, 60, 90),
) -> Schedule:
  """Builds EfficientNet's official schedule, or with 'step' that of fb.resnet.torch (train.lua).

  Args:
    initial_lr: learning rate at the end of the warm-up (already scaled by the batch size).
    steps_per_epoch: steps per epoch, not necessarily whole; needed by 'exponential', 'poly',
      'step', and by any warm-up.
    lr_decay_type: 'exponential' (staircase), 'cosine', 'constant', 'poly' or 'step'.
    decay_factor: 'exponential', 'step': factor of the rate at each stair.
    decay_epochs: 'exponential': epochs between stairs.
    total_steps: steps of the whole training; needed by 'cosine' and 'poly'.
    warmup_epochs: epochs of linear warm-up from zero; 0 for none. Need not be whole.
    step_epochs: 'step': epochs after which the rate drops, rising.

  Returns:
    A `Schedule`: callable(step) -> float32 scalar tensor, where step is an int or an int64 scalar.

  Raises:
    ValueError: an unknown lr_decay_type, a missing setting or one out of range.
  """
  check_name('lr_decay_type', lr_decay_type, _NEEDS)
  good = isinstance(warmup_epochs, (int, float)) and math.isfinite(warmup_epochs)
  _require(good and warmup_epochs >= 0, 'warmup_epochs', warmup_epochs, 'zero or more')
  settings = {'steps_per_epoch': steps_per_epoch, 'total_steps': total_steps}
  needs = _NEEDS[lr_decay_type] + (('steps_per_epoch',) if warmup_epochs else ())
  for name in needs:
    if settings[name] is None:
      reason = f'lr_decay_type={lr_decay_type!r} with warmup_epochs={warmup_epochs}'
      raise ValueError(f'Learning rate schedule: {reason} needs {name}; none was given.')
    _require_positive(**{name: settings[name]})

  epoch_steps, last = steps_per_epoch or 0, total_steps or 0  # 0 only if not needed.
  warmup_steps = int(warmup_epochs * epoch_steps)
  schedule: Schedule
  if lr_decay_type == 'exponential':
    schedule = Exponential(initial_lr, epoch_steps * decay_epochs, decay_factor)
  elif lr_decay_type == 'cosine':
    schedule = Cosine(initial_lr, last)
  elif lr_decay_type == 'constant':
    schedule = Constant(initial_lr)
  elif lr_decay_type == 'step':
    boundaries = tuple(epoch * epoch_steps for epoch in step_epochs)
    schedule = Step(initial_lr, boundaries, decay_factor)
  else:
    schedule = Poly(initial_lr, last, warmup_steps)
  return Warmup(initial_lr, warmup_steps, schedule) if warmup_steps else schedule


LINEAR_ORDERS = ('optimizer_first', 'scheduler_first')


def build_linear(
  initial_lr: float,
  total_steps: int,
  warmup_steps: int = 0,
  order: str = 'optimizer_first',
  decay: bool = True,
) -> Schedule:
  """Builds BERT's schedule: linear warm-up from zero, then linear decay to zero.

  Args:
    initial_lr: learning rate at the end of the warm-up.
    total_steps: steps of the whole training.
    warmup_steps: steps of the warm-up; 0 for none.
    order: 'optimizer_first': update n (from 0) uses the rate at step n, as intended and as in
      OSCAR's pre-training. 'scheduler_first': it uses the rate at step n + 1, as in OSCAR's
      fine-tuning scripts, so that the last update has a rate of zero.
    decay: False keeps initial_lr after the warm-up.

  Returns:
    A `Schedule`.

  Raises:
    ValueError: an unknown order, or a setting out of range.
  """
  check_name('order of the schedule', order, LINEAR_ORDERS)
  good = isinstance(warmup_steps, int) and warmup_steps >= 0
  _require(good, 'warmup_steps', warmup_steps, 'a whole number, zero or more')
  after = Linear(initial_lr, total_steps, warmup_steps) if decay else Constant(initial_lr)
  schedule = Warmup(initial_lr, warmup_steps, after) if warmup_steps else after
  return schedule if order == 'optimizer_first' else Ahead(initial_lr, schedule)
