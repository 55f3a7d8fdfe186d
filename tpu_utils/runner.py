"""Runs a trainer in a model_dir: resume, train, evaluate, save, predict; progress and summaries."""
import contextlib
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import tensorflow as tf

from tpu_utils import checkpoints, claims, distribute, files, metrics, run_info
from tpu_utils.command_line import cli, interruption
from tpu_utils.command_line.progress import Progress, StepTimes
from tpu_utils.config import JobConfig
from tpu_utils.errors import first_line
from tpu_utils.eval_history import EvalHistory
from tpu_utils.job_state import JobState
from tpu_utils.position import Position
from tpu_utils.step_profile import StepProfile
from tpu_utils.summaries import Summaries
from tpu_utils.trainer import NonFiniteLossError, Trainer

_LOOP_SECONDS = 2.0  # Aimed length of a training loop; progress and signals wait for its end.
_POLL_SECONDS = 2.0  # Time between two searches for a new checkpoint with mode=eval.


class Input(Protocol):
  """The data that a job trains and evaluates on.

  Attributes:
    num_train_examples: examples per training epoch, over all hosts; `job.Batches` may override it.
    num_eval_batches: batches of an evaluation, for its progress; an input may lack it.
    resizing_note: what a job repeats or leaves out if it resumes with another batch size; an input
      without this attribute reads on exactly.
  """

  num_train_examples: int

  def train_dataset(
    self, context: tf.distribute.InputContext, start_example: int
  ) -> tf.data.Dataset:
    """Returns one replica's endless stream of training batches.

    Args:
      context: identifies the input pipeline (host).
      start_example: examples already trained on, over all hosts; the stream begins after them.
    """

  def eval_dataset(self, context: tf.distribute.InputContext) -> tf.data.Dataset:
    """Returns each evaluation example once, with 'weights': 0 for rows that pad the last batch."""

  def explain(self, error: tf.errors.OpError) -> ValueError | None:
    """Returns a one-line error that names the file and record that caused `error`, if known."""


class Runner:
  """A `Trainer` at work in a model_dir.

  Args:
    trainer: the `Trainer`, at step 0.
    config: settings of the job, with `model_dir` set.
    identity: JSON-able dict that defines the network; a model_dir with other values is refused.
    batch_size: global training batch size.
    examples_per_epoch: for the summaries' current_epoch.
    unit: plural noun for examples, to report the speed.
    objective: metric that selects the best checkpoint; larger is better.
    divergence_hint: advice to the user when the loss is not finite.
    evaluators: see `job.Job`.
    run_info: JSON-able dict for run.json; None writes no such file.
    run_files: {name: JSON-able content} of further files for model_dir, written with run.json.
    on_start: function(Runner), called on the chief when training starts, after run.json; or None.
  """

  def __init__(
    self,
    trainer: Trainer,
    config: JobConfig,
    identity: Mapping,
    *,
    batch_size: int,
    examples_per_epoch: float,
    unit: str,
    objective: str,
    divergence_hint: str = '',
    evaluators: Mapping[str, Callable] | None = None,
    run_info: Mapping | None = None,
    run_files: Mapping[str, object] | None = None,
    on_start: Callable | None = None,
  ):
    self.trainer = trainer
    self.config = config
    self._batch_size = batch_size
    self._position = Position(config.model_dir, batch_size, examples_per_epoch, unit)
    self._unit = unit
    self._objective = objective
    self._divergence_hint = divergence_hint
    self._evaluators = evaluators or {}
    self._run_info = run_info
    self._run_files = run_files or {}
    self._on_start = on_start
    self._workers = distribute.Workers(trainer.strategy)
    self._claim: claims.Claim | None = None
    self._stop = interruption.Interruption()  # The running one, in `train` and `follow`.
    self._loss: float | None = None  # Of the last training loop.
    self._summaries = Summaries(config.model_dir)
    self._history = EvalHistory(config.model_dir, config.eval_name)
    follows = config.mode in ('eval', 'predict', 'export')
    self.checkpoints = checkpoints.CheckpointManager(
      config.model_dir,
      config.keep_checkpoint_max,
      writes=self._workers.is_chief and not follows,
      asynchronous=self._writes_meanwhile(),
      objective=objective,
    )
    self._state = JobState(
      trainer, self._position, self.checkpoints, identity, config.resume_step
    )
    self._archive = self.checkpoints
    if config.mode == 'eval':  # Reads a training job's checkpoints, but archives the best itself.
      self._archive = checkpoints.CheckpointManager(config.model_dir, objective=objective)

  @property
  def summaries(self) -> Summaries:
    """The summaries of the job."""
    return self._summaries

  @property
  def eval_folder(self) -> str:
    """Name of the folder for this job's evaluations, in model_dir."""
    return self._history.folder

  def _writes_meanwhile(self):
    """Returns whether checkpoints are written while training continues."""
    if self.config.use_async_checkpointing is not None:
      return self.config.use_async_checkpointing
    # For EfficientNet-B0 with its slots and averages (85 MB) training waits 0.06 s of processor
    # time for the copy instead of 0.21 s for the write: below 1 % of 100 steps on an accelerator.
    # On CPUs the writer takes cores from training, and more than 1 % of its time.
    return not distribute.on_cpus(self.trainer.strategy)

  # ---- training

  def train(self, train_input: Input, eval_input: Input | None = None) -> None:
    """Trains to `train_steps`, from the newest checkpoint if there is one.

    Args:
      train_input: needs `train_dataset` and `explain` only.
      eval_input: evaluated every `steps_per_eval` steps; needs `eval_dataset` and `explain` only.
        None for no evaluation.

    Raises:
      cli.Interrupted: SIGTERM or Ctrl-C arrived; the state is saved.
      NonFiniteLossError: training diverged; earlier checkpoints are untouched.
      ConnectionError: another worker of the job is gone.
      CheckpointError: the checkpoint is of another network, or workers see different checkpoints.
      ValueError: another job trains in model_dir.
      OSError: model_dir cannot be written.
    """
    with contextlib.ExitStack() as stack:
      if self._workers.is_chief:
        prepare_model_dir(self.config.model_dir)
        self._claim = stack.enter_context(claims.claimed('model_dir', self.config.model_dir))
      stack.enter_context(self.checkpoints)  # Its writer ends before the folder is free for others.
      self._train(train_input, eval_input)

  def _train(self, train_input, eval_input):
    self.resume()
    if self._workers.is_chief and self._run_info is not None:
      # Not earlier: a job that `resume` refuses did not run here.
      start = {'step': self.trainer.step, 'examples': self._position.examples}
      run_info.write(self.config.model_dir, {**self._run_info, 'start': start})
      for name, content in self._run_files.items():
        files.write_json(os.path.join(self.config.model_dir, name), content)
      if self._on_start is not None:
        self._on_start(self)
    with interruption.Interruption() as self._stop:
      self._train_to_end(train_input, eval_input)

  def _train_to_end(self, train_input, eval_input):
    trainer, last = self.trainer, self.config.train_steps
    if eval_input is not None and self._due(trainer.step, self.config.steps_per_eval):
      self._evaluate_once(eval_input)  # The job stopped between a checkpoint and its evaluation.
    if trainer.step >= last:
      print(f'{self.config.model_dir} is at step {trainer.step}: nothing left to train.')
      return
    iterator = trainer.train_iterator(lambda context: self._open_training(train_input, context))
    bar = Progress(
      last, 'train', initial=trainer.step, line_every=self.config.log_step_count_steps
    )
    self._profile = StepProfile(
      self.config.model_dir, self.config.profiled if self._workers.is_chief else None, trainer.step
    )
    with _explained(train_input), self._profile, bar as progress:
      progress.say('Tracing and compiling the first step ...')
      loop = 1
      while trainer.step < last:
        loop = self._train_loop(iterator, loop, progress)
        stopping = self._workers.any(self._stop.requested)  # If one worker stops, all must.
        evaluating = eval_input is not None and self._due(trainer.step, self.config.steps_per_eval)
        # Save before each evaluation: the result may be the best, or the job may be killed.
        if stopping or evaluating or self._due(trainer.step, self._save_steps()):
          self.save()
        if stopping:
          self._end_early()
        if evaluating:
          self._evaluate_once(eval_input, progress)
          if self._workers.any(self._stop.requested):
            self._end_early()
    self.checkpoints.wait()

  def _end_early(self):
    """Ends the job after SIGTERM or Ctrl-C, when its state is saved."""
    self.checkpoints.wait()
    state = 'which is not evaluated yet' if self.config.mode == 'eval' else 'saved'
    raise cli.Interrupted(
      f'Stopped by {self._stop.name} at step {self.trainer.step}, {state}. Run the same command to '
      'resume.'
    )

  def _open_training(self, train_input, context):
    """Opens the training data of one host where the job resumes."""
    self._position.read_by(
      context.num_input_pipelines, getattr(train_input, 'resizing_note', '')
    )
    return train_input.train_dataset(context, self._position.examples)

  def _train_loop(self, iterator, loop, progress):
    """Runs up to `loop` steps, but not past a boundary; returns the length of the next loop."""
    trainer = self.trainer
    steps = min(loop, self._to_boundary(trainer.step))
    start = time.monotonic()
    try:
      with self._profile.recording(trainer.step, steps):
        logs = trainer.train(iterator, steps)
    except NonFiniteLossError as e:
      raise NonFiniteLossError(
        f'{e} Training stopped; {self._state.ways_back()} {self._divergence_hint}'.rstrip()
      ) from e
    self.checkpoints.check()  # A full disk is known now, not at the next checkpoint.
    self._position.advance(steps)
    self._loss = float(logs['loss'])
    seconds = time.monotonic() - start
    self._report(logs, steps, seconds, progress)
    if self._workers.several:
      return self.config.iterations_per_loop  # All workers must run loops of equal length.
    return max(1, min(self.config.iterations_per_loop, int(steps * _LOOP_SECONDS / seconds)))

  def _report(self, logs, steps, seconds, progress):
    """Shows what a training loop measured, and writes it as summaries."""
    times = StepTimes(seconds / steps, logs['input_wait'])
    speed = {f'{self._unit}_per_second': steps * self._batch_size / seconds}
    shown = {name: logs[name] for name in ('loss', self._objective) if name in logs}
    shown[f'{self._unit}/s'] = speed[f'{self._unit}_per_second']
    progress.update(self.trainer.step, **shown, **times.shown())
    if self._workers.is_chief and not self.config.skip_host_call:
      numbers = {**logs, **speed, 'current_epoch': self._position.epoch, **times.logs()}
      self._summaries.write('', numbers, self.trainer.step)

  def _to_boundary(self, step):
    """Returns the number of steps to the next evaluation, checkpoint or the end of training."""
    every = [self.config.steps_per_eval, self._save_steps(), self.config.train_steps]
    # All workers must run loops of equal length, so they end where the chief's profile does.
    marks = self.config.profiled or ()
    return min([n - step % n for n in every] + [mark - step for mark in marks if mark > step])

  def _save_steps(self):
    return self.config.save_checkpoints_steps or max(100, self.config.iterations_per_loop)

  def _due(self, step, every):
    return step > 0 and (step % every == 0 or step >= self.config.train_steps)

  # ---- checkpoints

  def save(self) -> None:
    """Writes a checkpoint of the trainer's state at its step."""
    if self._claim is not None:
      self._claim.check()
    self._state.save(self._loss)

  def resume(self) -> int:
    """Restores the newest checkpoint, or the one to go back to; see `JobState.resume`."""
    return self._state.resume()

  def restore_best(self) -> str:
    """Restores the best checkpoint, or the newest; see `JobState.restore_best`."""
    return self._state.restore_best()

  # ---- evaluation

  def evaluate(self, eval_input: Input, progress: Progress | None = None) -> dict[str, float]:
    """Evaluates the current step, archives its checkpoint if it is the best, logs the results.

    Args:
      eval_input: needs `eval_dataset` and `explain` only.
      progress: a progress bar of the training, to print the results above it.

    Returns:
      {metric: value}, with the metrics of the job's evaluators.

    Raises:
      ValueError: two sources give the same metric, or none gives the objective.
      cli.Interrupted: SIGTERM or Ctrl-C arrived during `train` or `follow`; nothing is logged.
    """
    bar = self._batch_progress(eval_input, 'eval')

    def update(done):
      bar.update(done)
      if self._stop.requested and not self._workers.several:  # Several end their batches together.
        self._end_early()

    with _explained(eval_input), bar:
      results = self.trainer.evaluate(eval_input.eval_dataset, update)
      for name, evaluator in self._evaluators.items():
        results = metrics.merged(results, evaluator(self.trainer, eval_input), f'evaluator {name}')
    gc.collect()  # Data sets of past evaluations are in reference cycles: 5 MB each, or much more.
    step = self.trainer.step
    text = ', '.join(f'{name} {value:.4f}' for name, value in results.items())
    (progress or bar).say(f'Evaluation at step {step}: {text}')
    if self.config.archive_ckpt and self._workers.is_chief:
      self._archive.archive(step, self._objective_of(results), results)
    # A result without its checkpoint would never be computed again.
    self.checkpoints.wait()
    if self._workers.is_chief:
      self._summaries.write(self._history.folder, results, step)
      # Last of all: steps in the history are not evaluated again, even if the job is killed here.
      self._history.add(step, results)
    return results

  def _batch_progress(self, eval_input, activity):
    """Returns the progress of batches: of how many, unless each host has its own number."""
    alone = not self._workers.several
    total = getattr(eval_input, 'num_eval_batches', None) if alone else None
    return Progress(total, activity, unit='batch', always_ends=False)

  def _objective_of(self, results):
    if self._objective not in results:
      raise ValueError(
        f'the evaluation has no metric {self._objective!r}, needed to choose the best checkpoint; '
        f'it has {", ".join(results)}.'
      )
    return results[self._objective]

  def predict(self, eval_input: Input, path: str, records: Callable | None = None) -> int:
    """Writes predictions for the evaluation split as JSON lines; leaves no partial file.

    Args:
      eval_input: needs `eval_dataset` and `explain` only.
      path: the file to write, with an object per example in the order of the data set.
      records: function({name: [rows, ...]}) -> the objects; None for one with the names as keys.

    Returns:
      The number of examples.

    Raises:
      ValueError: the task has no predictions.
      OSError: the file cannot be written.
    """
    bar = self._batch_progress(eval_input, 'predict')
    with _explained(eval_input), bar:
      rows = self.trainer.predict(eval_input.eval_dataset, bar.update)
    if records is None:
      objects = [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]
    else:
      objects = records(rows)
    lines = [json.dumps(each, default=_plain) for each in objects]
    if self._workers.is_chief:
      files.write_text(path, ''.join(f'{line}\n' for line in lines))
    return len(lines)

  def follow(self, eval_input: Input) -> None:
    """Evaluates the newest checkpoint of model_dir again and again (mode=eval).

    It ends with the checkpoint of train_steps, or after eval_timeout without a new one. Checkpoints
    with results in the history are left out.

    Args:
      eval_input: needs `eval_dataset` and `explain` only.

    Raises:
      cli.Interrupted: SIGTERM or Ctrl-C arrived.
      CheckpointError: a checkpoint is damaged or of another network.
    """
    with interruption.Interruption() as self._stop:
      self._follow(eval_input)

  def _follow(self, eval_input):
    seen, waited_since = -1, None
    while seen < self.config.train_steps:
      new = [step for step in self.checkpoints.steps() if step > seen]
      if new:
        seen = new[-1]
        if seen in self._history.steps():
          print(f'Step {seen} is not evaluated again; its results are in {self._history.path}.')
        else:
          self._evaluate_file(seen, eval_input)
        waited_since = None
        continue
      if self._stop.requested:
        raise cli.Interrupted(
          f'Stopped by {self._stop.name} while waiting for a checkpoint. Run the same command to '
          'resume.'
        )
      if waited_since is None:
        waited_since = time.monotonic()
        print(f'Waiting for a new checkpoint in {self.config.model_dir} ...', flush=True)
      waited = time.monotonic() - waited_since
      if self.config.eval_timeout is not None and waited > self.config.eval_timeout:
        print(f'No new checkpoint in {self.config.model_dir} for {waited:.0f} s: evaluation ends.')
        return
      time.sleep(_POLL_SECONDS)

  def _evaluate_file(self, step, eval_input):
    try:
      self._state.restore(self.checkpoints.prefix(step))
    except checkpoints.CheckpointError as e:
      if step in self.checkpoints.steps():
        raise
      print(f'Skipped the checkpoint of step {step}, already deleted. {e}', file=sys.stderr)
      return
    self.evaluate(eval_input)

  def _evaluate_once(self, eval_input, progress=None):
    """Evaluates the current step unless its results are already in the history."""
    if self._workers.any(self.trainer.step in self._history.steps()):
      return
    self.evaluate(eval_input, progress)


def prepare_model_dir(model_dir: str) -> None:
  """Creates the folder and tests that files can be written, before time is spent on training.

  Raises:
    OSError: the folder cannot be created or written.
  """
  probe = os.path.join(model_dir, '.writable')
  try:
    tf.io.gfile.makedirs(model_dir)
    with tf.io.gfile.GFile(probe, 'w') as f:
      f.write('')
    tf.io.gfile.remove(probe)
  except tf.errors.OpError as e:
    raise OSError(f'--model_dir={model_dir} cannot be written: {e.message}') from e


@contextlib.contextmanager
def _explained(source):
  """Converts TensorFlow's errors into one line; `source.explain` adds the file and the record."""
  try:
    yield
  except tf.errors.UnavailableError as e:
    raise ConnectionError(
      'a machine of the job does not answer any more. Start all workers again: they resume from '
      f'the newest checkpoint. ({first_line(e, marked="aborted by")})'
    ) from e
  except tf.errors.OpError as e:
    cause = source.explain(e)
    if cause is None:
      raise
    raise cause from e


def _plain(value):
  """Converts values that `json` does not know: numpy values, and text as bytes."""
  return value.decode() if isinstance(value, bytes) else value.tolist()
