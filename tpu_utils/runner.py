"""A job around the trainer: resume, train, evaluate, checkpoint, follow; progress and summaries."""
import contextlib
import datetime
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from tpu_utils import checkpoints, distribute, metrics
from tpu_utils.command_line import cli, interruption
from tpu_utils.command_line.progress import Progress
from tpu_utils.trainer import NonFiniteLossError, Trainer

_LOOP_SECONDS = 2.0  # The device returns to the host about this often, for progress and signals.
_POLL_SECONDS = 2.0  # mode=eval looks for a new checkpoint this often.


class Runner:
  """Runs a `Trainer` in a model_dir.

  Args:
    trainer: the `Trainer`, at step 0.
    config: a `JobConfig`, with `model_dir` set.
    identity: JSON-able dict of what the model is; a model_dir of another identity is refused.
    batch_size: global training batch size, for the speed.
    steps_per_epoch: for the summaries' current_epoch.
    unit: what batches hold, for the speed.
    objective: the metric that the best checkpoint is best in; the larger the better.
    divergence_hint: what the user may do when the loss is not finite.
    evaluators: see `job.Job`.
    run_info: JSON-able dict for run.json; None for no such file.
  """

  def __init__(
    self,
    trainer: Trainer,
    config,
    identity: Mapping,
    *,
    batch_size: int,
    steps_per_epoch: float,
    unit: str,
    objective: str,
    divergence_hint: str = '',
    evaluators: Mapping[str, Callable] | None = None,
    run_info: Mapping | None = None,
  ):
    self.trainer = trainer
    self.config = config
    self.identity = identity
    self._batch_size = batch_size
    self._steps_per_epoch = steps_per_epoch
    self._unit = unit
    self._objective = objective
    self._divergence_hint = divergence_hint
    self._evaluators = evaluators or {}
    self._run_info = run_info
    self._workers = distribute.Workers(trainer.strategy)
    self._writers = {}
    follows = config.mode in ('eval', 'predict', 'export')
    self.checkpoints = checkpoints.CheckpointManager(
      config.model_dir,
      config.keep_checkpoint_max,
      writes=self._workers.is_chief and not follows,
      asynchronous=config.use_async_checkpointing,
    )
    # mode=eval follows another's model_dir, yet the archive is the evaluator's to keep.
    follower = config.mode == 'eval'
    self._archive = checkpoints.CheckpointManager(config.model_dir) if follower else self.checkpoints

  # ---- training

  def train(self, train_input, eval_input=None):
    """Trains to `train_steps`, from the newest checkpoint if there is one.

    Args:
      train_input: has `train_dataset(input_context, start_step)` and `explain(error)`.
      eval_input: has `eval_dataset(input_context)` and `explain(error)`; given, it is evaluated every
        `steps_per_eval`.

    Raises:
      cli.Interrupted: SIGTERM came; the state is saved.
      NonFiniteLossError: training diverged; earlier checkpoints are untouched.
      ConnectionError: another worker of the job is gone.
    """
    if self._workers.is_chief:
      prepare_model_dir(self.config.model_dir)
    self.resume()
    if self._workers.is_chief and self._run_info is not None:
      write_run_info(self.config.model_dir, self._run_info)  # Only now: a refused job did not run here.
    trainer, last = self.trainer, self.config.train_steps
    if eval_input is not None and self._due(trainer.step, self.config.steps_per_eval):
      self._evaluate_once(eval_input)  # The job was stopped between a checkpoint and its evaluation.
    if trainer.step >= last:
      print(f'{self.config.model_dir} is at step {trainer.step}: nothing left to train.')
      return
    writer = self._writer('') if not self.config.skip_host_call else None
    iterator = trainer.train_iterator(lambda context: train_input.train_dataset(context, trainer.step))
    bar = Progress(
      last, 'train', initial=trainer.step, line_every=self.config.log_step_count_steps
    )
    with _explained(train_input), interruption.Interruption() as stop, bar as progress:
      progress.say('Tracing and compiling the first step ...')
      loop = 1
      while trainer.step < last:
        loop = self._train_loop(iterator, loop, writer, progress)
        stopping = self._workers.any(stop.requested)  # All stop, or the others would wait.
        evaluating = eval_input is not None and self._due(trainer.step, self.config.steps_per_eval)
        # What is evaluated is saved, too: it may be the best, or the last before a stop.
        if stopping or evaluating or self._due(trainer.step, self._save_steps()):
          self.save()
        if stopping:
          self.checkpoints.wait()
          raise cli.Interrupted(
            f'Stopped by SIGTERM at step {trainer.step}; saved. The same command goes on from there.'
          )
        if evaluating:
          self._evaluate_once(eval_input, progress)
    self.checkpoints.wait()

  def _train_loop(self, iterator, loop, writer, progress):
    """Runs up to `loop` steps, not past a boundary; returns how many to run next time."""
    trainer = self.trainer
    steps = min(loop, self._to_boundary(trainer.step))
    start = time.monotonic()
    try:
      logs = trainer.train(iterator, steps)
    except NonFiniteLossError as e:
      newest = self.checkpoints.steps()[-1:]
      kept = f'step {newest[0]} is kept in {self.config.model_dir}' if newest else 'nothing was saved yet'
      raise NonFiniteLossError(
        f'{e} Training stopped; {kept}. {self._divergence_hint}'.rstrip()
      ) from e
    seconds = time.monotonic() - start
    speed = steps * self._batch_size / seconds
    unit, objective = self._unit, self._objective
    logs |= {
      f'{unit}_per_second': speed, 'current_epoch': trainer.step / self._steps_per_epoch
    }
    accuracy = {objective: logs[objective]} if objective in logs else {}
    progress.update(trainer.step, loss=logs['loss'], **accuracy, **{f'{unit}/s': speed})
    if writer is not None:
      _write_scalars(writer, logs, trainer.step)
    if self._workers.several:
      return self.config.iterations_per_loop  # They must return to the host at the same steps.
    return max(1, min(self.config.iterations_per_loop, int(steps * _LOOP_SECONDS / seconds)))

  def _to_boundary(self, step):
    """Steps until the job must do something besides training."""
    marks = [self.config.steps_per_eval, self._save_steps(), self.config.train_steps]
    return min(mark - step % mark for mark in marks if step < self.config.train_steps)

  def _save_steps(self):
    return self.config.save_checkpoints_steps or max(100, self.config.iterations_per_loop)

  def _due(self, step, every):
    return step > 0 and (step % every == 0 or step >= self.config.train_steps)

  # ---- checkpoints

  def save(self):
    """Writes a checkpoint of the trainer's state at its step."""
    self.trainer.synchronize()
    metadata = {**self.identity, 'step': self.trainer.step, 'versions': versions()}
    self.checkpoints.save(self.trainer.step, self.trainer.variables(), metadata)

  def resume(self):
    """Restores the newest whole checkpoint, if there is one; returns the step."""
    newest = self.checkpoints.restore_newest()
    if newest is not None:
      step, values, metadata = newest
      self._check_identity(metadata)
      checkpoints.assign(
        self.trainer.variables(), values, self.checkpoints.prefix(step), exact=True
      )
      self.trainer.restored(step)
      print(f'Going on from step {step} of {self.config.model_dir}.')
    steps = self._workers.gather(self.trainer.step)
    if len(set(steps)) > 1:
      raise checkpoints.CheckpointError(
        f'--model_dir={self.config.model_dir} must be one folder that all workers share; they find '
        f'checkpoints of different steps in it: {steps}.'
      )
    return self.trainer.step

  def restore(self, prefix):
    """Restores the weights (and moving averages), all that evaluation needs, from one checkpoint."""
    values, metadata = checkpoints.read(prefix)
    self._check_identity(metadata)
    wanted = {k: v for k, v in self.trainer.variables().items() if k.startswith(('model/', 'ema/'))}
    checkpoints.assign(wanted, values, prefix)
    self.trainer.restored(metadata['step'])

  def restore_best(self):
    """Restores the weights of the best checkpoint, or of the newest if none is archived; its name."""
    prefix = self.checkpoints.best()
    if prefix is None:
      steps = self.checkpoints.steps()
      if not steps:
        raise ValueError(f'--model_dir={self.config.model_dir} holds no checkpoint.')
      prefix = self.checkpoints.prefix(steps[-1])
    self.restore(prefix)
    return os.path.basename(prefix)

  def _check_identity(self, found):
    for key, expected in self.identity.items():
      if found.get(key, expected) != expected:
        raise checkpoints.CheckpointError(
          f'--model_dir={self.config.model_dir} holds another model: its {key} is '
          f'{found[key]!r}, not {expected!r}. Give the flags it was trained with, or another --model_dir.'
        )

  # ---- evaluation

  def evaluate(self, eval_input, progress=None):
    """Evaluates the checkpoint of this step, archives it if it is the best, and notes the results.

    Raises:
      ValueError: two sources give the same metric, or none gives the objective.
    """
    bar = Progress(getattr(eval_input, 'num_eval_batches', None), 'eval', unit='batch')
    with _explained(eval_input), bar:
      results = self.trainer.evaluate(eval_input.eval_dataset, bar.update)
      for name, evaluator in self._evaluators.items():
        results = metrics.merged(results, evaluator(self.trainer, eval_input), f'evaluator {name}')
    step = self.trainer.step
    text = ', '.join(f'{name} {value:.4f}' for name, value in results.items())
    (progress or bar).say(f'Evaluation at step {step}: {text}')
    if self.config.archive_ckpt and self._workers.is_chief:
      self._archive.archive(step, self._objective_of(results), results)
    if self._workers.is_chief:
      _write_scalars(self._writer(self._eval_folder()), results, step)
      # Last of all: what the history names is not evaluated again after a kill.
      lines = [*self._history_lines(), json.dumps({'step': step, **results})]
      checkpoints.write_text(self._history(), '\n'.join(lines) + '\n')
    return results

  def _objective_of(self, results):
    if self._objective not in results:
      raise ValueError(
        f'the evaluation has no metric {self._objective!r}, which the best checkpoint is chosen by; '
        f'it has {", ".join(results)}.'
      )
    return results[self._objective]

  def predict(self, eval_input, path: str) -> int:
    """Writes the predictions of the evaluation split as JSON lines, whole or not at all.

    Args:
      eval_input: has `eval_dataset(input_context)` and `explain(error)`.
      path: the file to write; an object for each example, in the order of the data set.

    Returns:
      The number of examples.
    """
    bar = Progress(getattr(eval_input, 'num_eval_batches', None), 'predict', unit='batch')
    with _explained(eval_input), bar:
      rows = self.trainer.predict(eval_input.eval_dataset, bar.update)
    lines = [
      json.dumps(dict(zip(rows, row, strict=True)), default=_plain)
      for row in zip(*rows.values(), strict=True)
    ]
    if self._workers.is_chief:
      checkpoints.write_text(path, ''.join(f'{line}\n' for line in lines))
    return len(lines)

  def follow(self, eval_input):
    """mode=eval: evaluates each checkpoint as it appears, until train_steps or eval_timeout."""
    seen, waited_since = -1, None
    while seen < self.config.train_steps:
      new = [step for step in self.checkpoints.steps() if step > seen]
      if new:
        seen = new[-1]
        self._evaluate_file(seen, eval_input)
        waited_since = None
        continue
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
      self.restore(self.checkpoints.prefix(step))
    except checkpoints.CheckpointError as e:
      if step in self.checkpoints.steps():
        raise
      print(f'Checkpoint of step {step} is gone already: passed over. {e}', file=sys.stderr)
      return
    self.evaluate(eval_input)

  def _evaluate_once(self, eval_input, progress=None):
    """Evaluates the current step unless its results are already in the history."""
    if self._workers.any(self.trainer.step in self._evaluated_steps()):
      return
    self.evaluate(eval_input, progress)

  def _evaluated_steps(self):
    return {json.loads(line)['step'] for line in self._history_lines()}

  def _history_lines(self):
    return history_lines(self._history())

  def _eval_folder(self):
    return f'eval_{self.config.eval_name}' if self.config.eval_name else 'eval'

  def _history(self):
    return history_path(self.config.model_dir, self._eval_folder())

  # ---- output

  def _writer(self, folder):
    """The summary writer of a sub-folder, one for the whole job; None where others write."""
    if self._workers.is_chief and folder not in self._writers:
      path = os.path.join(self.config.model_dir, folder)
      self._writers[folder] = tf.summary.create_file_writer(path)
    return self._writers.get(folder)


def history_path(model_dir, eval_folder='eval'):
  """The file with a JSON object for each evaluation of a job: its step, losses and metrics."""
  return os.path.join(model_dir, eval_folder, 'results.jsonl')


def history_lines(path):
  """The whole lines of a file of JSON objects; none if there is no such file."""
  if not tf.io.gfile.exists(path):
    return []
  with tf.io.gfile.GFile(path) as f:
    return [line for line in f.read().splitlines() if line.endswith('}')]


def prepare_model_dir(model_dir):
  """Makes the folder and writes into it, to find out now and not at the first checkpoint.

  Raises:
    OSError: it cannot be made or written.
  """
  probe = os.path.join(model_dir, '.writable')
  try:
    tf.io.gfile.makedirs(model_dir)
    with tf.io.gfile.GFile(probe, 'w') as f:
      f.write('')
    tf.io.gfile.remove(probe)
  except tf.errors.OpError as e:
    raise OSError(f'--model_dir={model_dir} cannot be written: {e.message}') from e


def versions():
  """Versions of what ran, for checkpoints and the record of the run."""
  return {'tensorflow': tf.__version__, 'keras': keras.__version__, 'python': platform.python_version()}


def write_run_info(model_dir, run_info):
  """Adds a start of the job to `run.json`: what ran, with which flags, parameters, versions."""
  path = os.path.join(model_dir, 'run.json')
  starts = []
  if tf.io.gfile.exists(path):
    with tf.io.gfile.GFile(path) as f:
      starts = json.load(f)['starts']
  now = datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
  starts.append({'time': now, 'argv': sys.argv, 'versions': versions(), **run_info})
  checkpoints.write_text(path, json.dumps({'starts': starts}, indent=2) + '\n')


@contextlib.contextmanager
def _explained(images):
  """Turns an error from deep inside the graph into one for people; the input's names file and record."""
  try:
    yield
  except tf.errors.UnavailableError as e:
    raise ConnectionError(
      'a machine of the job does not answer any more. Start all workers again: they go on from the '
      f'newest checkpoint. ({_cause(e)})'
    ) from e
  except tf.errors.OpError as e:
    cause = images.explain(e)
    if cause is None:
      raise
    raise cause from e


def _cause(error):
  """The line of a graph's error that says what happened, without the traceback of the graph."""
  lines = [line for line in error.message.splitlines() if line and not line[0].isspace()]
  return next((line for line in lines if 'aborted by' in line), lines[0])


def _plain(value):
  """Converts what JSON lacks: numpy values and text as TensorFlow has it."""
  return value.decode() if isinstance(value, bytes) else value.tolist()


def _write_scalars(writer, numbers, step):
  if writer is None:
    return
  with writer.as_default():
    for name, value in numbers.items():
      tf.summary.scalar(name, value, step=step)
  writer.flush()
