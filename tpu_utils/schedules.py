"""Learning rates as functions of the global step.

Sources: tensorflow/tpu, models/official/efficientnet/utils.py, `build_learning_rate`;
pytorch-transformers 1.0, optimization.py, `WarmupLinearSchedule`. Every formula is evaluated in float32
and in the official order of operations, so that the numbers agree to the last bit or two even after
200,000 steps.
"""
import dataclasses
import functools
import math

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
  """A learning rate that depends on the step alone. Call it with an integer or an int64 scalar.

  The settings are plain numbers, so `dataclasses.asdict` says everything about a schedule.
  """

  initial_lr: float

  def __post_init__(self):
    lr = self.initial_lr
    good = isinstance(lr, (int, float)) and math.isfinite(lr) and lr >= 0
    _require(good, 'initial_lr', lr, 'a finite number, zero or more')

  def __call__(self, step):
    """The learning rate of the update that starts at `step` (0 for the first): float32 scalar."""
    return _as_graph(self)(tf.cast(step, tf.int64))

  def _at(self, step):
    raise NotImplementedError


@functools.cache
def _as_graph(schedule):
  """The formula as a graph, whose optimizer rounds the official formulas otherwise than eager mode."""
  return tf.function(schedule._at, autograph=False)


@dataclasses.dataclass(frozen=True)
class Constant(Schedule):
  """initial_lr at every step."""

  def _at(self, step):
    del step
    return tf.constant(self.initial_lr, tf.float32)


@dataclasses.dataclass(frozen=True)
class Exponential(Schedule):
  """Multiplied by `decay_factor` each time `decay_steps` steps have passed (a staircase)."""

  decay_steps: float  # Epochs are seldom a whole number of steps, so this is not an integer.
  decay_factor: float = 0.97

  def __post_init__(self):
    super().__post_init__()
    _require_positive(decay_steps=self.decay_steps, decay_factor=self.decay_factor)

  def _at(self, step):
    stairs = tf.floor(tf.cast(step, tf.float32) / self.decay_steps)
    return self.initial_lr * tf.pow(self.decay_factor, stairs)


@dataclasses.dataclass(frozen=True)
class Step(Schedule):
  """Multiplied by `decay_factor` at each of the `boundaries`."""

  boundaries: tuple  # In steps, rising; like epochs they are seldom whole.
  decay_factor: float = 0.1

  def __post_init__(self):
    super().__post_init__()
    _require_positive(decay_factor=self.decay_factor)
    rising = all(a < b for a, b in zip((0, *self.boundaries), self.boundaries, strict=False))
    _require(rising, 'boundaries', self.boundaries, 'rising positive numbers')

  def _at(self, step):
    # A table, since a power in float32 would be off in the last bits.
    rates = [self.initial_lr * self.decay_factor**drops for drops in range(len(self.boundaries) + 1)]
    passed = step >= tf.constant([math.ceil(boundary) for boundary in self.boundaries], tf.int64)
    drops = tf.reduce_sum(tf.cast(passed, tf.int32))
    return tf.gather(tf.constant(rates, tf.float32), drops)


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
  """Quadratic from initial_lr to `end_lr`, beginning when the warm-up ends.

  The official code fixes the end at 0.1, made for LARS, whose learning rates are large: a smaller
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
    # Already one step into the decay when it begins, as in the official code.
    into_decay = tf.cast(tf.maximum(step - self.warmup_steps, 1), tf.float32)
    done = tf.minimum(into_decay, decay_steps) / decay_steps
    initial, end = tf.constant(self.initial_lr, tf.float32), tf.constant(self.end_lr, tf.float32)
    return (initial - end) * tf.pow(1 - done, self.power) + end


@dataclasses.dataclass(frozen=True)
class Linear(Schedule):
  """A straight line from initial_lr at `warmup_steps` to zero at `total_steps`, and zero after it."""

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
  """Another schedule's rate of the following step.

  So it comes out where a program moves its schedule on before the update instead of after it.
  """

  of: Schedule

  def _at(self, step):
    return self.of(step + 1)


@dataclasses.dataclass(frozen=True)
class Warmup(Schedule):
  """A straight line from zero at step 0 to initial_lr at `warmup_steps`, then `after`."""

  warmup_steps: int
  after: Schedule

  def __post_init__(self):
    super().__post_init__()
    _require_positive(warmup_steps=self.warmup_steps)

  def _at(self, step):
    rising = self.initial_lr * tf.cast(step, tf.float32) / float(self.warmup_steps)
    return tf.where(step < self.warmup_steps, rising, self.after(step))


_NEEDS = {
  'exponential': ('steps_per_epoch',),
  'cosine': ('total_steps',),
  'constant': (),
  'poly': ('steps_per_epoch', 'total_steps'),
  'step': ('steps_per_epoch',),
}


def build_learning_rate(
  initial_lr,
  steps_per_epoch=None,
  lr_decay_type='exponential',
  decay_factor=0.97,
  decay_epochs=2.4,
  total_steps=None,
  warmup_epochs=5,
  step_epochs=(30, 60, 90),
):
  """The official learning rate schedule, or one in steps (`Step`), as of fb.resnet.torch, train.lua.

  Args:
    initial_lr: learning rate at the end of the warm-up (already scaled by the batch size).
    steps_per_epoch: steps in an epoch, not necessarily whole; needed by 'exponential', 'poly',
      'step', and by any warm-up.
    lr_decay_type: 'exponential' (staircase), 'cosine', 'constant', 'poly' or 'step'.
    decay_factor: 'exponential', 'step': what the rate is multiplied by at each stair.
    decay_epochs: 'exponential': epochs between stairs.
    total_steps: steps of the whole training; needed by 'cosine' and 'poly'.
    warmup_epochs: epochs of linear warm-up from zero; 0 for none. Need not be whole.
    step_epochs: 'step': after how many epochs it drops, rising.

  Returns:
    A `Schedule`: callable(step) -> float32 scalar tensor, where step is an int or an int64 scalar.

  Raises:
    ValueError: an unknown lr_decay_type, a missing or an impossible setting.
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

  warmup_steps = int(warmup_epochs * steps_per_epoch) if warmup_epochs else 0
  if lr_decay_type == 'exponential':
    schedule = Exponential(initial_lr, steps_per_epoch * decay_epochs, decay_factor)
  elif lr_decay_type == 'cosine':
    schedule = Cosine(initial_lr, total_steps)
  elif lr_decay_type == 'constant':
    schedule = Constant(initial_lr)
  elif lr_decay_type == 'step':
    boundaries = tuple(epoch * steps_per_epoch for epoch in step_epochs)
    schedule = Step(initial_lr, boundaries, decay_factor)
  else:
    schedule = Poly(initial_lr, total_steps, warmup_steps)
  return Warmup(initial_lr, warmup_steps, schedule) if warmup_steps else schedule


LINEAR_ORDERS = ('optimizer_first', 'scheduler_first')


def build_linear(initial_lr, total_steps, warmup_steps=0, order='optimizer_first', decay=True):
  """BERT's schedule: linear warm-up from zero, then linear decay to zero.

  Args:
    initial_lr: learning rate at the end of the warm-up.
    total_steps: steps of the whole training.
    warmup_steps: steps of the warm-up; 0 for none.
    order: 'optimizer_first': update n (from 0) takes the schedule's rate of n, as OSCAR's
      pre-training does, and as the schedule is meant. 'scheduler_first': that of n + 1, as OSCAR's
      fine-tuning scripts do; the last update then has a rate of zero.
    decay: False keeps initial_lr after the warm-up.

  Returns:
    A `Schedule`.

  Raises:
    ValueError: an unknown order, or an impossible setting.
  """
  check_name('order of the schedule', order, LINEAR_ORDERS)
  good = isinstance(warmup_steps, int) and warmup_steps >= 0
  _require(good, 'warmup_steps', warmup_steps, 'a whole number, zero or more')
  after = Linear(initial_lr, total_steps, warmup_steps) if decay else Constant(initial_lr)
  schedule = Warmup(initial_lr, warmup_steps, after) if warmup_steps else after
  return schedule if order == 'optimizer_first' else Ahead(initial_lr, schedule)
