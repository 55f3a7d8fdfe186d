"""TensorBoard profiles of some training steps."""
from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import tensorflow as tf

from tpu_utils.errors import first_line


class StepProfile:
  """Profiles the steps after `first`, up to `last`, into model_dir/plugins/profile/.

  Args:
    model_dir: folder of the job.
    steps: (first, last); None for no profile.
    step: step at which training starts or resumes.
  """

  def __init__(self, model_dir: str, steps: tuple[int, int] | None, step: int):
    self._model_dir = model_dir
    self._running = False
    self._steps = steps
    if steps is not None and step >= steps[1]:
      print(f'No profile: --profile_steps={steps[0]},{steps[1]}, and training resumes at {step}.')
      self._steps = None

  def __enter__(self) -> StepProfile:
    return self

  def __exit__(self, *_) -> None:
    self._end()  # A profile that a signal or an error cuts short is written, too.

  @contextlib.contextmanager
  def recording(self, step: int, steps: int) -> Iterator[None]:
    """Records the training loop inside the `with` block, if it is to be profiled.

    Args:
      step: step at which the loop starts.
      steps: number of its steps; it crosses neither `first` nor `last`.
    """
    if self._steps is None or not self._steps[0] <= step < self._steps[1]:
      yield
      return
    if not self._running:
      self._start()
    with tf.profiler.experimental.Trace('train', step_num=step, _r=1):
      yield
    if self._steps is not None and step + steps >= self._steps[1]:
      self._end()

  def _start(self):
    try:
      tf.profiler.experimental.start(self._model_dir)
    except (tf.errors.OpError, OSError) as e:
      self._give_up(e)
    else:
      self._running = True

  def _end(self):
    if not self._running:
      return
    self._running = False
    try:
      tf.profiler.experimental.stop()
    except (tf.errors.OpError, OSError) as e:
      self._give_up(e)
    else:
      print(f'Profile of the steps {self._steps[0]} to {self._steps[1]}: {self._model_dir}')

  def _give_up(self, error):
    self._steps = None
    print(
      f'{self._model_dir}: the profile cannot be written; training continues without it. '
      f'({first_line(error)})',
      file=sys.stderr,
    )
