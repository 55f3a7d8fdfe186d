"""Training, evaluating and exporting an image classifier: what the papers' `main.py` scripts share."""
import contextlib
import dataclasses
import os

import keras
import tensorflow as tf

from tpu_utils import batch_norm, distribute, export, losses, metrics, optimizers, runner, schedules
from tpu_utils.ema import ExponentialMovingAverage
from tpu_utils.images import imagenet_input, preprocessing
from tpu_utils.trainer import Task, Trainer


def run(build_model, spec, identity, *, hardware, data, optimization, job, record):
  """Does what `job.mode` says.

  Args:
    build_model: function(dtype_policy) -> keras.Model from `images` to logits.
    spec: the model's `PreprocessSpec`.
    identity: {flag: value} that make the model what it is; a model_dir of another one is refused.
    hardware: a `config.HardwareConfig`.
    data: a `config.DataConfig`.
    optimization: a `config.OptimizationConfig`.
    job: a `config.JobConfig`.
    record: JSON-able dict for run.json.
  """
  strategy = distribute.create_strategy(
    hardware.strategy,
    use_tpu=hardware.use_tpu,
    tpu=hardware.tpu,
    tpu_zone=hardware.tpu_zone,
    gcp_project=hardware.gcp_project,
    tpu_job_name=hardware.tpu_job_name,
  )
  print(distribute.describe(strategy))
  _check_batches(strategy.num_replicas_in_sync, data)
  images = make_input(spec, data, job.seed, hardware.use_bfloat16)
  keras.utils.set_random_seed(job.seed)
  with strategy.scope():
    model = build_model('mixed_bfloat16' if hardware.use_bfloat16 else None)
  print(f'{model.name}: {sum(v.shape.num_elements() for v in _tf(model.trainable_variables)):,} trainable parameters')
  trainer = make_trainer(strategy, model, data, optimization, job.train_steps)
  work = runner.Runner(
    trainer,
    job,
    identity,
    batch_size=data.train_batch_size,
    steps_per_epoch=data.num_train_images / data.train_batch_size,
  )
  if job.mode in ('train', 'train_and_eval'):
    runner.prepare_model_dir(job.model_dir)
    if distribute.is_chief(strategy):
      runner.write_run_record(job.model_dir, {'strategy': distribute.describe(strategy), **record})
    work.train(images, images if job.mode == 'train_and_eval' else None)
  elif job.mode == 'eval':
    work.follow(images)
  if job.export_dir:
    export_best(work, spec, job.export_dir)


def classification_task(model, *, label_smoothing=0.0, weight_decay=0.0, transposed=False):
  """The `Task` of the official code: smoothed cross-entropy, weight decay, top-1 and top-5.

  Args:
    model: the classifier whose non-batch-norm variables decay.
    label_smoothing: see `losses.softmax_cross_entropy`.
    weight_decay: coefficient of the L2 loss.
    transposed: whether images come as [height, width, channels, batch].
  """

  def cross_entropy(logits, batch):
    weights = _weights(batch)
    per_example = losses.softmax_cross_entropy(batch['labels'], logits, label_smoothing)
    return tf.reduce_sum(weights * per_example), tf.reduce_sum(weights)

  def accuracy(k):
    def top_k(logits, batch):
      sums = metrics.classification_sums(logits, batch['labels'], _weights(batch))
      return sums[f'top_{k}'], sums['count']

    return top_k

  def prepare(batch):
    if not transposed:
      return batch
    return {**batch, 'images': tf.transpose(batch['images'], [3, 0, 1, 2])}

  decayed = losses.non_batch_norm_variables(model)
  return Task(
    losses={'cross_entropy': cross_entropy},
    metrics={'top_1_accuracy': accuracy(1), 'top_5_accuracy': accuracy(5)},
    train_metrics=('top_1_accuracy',),
    regularization=lambda: losses.l2_weight_decay(decayed, weight_decay),
    prepare=prepare,
  )


def make_trainer(strategy, model, data, optimization, train_steps):
  """The `Trainer` of the official recipe for `model`, whose scope is `strategy`'s."""
  replicas = strategy.num_replicas_in_sync
  if optimization.optimizer == 'lars':
    group = batch_norm.lars_replicas_per_group(
      replicas, data.train_batch_size, optimization.batch_norm_batch_size
    )
  else:
    group = batch_norm.official_replicas_per_group(replicas)
  batch_norm.set_replicas_per_group(model, group)
  settings = {}
  if optimization.optimizer == 'lars':
    settings = {
      'weight_decay': optimization.lars_weight_decay,
      'epsilon': optimization.lars_epsilon,
    }
  decay = optimization.moving_average_decay
  return Trainer(
    strategy,
    model,
    classification_task(
      model,
      label_smoothing=optimization.label_smoothing,
      weight_decay=optimization.weight_decay,
      transposed=data.transpose_input,
    ),
    optimizers.build_optimizer(optimization.optimizer, **settings),
    schedules.build_learning_rate(
      optimization.base_learning_rate * data.train_batch_size / 256,
      steps_per_epoch=data.num_train_images / data.train_batch_size,
      lr_decay_type=optimization.lr_schedule,
      decay_factor=optimization.lr_decay_factor,
      decay_epochs=optimization.lr_decay_epoch,
      total_steps=train_steps,
      warmup_epochs=optimization.lr_warmup_epochs,
    ),
    ema=ExponentialMovingAverage(decay) if decay > 0 else None,
    clip_norm=optimization.gradient_clip_norm,
    accumulation_steps=optimization.gradient_accumulation_steps,
  )


def export_best(work, spec, export_dir):
  """Exports the best checkpoint of the runner's model_dir, or the newest if none is archived."""
  prefix = work.checkpoints.best()
  if prefix is None:
    steps = work.checkpoints.steps()
    if not steps:
      raise ValueError(f'--model_dir={work.config.model_dir} holds no checkpoint to export.')
    prefix = work.checkpoints.prefix(steps[-1])
  work.restore(prefix)
  with work.trainer.averaged_weights() as model:
    if distribute.is_chief(work.trainer.strategy):
      preprocess = preprocessing.eval_function(spec)
      export.export(model, export_dir, preprocess, dataclasses.asdict(spec))
      print(f'Exported {os.path.basename(prefix)} to {export_dir} (SavedModel and {export.KERAS_FILE}).')


def _weights(batch):
  """[batch] float32: 0 for the rows that only fill up an evaluation batch."""
  return batch['weights'] if 'weights' in batch else tf.ones(tf.shape(batch['labels'])[:1])


def _check_batches(replicas, data):
  for flag, size in (('train', data.train_batch_size), ('eval', data.eval_batch_size)):
    if size % replicas:
      raise ValueError(
        f'--{flag}_batch_size={size} does not divide among {replicas} replicas; '
        f'take {size - size % replicas or replicas} or {size + replicas - size % replicas}.'
      )
