"""A pre-training job: data, model and trainer brought together."""
import dataclasses
import os

import keras

from oscar import checkpoints, training
from oscar.input.pretrain import PretrainInput, PretrainOptions
from oscar.pretrain_task import OBJECTIVE, pretrain_task
from tpu_utils import curves, distribute, job_setup, runner

TERMS = runner.Terms(
  unit='examples',
  objective=OBJECTIVE,
  against_divergence='Lower --learning_rate, raise --warmup_steps or set --max_grad_norm.',
)
# What makes the network what it is: a model_dir of another one is refused.
_IDENTITY = (
  'vocab_size', 'hidden_size', 'num_hidden_layers', 'num_attention_heads', 'intermediate_size',
  'hidden_act', 'max_position_embeddings', 'img_feature_dim', 'use_img_layernorm',
  'num_contrast_classes',
)  # fmt: skip
_PANELS = (('masked_lm_loss', 'next_sentence_loss'), (OBJECTIVE, 'contrast_accuracy'))


def run(model_settings, data, optimization, job, hardware, *, record, expected_replicas=None):
  """Does what `job.mode` says.

  Args:
    model_settings: a `script_settings.ModelConfig`.
    data: a `run_pretrain.DataConfig`.
    optimization: a `script_settings.OptimizationConfig`.
    job: a `script_settings.JobConfig`.
    hardware: a `tpu_utils.config.HardwareConfig`.
    record: JSON-able dict for run.json.
    expected_replicas: stop if the strategy has another number of replicas; None for any.
  """
  is_training = job.mode in ('train', 'train_and_eval')
  strategy = job_setup.create_strategy(
    hardware, training=is_training, expected_replicas=expected_replicas
  )
  job_setup.check_batches(
    strategy.num_replicas_in_sync,
    data.train_batch_size,
    data.eval_batch_size,
    optimization.gradient_accumulation_steps,
    TERMS.unit,
  )
  options = _options(data)
  training.check_checkpoint(model_settings)
  tokenizer = training.open_tokenizer(model_settings, data.data_dir)
  config = training.build_config(
    model_settings, tokenizer, num_contrast_classes=options.num_contrast_classes
  )
  _check_length(options, config)
  source = _open_data(data, tokenizer, options, config, job.seed)
  keras.utils.set_random_seed(job.seed)
  with strategy.scope():
    model = training.build_model(config, 'pretrain', model_settings, hardware.use_bfloat16)
  print(f'{model.name}: {model.count_params():,} parameters')
  trainer = training.make_trainer(
    strategy, model, pretrain_task(), optimization, job.train_steps
  )
  work = runner.Runner(
    trainer,
    job,
    {'task': 'pretrain', **{name: getattr(config, name) for name in _IDENTITY}},
    batch_size=data.train_batch_size,
    steps_per_epoch=source.num_train_examples / data.train_batch_size,
    record={'strategy': distribute.describe(strategy), **record, 'config': config.to_dict()},
    terms=TERMS,
  )
  if is_training:
    work.train(source, source if job.mode == 'train_and_eval' else None)
    if distribute.is_chief(strategy):
      picture = os.path.join(job.model_dir, 'curves.png')
      curves.draw(job.model_dir, _PANELS, picture)
      print(f'Curves: {picture}')
  elif job.mode == 'eval':
    work.follow(source)
  elif not job.export_dir:
    raise ValueError('--mode=export needs --export_dir, the folder to write to.')
  if job.export_dir and distribute.is_chief(strategy):
    export_best(work, tokenizer, job)


def export_best(work, tokenizer, job):
  """Exports the best checkpoint of the runner's model_dir, or the newest if none is archived."""
  name = work.restore_best()
  with work.trainer.averaged_weights() as model:
    checkpoints.save(model, tokenizer, job.export_dir, job.export_file)
  print(f'Exported {name} to {job.export_dir} ({job.export_file}, config.json, vocab.txt).')


def _options(data):
  """The `PretrainOptions` of a `DataConfig`; words are predicted where they are masked only."""
  names = [field.name for field in dataclasses.fields(PretrainOptions)]
  given = {name: getattr(data, name) for name in names if hasattr(data, name)}
  for name in ('use_b', 'mask_loss_for_unmatched'):
    given[name] = bool(given[name])
  try:
    return PretrainOptions(gather_masked=True, **given)
  except ValueError as e:
    raise ValueError(f'--{e}') from e


def _check_length(options, config):
  if options.max_seq_length > config.max_position_embeddings:
    raise ValueError(
      f'--max_seq_length={options.max_seq_length} is longer than the '
      f'{config.max_position_embeddings} positions of the model (max_position_embeddings); shorten it.'
    )


def _open_data(data, tokenizer, options, config, seed):
  return PretrainInput(
    data.data_dir,
    tokenizer,
    options,
    train_batch_size=data.train_batch_size,
    eval_batch_size=data.eval_batch_size,
    train_split=data.train_split,
    eval_split=data.eval_split,
    region_dim=config.img_feature_dim,
    seed=seed,
  )
