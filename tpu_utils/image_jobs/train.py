"""The job of the papers' `main.py`: trains, evaluates and exports an image classifier.

`run` is the way in: `make_job` joins input, model, trainer and export; `make_trainer` is the
official recipe; `classification_task` has its losses and metrics.
"""
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tpu_utils import (
  batch_norm,
  checkpoints,
  config,
  export,
  losses,
  metrics,
  model_formats,
  optimizers,
  schedules,
)
from tpu_utils import job as jobs
from tpu_utils.ema import ExponentialMovingAverage
from tpu_utils.errors import first_line
from tpu_utils.export import model_files
from tpu_utils.image_jobs import classes, fine_tuning, memory
from tpu_utils.image_jobs.data import make_input
from tpu_utils.image_jobs.reporting import cards
from tpu_utils.image_jobs.reporting.reporter import Reporter
from tpu_utils.image_jobs.reporting.settings import ReportConfig
from tpu_utils.images import preprocessing
from tpu_utils.images.sources import splitting
from tpu_utils.images.spec import Augmentation, PreprocessSpec
from tpu_utils.trainer import Task, Trainer

OBJECTIVE = 'top_1_accuracy'  # Of the official code, too.
_MEASURED_IMAGES = 200  # For exported files; `export_model` measures on as many as are wanted.
_CURVES = (('loss', 'cross_entropy'), ('top_1_accuracy', 'top_5_accuracy'))


def run(
  build_model: Callable[..., keras.Model],
  spec: PreprocessSpec,
  identity: Mapping[str, Any],
  **settings: Any,
) -> None:
  """Trains, evaluates or exports, by the job's mode; see `make_job` for the arguments."""
  jobs.run(make_job(build_model, spec, identity, **settings))


def make_job(
  build_model: Callable[..., keras.Model],
  spec: PreprocessSpec,
  identity: Mapping[str, Any],
  *,
  hardware: config.HardwareConfig,
  data: config.DataConfig,
  dataset: Any,
  optimization: config.OptimizationConfig,
  job: config.JobConfig,
  run_info: Mapping[str, Any],
  exports: config.ExportConfig | None = None,
  class_names: Sequence[str] | None = None,
  tuning: config.FineTuningConfig | None = None,
  augmentation: Augmentation | None = None,
  report: ReportConfig | None = None,
  package: str = '',
  build_peer: Callable[..., keras.Model] | None = None,
) -> jobs.Job:
  """Returns the `Job` of a classifier.

  Args:
    build_model: function(dtype_policy) -> keras.Model from `images` to logits.
    spec: the model's `PreprocessSpec`.
    identity: {flag: value} that define the model; a model_dir of another one is refused.
    hardware: where it runs.
    data: settings of the data.
    dataset: the data set that they name; see `data.open_data`.
    optimization: settings of the recipe.
    job: mode, folders and steps.
    run_info: JSON-able dict for run.json.
    exports: settings of the exported model; None for the defaults.
    class_names: names of the model's outputs (see `classes`), kept in model_dir; None if the data
      do not name their classes.
    tuning: weights to start from (`init_checkpoint` is a path); None to start from random ones.
    augmentation: augmentation of training; None for the default of `make_input`.
    report: settings of the report that ends the job; None for no report.
    package: of the paper's scripts, which the report names.
    build_peer: see `tpu_utils.job.Job`.
  """
  data = hold_out(data, job.eval_name)
  tuning, exports = tuning or config.FineTuningConfig(), exports or config.ExportConfig()
  names_of = _class_names(data, job, class_names)
  reporter = _make_reporter(
    report, job, dataset, functools.partial(_open_images, spec, data, job, augmentation), names_of,
    package, run_info,
  )  # fmt: skip
  return jobs.Job(
    settings=job,
    hardware=hardware,
    batches=jobs.Batches(
      data.train_batch_size,
      data.eval_batch_size,
      optimization.gradient_accumulation_steps,
      data.num_train_images,
    ),
    identity=identity,
    run_info=run_info,
    run_files=_run_files(class_names, dataset),
    unit='images',
    objective=OBJECTIVE,
    open_input=functools.partial(
      _open_input, spec, data, dataset, job, hardware, augmentation
    ),
    build_model=functools.partial(_initialized_model, build_model, data, job, tuning),
    make_trainer=functools.partial(
      _reported_trainer, data, optimization, job, tuning, reporter
    ),
    export=functools.partial(
      _export, build_model, spec, data, names_of, job, exports, hardware.dtype_policy
    ),
    divergence_hint=divergence_hint(tuning.freeze),
    curves=_CURVES,
    predicts=False,
    reporter=reporter,
    build_peer=build_peer,
  )


def divergence_hint(freeze: str) -> str:
  """Returns advice for a loss that is not finite.

  Args:
    freeze: the part of the network that is frozen, see `fine_tuning.freeze`.
  """
  advice = 'Lower --base_learning_rate, warm up longer or set --gradient_clip_norm.'
  if freeze == 'bn':
    advice += (
      ' Batch norm as loaded (--freeze=bn) does not absorb the growth of weights, and its '
      'statistics may not fit these images: --freeze=none trains it, too; a lower '
      '--adaptive_gradient_clip bounds the growth.'
    )
  return advice


def _open_input(spec, data, dataset, job, hardware, augmentation):
  """Opens the images of training and evaluation."""
  return make_input(spec, data, dataset, job.seed, hardware.use_bfloat16, augmentation)


def _initialized_model(build_model, data, job, tuning, dtype_policy):
  """Builds the classifier; for training with the weights to start from."""
  model = build_model(dtype_policy)
  if job.mode in ('train', 'train_and_eval', 'preflight'):
    _load_initial_weights(model, tuning, job.model_dir, data)
  return model


def _class_names(data, job, class_names):
  """Returns function(number of outputs) -> names of the classes, or None; see `classes.known`."""

  @functools.cache
  def names_of(num_outputs):
    return classes.known(
      num_outputs,
      labels_map_file=data.labels_map_file,
      checkpoint=job.model_dir,
      data_names=class_names,
      is_digits=data.is_digits,
      log=print,
    )

  return names_of


def _open_images(spec, data, job, augmentation, dataset):
  """Opens a data set as the job does, in float32, without caches and the tf.data service."""
  plain = dataclasses.replace(data, use_cache=False, decoded_cache_gb=0.0, tf_data_service=None)  # type: ignore[arg-type]
  return make_input(spec, plain, dataset, job.seed, augmentation=augmentation)


def _make_reporter(report, job, dataset, open_images, names_of, package, run_info):
  """Returns the `Reporter` of a job; None if it writes no report."""
  if report is None or dataset is None or not report.is_written(job.mode):
    return None
  return Reporter(report, job, dataset, open_images, names_of, package, run_info)


def _reported_trainer(data, optimization, job, tuning, reporter, strategy, model, images):
  """Returns the `Trainer` of a job; `reporter`, if any, gets the rows of its evaluations."""
  del images
  if job.mode != 'preflight':
    memory.check(model, data, optimization.gradient_accumulation_steps)
  factors = fine_tuning.learning_rate_factors(model, tuning.backbone_lr_factor)
  summarize = None if reporter is None else reporter.summarize
  made = make_trainer(strategy, model, data, optimization, job.train_steps, factors, summarize)
  if reporter is not None:
    reporter.follow(made)
  return made


def _export(build_model, spec, data, names_of, job, exports, dtype_policy, model, folder):
  """Exports a model with its preprocessing, classes and card, and prints what its files measure."""
  names = names_of(model.output_shape[-1])
  if exports.dtype_policy != dtype_policy:
    model = _with_weights_of(model, build_model(exports.dtype_policy))
  card = cards.card(
    model.name, spec, model.output_shape[-1], names, job.model_dir,
    usage=cards.usage(exports.formats),
  )  # fmt: skip
  measurement = _measurement(model, spec, data, exports)
  export.export(
    model,
    folder,
    preprocessing.eval_function(spec),
    dataclasses.asdict(spec),
    names,
    to_tpu=job.export_to_tpu,
    formats=exports.formats,
    measure=measurement,
    card=card,
  )
  if measurement:
    print(measurement.text())


def _run_files(class_names, dataset):
  run_files = {classes.FILE: classes.content(class_names)} if class_names else {}
  if dataset is not None and dataset.split_record:
    run_files[splitting.FILE] = dataset.split_record
  return run_files


def _measurement(model, spec, data, exports):
  """Returns the measurement of an export's files; None without images or other files than usual."""
  if data.is_fake or set(exports.formats) <= set(model_formats.DEFAULT_FORMATS):
    return None
  try:
    images = model_files.Images(data, spec, model.output_shape[-1])
  except (ValueError, OSError) as error:  # The data of a finished job may be gone.
    print(f'The accuracy of the exported files is not measured: {first_line(error)}')
    return None
  return model_files.Measurement(model, images, _MEASURED_IMAGES)


def _with_weights_of(source, model):
  """Copies the weights of `source` to a model of the same network, and returns that."""
  values = {variable.path: variable for variable in source.weights}
  for variable in model.weights:
    variable.assign(values[variable.path].numpy())
  return model


def hold_out(data: config.DataConfig, eval_name: str | None = None) -> config.DataConfig:
  """Returns the settings with the sizes that `holdout_shards` leaves, as in the official main.py.

  The images held out shorten the epochs of the schedule. An evaluation with 'test' in its name
  still uses the validation set.
  """
  if not data.holdout_shards:
    return data
  held_out = int(data.num_train_images * data.holdout_shards / 1024.0)
  data = dataclasses.replace(data, num_train_images=data.num_train_images - held_out)
  if eval_name and 'test' in eval_name:
    return dataclasses.replace(data, holdout_shards=None)  # type: ignore[arg-type]  # As its default.
  return dataclasses.replace(data, num_eval_images=held_out)


def _load_initial_weights(model, tuning, model_dir, data):
  """Loads the weights to start from, unless the job resumes from a checkpoint of its own."""
  if tuning.init_checkpoint and not checkpoints.CheckpointManager(model_dir).steps():
    report = fine_tuning.load(model, tuning.init_checkpoint, tuning.init_source, tuning.init_ema)
    print(report.table())
  fine_tuning.freeze(model, tuning.freeze)
  if tuning.transfer or tuning.adapt_batch_norm:
    fine_tuning.set_batch_norm_momentum(model, data.num_train_images / data.train_batch_size)


def make_trainer(
  strategy: tf.distribute.Strategy,
  model: keras.Model,
  data: config.DataConfig,
  optimization: config.OptimizationConfig,
  train_steps: int,
  learning_rate_factors: Mapping[str, float] | None = None,
  summarize: Callable | None = None,
) -> Trainer:
  """Returns a `Trainer` with the official recipe.

  Args:
    strategy: the strategy that `model` was built under.
    model: the classifier.
    data: settings of the data; batch size and number of images set the schedule.
    optimization: settings of the recipe.
    train_steps: length of the schedule.
    learning_rate_factors: see `fine_tuning.learning_rate_factors`; None for one learning rate.
    summarize: see `classification_task`.
  """
  replicas = strategy.num_replicas_in_sync
  if optimization.optimizer == 'lars':
    group = batch_norm.lars_replicas_per_group(
      replicas, data.train_batch_size, optimization.batch_norm_batch_size
    )
  else:
    group = batch_norm.official_replicas_per_group(replicas)
  batch_norm.set_replicas_per_group(model, group)
  decay = optimization.moving_average_decay
  optimizer = optimizers.build_optimizer(
    optimization.optimizer, **_optimizer_settings(optimization)
  )
  optimizer.learning_rate_factors = dict(learning_rate_factors or {})
  optimizer.clip_ratios = fine_tuning.clip_ratios(model, _clip_ratio(optimization, model))
  return Trainer(
    strategy,
    model,
    classification_task(
      model,
      label_smoothing=optimization.label_smoothing,
      weight_decay=optimization.weight_decay,
      decay_batch_norm=optimization.decay_batch_norm,
      transposed=data.transpose_input,
      summarize=summarize,
    ),
    optimizer,
    schedules.build_learning_rate(
      optimization.base_learning_rate * data.train_batch_size / 256,
      steps_per_epoch=data.num_train_images / data.train_batch_size,
      lr_decay_type=optimization.lr_schedule,
      decay_factor=optimization.lr_decay_factor,
      decay_epochs=optimization.lr_decay_epoch,
      total_steps=train_steps,
      warmup_epochs=optimization.lr_warmup_epochs,
      step_epochs=optimization.step_epochs,
    ),
    ema=ExponentialMovingAverage(decay) if decay > 0 else None,
    clip_norm=optimization.gradient_clip_norm,
    accumulation_steps=optimization.gradient_accumulation_steps,
  )


def _clip_ratio(optimization, model):
  """Returns the ratio of adaptive clipping: the user's, or the network's own, which is printed."""
  if optimization.adaptive_gradient_clip is not None:
    return optimization.adaptive_gradient_clip
  if ratio := fine_tuning.clip_ratio(model):
    print(f'Gradients are clipped, as batch norm is frozen: --adaptive_gradient_clip={ratio:g}')
  return ratio


def _optimizer_settings(optimization):
  settings = {} if optimization.optimizer == 'sgd' else {'momentum': optimization.momentum}
  if optimization.optimizer == 'momentum':
    settings['nesterov'] = optimization.nesterov
  if optimization.optimizer == 'lars':
    settings['weight_decay'] = optimization.lars_weight_decay
    settings['epsilon'] = optimization.lars_epsilon
  return settings


def classification_task(
  model: keras.Model,
  *,
  label_smoothing: float = 0.0,
  weight_decay: float = 0.0,
  decay_batch_norm: bool = False,
  transposed: bool = False,
  summarize: Callable | None = None,
) -> Task:
  """Returns the official code's `Task`: smoothed cross-entropy, weight decay, top-1 and top-5.

  Args:
    model: the classifier.
    label_smoothing: see `losses.softmax_cross_entropy`.
    weight_decay: coefficient of the L2 loss.
    decay_batch_norm: whether the L2 loss includes the variables of batch norm.
    transposed: whether images come as [height, width, channels, batch].
    summarize: called with the rows of `predicted_rows` after each evaluation; see `Task`.
  """

  def cross_entropy(logits, batch, step):
    del step
    weights = _weights(batch)
    per_example = losses.softmax_cross_entropy(batch['labels'], logits, label_smoothing)
    return tf.reduce_sum(weights * per_example), tf.reduce_sum(weights)

  def accuracy(k):
    def top_k(logits, batch, step):
      del step
      sums = metrics.classification_sums(logits, batch['labels'], _weights(batch))
      return sums[f'top_{k}'], sums['count']

    return top_k

  def prepare(batch):
    if not transposed:
      return batch
    return {**batch, 'images': tf.transpose(batch['images'], [3, 0, 1, 2])}

  decayed = (
    model.trainable_variables if decay_batch_norm else losses.non_batch_norm_variables(model)
  )
  return Task(
    losses={'cross_entropy': cross_entropy},
    metrics={'top_1_accuracy': accuracy(1), 'top_5_accuracy': accuracy(5)},
    train_metrics=('top_1_accuracy',),
    regularization=lambda: losses.l2_weight_decay(decayed, weight_decay),
    prepare=prepare,
    predict=predicted_rows,
    summarize=summarize,
  )


def predicted_rows(logits: tf.Tensor, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
  """Returns what a report needs of each prediction.

  Args:
    logits: [batch, outputs].
    batch: with 'labels', [batch, outputs].

  Returns:
    {'label', 'predicted': int32 outputs, 'probability', 'true_probability': float32 of these two,
    'rank': int32 number of outputs likelier than the true one}; each [batch].
  """
  logits = tf.cast(logits, tf.float32)
  probabilities = tf.nn.softmax(logits)
  label = tf.argmax(batch['labels'], axis=-1, output_type=tf.int32)
  own = tf.gather(logits, label, batch_dims=1)[:, tf.newaxis]
  return {
    'label': label,
    'predicted': tf.argmax(logits, axis=-1, output_type=tf.int32),
    'probability': tf.reduce_max(probabilities, axis=-1),
    'true_probability': tf.gather(probabilities, label, batch_dims=1),
    'rank': tf.math.count_nonzero(logits > own, axis=-1, dtype=tf.int32),
  }


def _weights(batch):
  """Returns float32 [batch]: 1, or 0 for rows that pad an evaluation batch."""
  return batch['weights'] if 'weights' in batch else tf.ones(tf.shape(batch['labels'])[:1])
