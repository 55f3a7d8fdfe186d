"""A job, written once: devices, input, model and trainer brought together, and what each mode does."""
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import keras
import tensorflow as tf

from tpu_utils import curves, distribute
from tpu_utils.config import HardwareConfig, JobConfig
from tpu_utils.runner import Runner
from tpu_utils.trainer import Trainer


class Input(Protocol):
  """What a job reads.

  Attributes:
    num_train_examples: examples in an epoch of training, over all hosts; see also `Batches`.
  """

  num_train_examples: int

  def train_dataset(self, context: tf.distribute.InputContext, start_step: int) -> tf.data.Dataset:
    """Returns the endless stream of one replica's batches, from the step `start_step` on."""

  def eval_dataset(self, context: tf.distribute.InputContext) -> tf.data.Dataset:
    """Returns each evaluation example once, with 'weights' (0 for rows that only fill up a batch)."""

  def explain(self, error: tf.errors.OpError) -> ValueError | None:
    """Returns an error of one line that names the file and the record behind `error`, if it can."""


@dataclasses.dataclass(frozen=True)
class Batches:
  """Sizes of a job's batches.

  Attributes:
    train: examples of a training batch, over all replicas.
    eval: of an evaluation batch, over all replicas.
    accumulation_steps: parts that each replica's training batch is split into.
    num_train_examples: of an epoch; None for the input's own number.
  """

  train: int
  eval: int
  accumulation_steps: int = 1
  num_train_examples: int | None = None


@dataclasses.dataclass(frozen=True)
class Job:
  """All that `run` needs to know.

  Attributes:
    settings: what it does, how long, and where it writes.
    hardware: where it runs.
    batches: sizes of the batches.
    identity: JSON-able {flag: value} that make the model what it is; a model_dir of another one is
      refused.
    run_info: JSON-able dict for run.json.
    unit: what batches hold ('images').
    objective: the metric that the best checkpoint is best in; the larger the better.
    open_input: function() -> `Input`.
    build_model: function(dtype_policy) -> keras.Model with the weights to start from; called in the
      strategy's scope.
    make_trainer: function(strategy, model, input) -> `Trainer`.
    export: function(model, folder); writes the model with its moving averages.
    evaluators: {name: function(trainer, input) -> {metric: float}}, called on every worker after the
      plain evaluation, for what means of batches cannot say. Their metrics join its results; one of
      them may be the objective.
    divergence_hint: a sentence on what to do when the loss is not finite.
    curves: metrics to draw into curves.png after training, a sequence for each panel.
    expected_replicas: refuse a strategy with another number of replicas; None for any.
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
  divergence_hint: str = ''
  curves: Sequence[Sequence[str]] = ()
  expected_replicas: int | None = None

  @property
  def trains(self) -> bool:
    """Whether its mode trains."""
    return self.settings.mode in ('train', 'train_and_eval')


def run(job: Job) -> None:
  """Does what `job.settings.mode` says, and exports if `export_dir` is set.

  Raises:
    ValueError: settings that do not fit each other, the devices or the data.
    OSError: files that cannot be read or written.
    cli.Interrupted: SIGTERM came; the state is saved.
  """
  settings = job.settings
  mode = MODES[settings.mode]
  if settings.mode == 'export' and not settings.export_dir:
    raise ValueError('--mode=export needs --export_dir, the folder to write to.')
  strategy = create_strategy(
    job.hardware, training=job.trains, expected_replicas=job.expected_replicas
  )
  check_batches(strategy.num_replicas_in_sync, job.batches, job.unit)
  source = job.open_input()
  keras.utils.set_random_seed(settings.seed)
  with strategy.scope():
    model = job.build_model('mixed_bfloat16' if job.hardware.use_bfloat16 else None)
  print(f'{model.name}: {model.count_params():,} parameters')
  trainer = job.make_trainer(strategy, model, source)
  examples = job.batches.num_train_examples or source.num_train_examples
  runner = Runner(
    trainer,
    settings,
    job.identity,
    batch_size=job.batches.train,
    steps_per_epoch=examples / job.batches.train,
    unit=job.unit,
    objective=job.objective,
    divergence_hint=job.divergence_hint,
    evaluators=job.evaluators,
    run_info={'strategy': distribute.describe(strategy), **job.run_info},
  )
  mode(job, runner, source)
  if settings.export_dir and distribute.is_chief(strategy):
    _export_best(job, runner)


def _train(job, runner, source):
  runner.train(source)
  _draw_curves(job, runner)


def _train_and_eval(job, runner, source):
  runner.train(source, source)
  _draw_curves(job, runner)


def _eval(job, runner, source):
  del job
  runner.follow(source)


def _predict(job, runner, source):
  """Writes the best checkpoint's predictions, or the newest's if none is archived."""
  if runner.trainer.task.predict is None:
    raise ValueError(
      f'--mode=predict: the task of this job makes no predictions (it measures {job.objective}); '
      'choose another mode. Predictions of image classifiers come from eval_ckpt_main.'
    )
  name = runner.restore_best()
  path = job.settings.predict_file or os.path.join(job.settings.model_dir, 'predict.jsonl')
  count = runner.predict(source, path)
  print(f'Predictions of {name} for {count} {job.unit}: {path}')


def _export(job, runner, source):
  """Nothing but what `run` does at the end of every mode."""
  del job, runner, source


# {mode: function(job, runner, input)}; `run` has made the trainer and its runner by then.
MODES: Mapping[str, Callable] = {
  'train': _train,
  'eval': _eval,
  'train_and_eval': _train_and_eval,
  'predict': _predict,
  'export': _export,
}


def _draw_curves(job, runner):
  if job.curves and distribute.is_chief(runner.trainer.strategy):
    picture = os.path.join(job.settings.model_dir, 'curves.png')
    curves.draw(job.settings.model_dir, job.curves, picture)
    print(f'Curves: {picture}')


def _export_best(job, runner):
  """Exports the best checkpoint of the model_dir, or the newest if none is archived."""
  name = runner.restore_best()
  with runner.trainer.averaged_weights() as model:
    job.export(model, job.settings.export_dir)
  print(f'Exported {name} to {job.settings.export_dir}.')


def create_strategy(
  hardware: HardwareConfig, *, training: bool, expected_replicas: int | None = None
) -> tf.distribute.Strategy:
  """Creates the strategy that the settings ask for and prints it; call before any TensorFlow work.

  Args:
    hardware: where it runs.
    training: whether the job trains; what only evaluates or exports is one process.
    expected_replicas: raise if the strategy has another number of replicas; None for any.

  Raises:
    ValueError: the strategy cannot be used, or has another number of replicas.
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
  if expected_replicas not in (None, strategy.num_replicas_in_sync):
    raise ValueError(
      f'--num_replicas={expected_replicas}, but this job has {distribute.describe(strategy)}; leave '
      'the flag out, or check --strategy, --tpu and TF_CONFIG.'
    )
  return strategy


def check_batches(replicas: int, batches: Batches, unit: str = 'images') -> None:
  """Raises ValueError unless the batches divide among replicas, and theirs into their parts.

  Args:
    replicas: number of replicas.
    batches: their sizes.
    unit: what they hold.
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
      f'--gradient_accumulation_steps={batches.accumulation_steps} does not divide the {per_replica} '
      f'{unit} that each replica gets of --train_batch_size={batches.train}.'
    )
