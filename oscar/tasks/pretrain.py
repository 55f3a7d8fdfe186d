"""Pre-training: masked words and the contrast of matched and wrong texts.

Source: paper arXiv 2004.06165, section 3; microsoft/Oscar, `BertImgForPreTraining`.
"""
import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import tensorflow as tf

from oscar import job as oscar_job
from oscar import keras_peer, losses, script_settings
from oscar.input.pretrain import PretrainInput, PretrainOptions
from tpu_utils import config as job_config
from tpu_utils import job as jobs
from tpu_utils.trainer import Task

OBJECTIVE = 'masked_accuracy'


def run(
  model_settings: script_settings.ModelConfig,
  data: Any,
  optimization: script_settings.OptimizationConfig,
  job: script_settings.JobConfig,
  hardware: job_config.HardwareConfig,
  *,
  run_info: Mapping[str, Any],
  given: Collection[str] | None = None,
) -> None:
  """Trains, evaluates or exports, as `job.mode` says.

  Args:
    model_settings: network and initial weights.
    data: a `run_pretrain.DataConfig`.
    optimization: optimizer and schedule.
    job: mode, length and folders.
    hardware: devices and precision.
    run_info: JSON-able dict for run.json.
    given: see `oscar.job.make_job`.
  """
  jobs.run(
    oscar_job.make_job(
      TASK, model_settings, data, optimization, job, hardware, run_info=run_info, given=given
    )
  )


def pretrain_task() -> Task:
  """Returns the `Task`: both losses, and the accuracy of masked words and of the contrast.

  Batches are those of `PretrainInput`; labels of -1 and rows of weight 0 are ignored.
  """

  def loss_term(name):
    def term(outputs, batch, step):
      del step
      return losses.pretraining(
        outputs, batch['masked_lm_labels'], batch['next_sentence_label'], batch.get('weights')
      )[name]

    return term

  def accuracy(scores, labels):
    return lambda outputs, batch, step: _count_right(
      outputs[scores], batch[labels], batch.get('weights')
    )

  return Task(
    losses={name: loss_term(name) for name in ('masked_lm_loss', 'next_sentence_loss')},
    metrics={
      OBJECTIVE: accuracy('prediction_scores', 'masked_lm_labels'),
      'contrast_accuracy': accuracy('seq_relationship_score', 'next_sentence_label'),
    },
    train_metrics=(OBJECTIVE, 'contrast_accuracy'),
  )


def _count_right(scores, labels, weights):
  """Returns (weight of the labels with the highest score, weight of all labels except -1).

  Args:
    scores: [B, ..., classes].
    labels: [B, ...] integers.
    weights: [B], or None for all ones.
  """
  labels = tf.reshape(tf.cast(labels, tf.int32), tf.shape(scores)[:-1])
  counted = tf.cast(labels != losses.IGNORED, tf.float32)
  if weights is not None:
    counted *= tf.reshape(weights, [-1] + [1] * (len(scores.shape) - 2))
  right = tf.cast(tf.argmax(scores, axis=-1, output_type=tf.int32) == labels, tf.float32)
  return tf.reduce_sum(right * counted), tf.reduce_sum(counted)


def _options(data):
  """Returns the `PretrainOptions` of a `DataConfig`, with words predicted only where masked."""
  names = [field.name for field in dataclasses.fields(PretrainOptions)]
  given = {name: getattr(data, name) for name in names if hasattr(data, name)}
  for name in ('use_b', 'mask_loss_for_unmatched'):
    given[name] = bool(given[name])
  try:
    return PretrainOptions(gather_masked=True, **given)
  except ValueError as e:
    raise ValueError(f'--{e}') from e


def _open_input(data, tokenizer, config, seed):
  return PretrainInput(
    data.data_dir,
    tokenizer,
    _options(data),
    train_batch_size=data.train_batch_size,
    eval_batch_size=data.eval_batch_size,
    train_split=data.train_split,
    eval_split=data.eval_split,
    region_dim=config.img_feature_dim,
    seed=seed,
  )


TASK = oscar_job.OscarTask(
  name='pretrain',
  objective=OBJECTIVE,
  open_input=_open_input,
  learn=lambda data, source, model: pretrain_task(),
  config=lambda data: {'num_contrast_classes': _options(data).num_contrast_classes},
  identity=('num_contrast_classes',),
  curves=(('masked_lm_loss', 'next_sentence_loss'), (OBJECTIVE, 'contrast_accuracy')),
  predicts=False,
  build_peer=keras_peer.build_model,
)
