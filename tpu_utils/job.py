"""The job that every training script runs: builds devices, input, model, trainer; runs a mode."""
import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import keras
import tensorflow as tf

from tpu_utils import curves, distribute, export, file_systems, files
from tpu_utils.command_line.settings import as_flags
from tpu_utils.config import HardwareConfig, JobConfig
from tpu_utils.errors import one_line
from tpu_utils.preflight import checks, compiling
from tpu_utils.runner import Input, Runner
from tpu_utils.trainer import Trainer

_MOST_EPOCHS, _FITTING_EPOCHS = 1000, 100  # Refused unless asked for; suggested instead.


@dataclasses.dataclass(frozen=True)
class Batches:
  """Sizes of a job's batches.

  Attributes:
    train: examples per training batch, over all replicas.
    eval: examples per evaluation batch, over all replicas.
    accumulation_steps: parts into which each replica splits its training batch.
    num_train_examples: examples per epoch; None for the input's own number.
  """

  train: int
  eval: int
  accumulation_steps: int = 1
  num_train_examples: int | None = None


class Reporter(Protocol):
  """What reports on a job."""

  def started(self, runner: Runner) -> None:
    """Called on the chief when training starts, in a model_dir that is the job's own."""

  def collect(self, runner: Runner) -> None:
    """Called on every worker after the mode."""

  def write(self) -> None:
    """Called on the chief after `collect` and the export."""


@dataclasses.dataclass(frozen=True)
class Job:
  """Settings and functions from which `run` creates and runs a job.

  Attributes:
    settings: mode, number of steps, and output folders.
    hardware: devices to run on.
    batches: sizes of the batches.
    identity: JSON-able {flag: value} that define the network; a model_dir with other values is
      refused.
    run_info: JSON-able dict for run.json.
    run_files: {name: JSON-able content} of further files to keep in model_dir, for readers of its
      checkpoints.
    unit: plural noun for examples, for messages and summaries ('images').
    objective: metric that selects the best checkpoint; larger is better.
    open_input: function() -> `Input`.
    build_model: function(dtype_policy) -> keras.Model with its initial weights; called in the
      strategy's scope.
    make_trainer: function(strategy, model, input) -> `Trainer`.
    export: function(model, folder); writes the model with its moving averages.
    evaluators: {name: function(trainer, input) -> {metric: float}}, called on every worker after
      the plain evaluation, for metrics that are not means over batches. They are added to its
      results; one of them may be the objective.
    divergence_hint: a sentence that advises the user when the loss is not finite.
    curves: metrics to draw into curves.png after training, one sequence per panel.
    predicts: whether the trainer's task has `predict`; otherwise --mode=predict is refused.
    initial_weights: checkpoint that `build_model` loads completely; it is evaluated or predicted
      with if model_dir holds no checkpoint. None: that is an error.
    records: function(input, {name: [rows, ...]}) -> JSON-able dicts to write as predictions, one
      for each row; None writes the columns of the rows.
    predictor: function(trainer, input, name of the checkpoint) to call with mode=predict in place
      of writing rows, for predictions that do not fit into memory; None for rows.
    reporter: follows the job and ends it with a report; None for no report.
  """

  settings: JobConfig
  hardware: HardwareConfig
  batches: Batches
  identity: Mapping[str, object]
  run_info: Mapping[str, object]
  unit: str
  objective: str
  open_input: Callable[[], Input]
  build_model: Callable[[str | None], keras.Model]
  make_trainer: Callable[[tf.distribute.Strategy, keras.Model, Input], Trainer]
  export: Callable[[keras.Model, str], None]
  evaluators: Mapping[str, Callable] = dataclasses.field(default_factory=dict)
  run_files: Mapping[str, object] = dataclasses.field(default_factory=dict)
  divergence_hint: str = ''
  curves: Sequence[Sequence[str]] = ()
  predicts: bool = True
  initial_weights: str | None = None
  records: Callable | None = None
  predictor: Callable | None = None
  reporter: Reporter | None = None

  @property
  def trains(self) -> bool:
    """Whether the job's mode trains."""
    return self.settings.mode in ('train', 'train_and_eval')


def run(job: Job) -> None:
  """Runs the job in the mode `job.settings.mode`, then exports if `export_dir` is set.

  Raises:
    ValueError: settings contradict each other, the devices or the data.
    OSError: a file cannot be read or written.
    cli.Interrupted: SIGTERM or Ctrl-C arrived; the state is saved.
  """
  settings = job.settings
  mode = MODES[settings.mode]
  if settings.mode == 'preflight':
    preflight(job)
    return
  if settings.mode == 'predict' and not job.predicts:
    raise ValueError(
      f'--mode=predict: the task of this job makes no predictions (it measures {job.objective}); '
      'choose another mode.'
    )
  strategy = create_strategy(job.hardware, training=job.trains)
  check_batches(strategy.num_replicas_in_sync, job.batches, job.unit)
  if settings.export_dir and distribute.is_chief(strategy):
    check_export_dir(settings.export_dir)
  source = job.open_input()
  keras.utils.set_random_seed(settings.seed)
  with strategy.scope():
    model = job.build_model(job.hardware.dtype_policy)
  print(f'{model.name}: {model.count_params():,} parameters')
  trainer = job.make_trainer(strategy, model, source)
  examples = job.batches.num_train_examples or source.num_train_examples
  runner = Runner(
    trainer,
    settings,
    job.identity,
    batch_size=job.batches.train,
    examples_per_epoch=examples,
    unit=job.unit,
    objective=job.objective,
    divergence_hint=job.divergence_hint,
    evaluators=job.evaluators,
    run_info={'strategy': distribute.describe(strategy), **job.run_info},
    run_files=job.run_files,
    on_start=None if job.reporter is None else job.reporter.started,
  )
  mode(job, runner, source)
  if job.reporter is not None:
    job.reporter.collect(runner)
  if settings.export_dir and distribute.is_chief(strategy):
    _export_best(job, runner)
  if job.reporter is not None and distribute.is_chief(strategy):
    job.reporter.write()


def _train(job, runner, source):
  runner.train(source)
  _draw_curves(job, runner)


def _train_and_eval(job, runner, source):
  runner.train(source, source)
  _draw_curves(job, runner)


def _eval(job, runner, source):
  if job.initial_weights and not _has_checkpoint(runner):
    print(f'Weights of {job.initial_weights}, as --model_dir holds no checkpoint.')
    runner.evaluate(source)
  else:
    runner.follow(source)


def _predict(job, runner, source):
  """Writes predictions of the best checkpoint, or of the newest if none is archived."""
  if job.initial_weights and not _has_checkpoint(runner):
    name = job.initial_weights
  else:
    name = runner.restore_best()
  if job.predictor is not None:
    job.predictor(runner.trainer, source, name)
    return
  path = job.settings.predict_file or os.path.join(job.settings.model_dir, 'predict.jsonl')
  records = job.records and functools.partial(job.records, source)
  count = runner.predict(source, path, records)
  print(f'Predictions of {name} for {count} {job.unit}: {path}')


def _has_checkpoint(runner):
  return bool(runner.checkpoints.steps()) or runner.checkpoints.best() is not None


def _export(job, runner, source):
  """Does nothing: `run` exports at the end of every mode."""
  del job, runner, source


def preflight(job: Job) -> None:
  """Compiles the steps of the job for `job.hardware.topology`, with no TPU, and reports.

  Raises:
    ValueError: jax or libtpu is missing, a batch does not divide, a step does not compile or fit.
    OSError: the report cannot be written.
  """
  hardware, batches = job.hardware, job.batches
  compiler = compiling.TpuCompiler(
    hardware.topology, hardware.preflight_cache, hardware.preflight_python
  )
  check_batches(compiler.topology.cores, batches, job.unit)
  source = job.open_input()
  keras.utils.set_random_seed(job.settings.seed)
  trainer = checks.open_trainer(
    compiler,
    lambda: job.build_model(hardware.dtype_policy),
    lambda strategy, model: job.make_trainer(strategy, model, source),
  )
  found = checks.Preflight(compiler, trainer, source, batches.train, batches.eval, job.unit)
  found.run(job.settings.model_dir, hardware.find_batch_size)


# {mode: function(job, runner, input)}, called with the runner of a complete trainer.
MODES: Mapping[str, Callable] = {
  'train': _train,
  'eval': _eval,
  'train_and_eval': _train_and_eval,
  'predict': _predict,
  'export': _export,
  'preflight': preflight,  # Called with the job alone: it needs no runner.
}


def _draw_curves(job, runner):
  if job.curves and distribute.is_chief(runner.trainer.strategy):
    picture = os.path.join(job.settings.model_dir, 'curves.png')
    try:
      curves.draw(job.settings.model_dir, job.curves, picture)
    except OSError as e:  # No reason not to export.
      print(f'No curves: {one_line(e)}', file=sys.stderr)
    else:
      print(f'Curves: {picture}')


def _export_best(job, runner):
  """Exports the best checkpoint of the model_dir, or the newest if none is archived."""
  name = runner.restore_best()
  with runner.trainer.averaged_weights() as model:
    job.export(model, job.settings.export_dir)
  print(f'Exported {name} to {job.settings.export_dir}.')


def check_export_dir(folder: str) -> None:
  """Checks that a model can be exported to a folder, before time is spent on training.

  Raises:
    ValueError: the folder holds something else.
    OSError: it cannot be written.
  """
  files.check_replaceable(folder, export.EXPORT_INFO_FILE)
  if file_systems.is_remote(folder):
    probe = os.path.join(folder, '.probe.writing')
    try:
      files.write_bytes(probe, b'', parents=True)
      files.remove(probe)
    except OSError as e:
      raise OSError(f'--export_dir={folder}: {one_line(e)}') from e
    return
  place = folder
  while not files.exists(place):
    place = os.path.dirname(place.rstrip('/')) or '.'
  if not files.is_folder(place) or not os.access(place, os.W_OK):
    raise OSError(f'--export_dir={folder}: {place} is no folder that you may write to.')


def create_strategy(hardware: HardwareConfig, *, training: bool) -> tf.distribute.Strategy:
  """Creates the distribution strategy of the settings and prints it.

  Call it before any TensorFlow operation.

  Args:
    hardware: devices to run on.
    training: whether the job trains; evaluation and export run in a single process.

  Raises:
    ValueError: the strategy cannot be used.
  """
  strategy = distribute.create_strategy(
    hardware.strategy,
    use_tpu=hardware.use_tpu,
    tpu=hardware.tpu,
    tpu_zone=hardware.tpu_zone,
    gcp_project=hardware.gcp_project,
    tpu_job_name=hardware.tpu_job_name,
    several_workers=training,
  )
  print(distribute.describe(strategy))
  return strategy


def check_length(
  name: str,
  examples: int,
  batch_size: int,
  train_steps: int,
  *,
  given: Collection[str],
  unit: str = 'training examples',
) -> None:
  """Checks that the batch and the number of steps suit the training set, unless the user gave them.

  Recipes and defaults are made for large data sets.

  Args:
    name: of the data set, for the message.
    examples: its size.
    batch_size: --train_batch_size.
    train_steps: --train_steps.
    given: names of the flags that the user gave.
    unit: plural noun for the examples, for the message.

  Raises:
    ValueError: the batch is larger than the training set, or training takes over 1000 epochs.
  """
  wrong = {}
  fitting_batch = batch_size
  if batch_size > examples and 'train_batch_size' not in given:
    wrong['train_batch_size'] = batch_size
    fitting_batch = 2 ** (max(1, examples // 4).bit_length() - 1)  # At least 4 steps per epoch.
  epochs = train_steps * batch_size / examples
  if epochs > _MOST_EPOCHS and 'train_steps' not in given:
    wrong['train_steps'] = train_steps
  if not wrong:
    return
  fitting = {'train_batch_size': fitting_batch} if 'train_batch_size' in wrong else {}
  if 'train_steps' not in given:
    fitting['train_steps'] = -(-_FITTING_EPOCHS * examples // fitting_batch)
  raise ValueError(
    f'{name} has {examples} {unit}, and {as_flags(wrong)}, not given by you, would train for '
    f'{epochs:,.0f} epochs in batches of {batch_size}. Give numbers that fit, such as '
    f'{as_flags(fitting)}, or these ones if you mean them.'
  )


def check_batches(replicas: int, batches: Batches, unit: str = 'images') -> None:
  """Checks that batches divide evenly among replicas, and into accumulation steps.

  Args:
    replicas: number of replicas.
    batches: sizes of the batches.
    unit: plural noun for examples, for the message.

  Raises:
    ValueError: a batch does not divide evenly.
  """
  for flag, size in (('train', batches.train), ('eval', batches.eval)):
    if size % replicas:
      raise ValueError(
        f'--{flag}_batch_size={size} does not divide among {replicas} replicas; '
        f'take {size - size % replicas or replicas} or {size + replicas - size % replicas}.'
      )
  per_replica = batches.train // replicas
  if per_replica % batches.accumulation_steps:
    raise ValueError(
      f'--gradient_accumulation_steps={batches.accumulation_steps} does not divide the '
      f'{per_replica} {unit} that each replica gets of --train_batch_size={batches.train}.'
    )
