"""The state of a job: saved in its model_dir, resumed or gone back to, restored for evaluation."""
import os
import sys
from collections.abc import Mapping

from tpu_utils import checkpoints, distribute, eval_history, files
from tpu_utils.position import Position
from tpu_utils.trainer import Trainer


class JobState:
  """A trainer and its position in the data, with their checkpoints.

  Args:
    trainer: the `Trainer`.
    position: its `Position`.
    manager: the checkpoints of the model_dir.
    identity: JSON-able dict that defines the network; a model_dir with other values is refused.
    resume_step: step to go back to; None for the newest.
  """

  def __init__(
    self,
    trainer: Trainer,
    position: Position,
    manager: checkpoints.CheckpointManager,
    identity: Mapping,
    resume_step: int | None = None,
  ):
    self._trainer = trainer
    self._position = position
    self._checkpoints = manager
    self._model_dir = manager.directory
    self._identity = identity
    self._resume_step = resume_step
    self._workers = distribute.Workers(trainer.strategy)

  def save(self, loss: float | None = None) -> None:
    """Writes a checkpoint of the trainer's state at its step.

    Args:
      loss: mean of the last training loop, to describe the checkpoint; None if unknown.

    Raises:
      OSError: this checkpoint, or the one before it if asynchronous, cannot be written.
    """
    self._trainer.synchronize()
    metadata = {
      **self._identity,
      'step': self._trainer.step,
      **self._position.metadata(),
      'versions': files.versions(),
    }
    if loss is not None:
      metadata['loss'] = loss
    if self._resume_step is not None:
      metadata['went_back'] = self._command()
    self._checkpoints.save(self._trainer.step, self._trainer.variables(), metadata)

  def resume(self) -> int:
    """Restores the newest undamaged checkpoint, if there is one; returns the trainer's step.

    With `resume_step` it restores that step, and moves newer checkpoints to `set_aside/`; but a
    job that has gone back already and is started by the same command again goes on.

    Raises:
      CheckpointError: the checkpoint is missing, damaged or of another network, or workers see
        different checkpoints.
    """
    back = self._resume_step
    newest = self._checkpoints.restore_newest()
    if newest is not None and newest[2].get('went_back') == self._command():
      back = None
    if back is not None:
      newest = (back, *self._checkpoints.restore_step(back))
    if newest is not None:
      self._take(*newest)
    steps = self._workers.gather(self._trainer.step)
    if len(set(steps)) > 1:
      raise checkpoints.CheckpointError(
        f'--model_dir={self._model_dir} must be one folder that all workers share; their newest '
        f'checkpoints are of different steps: {steps}.'
      )
    if back is not None and self._workers.is_chief:
      self._forget_after(back)
    return self._trainer.step

  def _take(self, step, values, metadata):
    self._check_identity(metadata)
    variables = self._trainer.variables()
    checkpoints.assign(variables, values, self._checkpoints.prefix(step), exact=True)
    self._trainer.restored(step)
    print(f'Resuming from step {step} of {self._model_dir}.')
    self._position.restore(step, metadata)

  def _command(self):
    """Returns the command line that goes back, by which a later start knows it was done."""
    return [self._resume_step, *sys.argv[1:]]

  def _forget_after(self, step):
    """Sets aside checkpoints and evaluations after a step, so that none counts as resumed."""
    newer = self._checkpoints.set_aside(step)
    if newer:
      moved = ', '.join(map(str, newer))
      print(f'Checkpoints of later steps moved to set_aside/: {moved}.')
    eval_history.forget_after(self._model_dir, step)

  def restore(self, prefix: str) -> None:
    """Restores weights and moving averages from the checkpoint `prefix`, for evaluation.

    Raises:
      CheckpointError: the checkpoint is damaged, missing or of another network.
    """
    values, metadata = checkpoints.read(prefix)
    self._check_identity(metadata)
    variables = self._trainer.variables()
    wanted = {k: v for k, v in variables.items() if k.startswith(('model/', 'ema/'))}
    checkpoints.assign(wanted, values, prefix)
    self._trainer.restored(metadata['step'])

  def restore_best(self) -> str:
    """Restores the best checkpoint, or the newest if none is archived; returns its name.

    Raises:
      ValueError: model_dir holds no checkpoint.
      CheckpointError: as for `restore`.
    """
    prefix = self._checkpoints.best()
    if prefix is None:
      steps = self._checkpoints.steps()
      if not steps:
        raise ValueError(f'--model_dir={self._model_dir} holds no checkpoint.')
      prefix = self._checkpoints.prefix(steps[-1])
    self.restore(prefix)
    return os.path.basename(prefix)

  def ways_back(self) -> str:
    """Names the checkpoints that are left after training diverged."""
    self._checkpoints.wait()
    if not self._checkpoints.steps():
      return 'nothing was saved yet.'
    return (
      f'{self._model_dir} keeps {self._checkpoints.described()}. The newest may be ruined already: '
      '--resume_step=N goes back to step N.'
    )

  def _check_identity(self, stored):
    for key, expected in self._identity.items():
      if stored.get(key, expected) != expected:
        raise checkpoints.CheckpointError(
          f'--model_dir={self._model_dir} holds another model: its {key} is {stored[key]!r}, not '
          f'{expected!r}. Give the flags it was trained with, or another --model_dir.'
        )
