"""Builds the `Job` of OSCAR's scripts: tokenizer, model and trainer from a task's settings."""
import dataclasses
import functools
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

import oscar
from oscar import (
  checkpoint_names,
  checkpoint_tasks,
  checkpoints,
  modeling,
  script_settings,
  tokenization,
)
from tpu_utils import config as job_config
from tpu_utils import files, optimizers, schedules
from tpu_utils import job as jobs
from tpu_utils.trainer import Task, Trainer

_CONFIG_FILES = ('config.json', 'bert_config.json')  # Hugging Face's and Google's names.
# Parts of the official names of variables without weight decay, as in each official script.
_NO_DECAY = ('bias', 'LayerNorm.weight')
# {task: path prefix of its head}; other tasks have a classifier.
_HEADS = {'pretrain': 'cls_seq_relationship', 'captioning': 'cls_predictions'}
# Settings that define the network, in every task: a model_dir with other values is refused.
_IDENTITY = (
  'vocab_size', 'hidden_size', 'num_hidden_layers', 'num_attention_heads', 'intermediate_size',
  'hidden_act', 'max_position_embeddings', 'img_feature_dim', 'use_img_layernorm',
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class OscarTask:
  """The parts of a job that are specific to one task.

  `data` is the task's own frozen dataclass of settings; it has `data_dir`, `max_seq_length`,
  `train_batch_size` and `eval_batch_size`.

  Attributes:
    name: as for `oscar.build_model`.
    objective: see `tpu_utils.job.Job`.
    open_input: function(data, tokenizer, OscarConfig, seed) -> `tpu_utils.job.Input`.
    learn: function(data, input, model) -> `tpu_utils.trainer.Task`.
    config: function(data) -> {setting of `OscarConfig`: value} that the data require.
    identity: further settings of `OscarConfig` that define the network.
    evaluators: see `tpu_utils.job.Job`.
    curves: see `tpu_utils.job.Job`.
    predicts: see `tpu_utils.job.Job`.
    info: function(data) -> arguments of `checkpoint_tasks.write_settings` for an export's
      `task.json`, or None for no such file.
    records: see `tpu_utils.job.Job`; called with data and input, too.
    predictor: see `tpu_utils.job.Job`; called with data and the job's settings first.
    check_eval: function(data, mode), called before a job that evaluates or predicts; raises
      ValueError if the split could not be measured at the end.
    run_files: function(data, tokenizer) -> `tpu_utils.job.Job.run_files`; called to train.
    build_peer: function(OscarConfig, dtype_policy) -> `tpu_utils.job.Job.build_peer`'s model, or
      None.
  """

  name: str
  objective: str
  open_input: Callable
  learn: Callable
  config: Callable = lambda data: {}
  identity: tuple[str, ...] = ()
  evaluators: Mapping[str, Callable] = dataclasses.field(default_factory=dict)
  curves: Sequence[Sequence[str]] = ()
  predicts: bool = True
  info: Callable = lambda data: None
  records: Callable | None = None
  predictor: Callable | None = None
  check_eval: Callable = lambda data, mode: None
  run_files: Callable = lambda data, tokenizer: {}
  build_peer: Callable | None = None


def make_job(
  task: OscarTask,
  model_settings: script_settings.ModelConfig,
  data: Any,
  optimization: script_settings.OptimizationConfig,
  job: script_settings.JobConfig,
  hardware: job_config.HardwareConfig,
  *,
  run_info: Mapping,
  as_it_is: bool = False,
  num_train_examples: int | None = None,
  given: Collection[str] | None = None,
) -> jobs.Job:
  """Returns the `Job` of a task.

  Args:
    task: the task to train.
    model_settings: network and initial weights.
    data: the task's settings.
    optimization: optimizer and schedule.
    job: mode, length and folders.
    hardware: devices and precision.
    run_info: JSON-able dict for run.json.
    as_it_is: whether to evaluate or predict with the initial checkpoint itself, if `model_dir`
      holds none; it must then be of the task and have its head.
    num_train_examples: examples of an epoch, if the training data need not be there; None for the
      input's own number.
    given: names of the flags that the user gave; the sizes of the others must suit the training set
      (`jobs.check_length`). None: all were given.

  Raises:
    ValueError: settings that contradict each other, or no vocabulary.
    FileNotFoundError: no such checkpoint.
  """
  tokenizer, config = _tokenizer_and_config(task, model_settings, data, as_it_is)
  return jobs.Job(
    settings=job,
    hardware=hardware,
    batches=jobs.Batches(
      data.train_batch_size,
      data.eval_batch_size,
      optimization.gradient_accumulation_steps,
      num_train_examples,
    ),
    identity=_identity(task, config),
    run_info={**run_info, 'config': config.to_dict()},
    unit='examples',
    objective=task.objective,
    open_input=functools.partial(_open_input, task, data, tokenizer, config, job, given),
    build_model=lambda dtype_policy: build_model(
      config, task.name, model_settings, dtype_policy, as_it_is
    ),
    make_trainer=functools.partial(_make_task_trainer, task, data, optimization, job),
    export=functools.partial(_export, task, data, tokenizer, job),
    evaluators=task.evaluators,
    run_files=task.run_files(data, tokenizer) if 'train' in job.mode else {},
    divergence_hint='Lower --learning_rate, raise --warmup_steps or set --max_grad_norm.',
    curves=task.curves,
    predicts=task.predicts,
    initial_weights=model_settings.init_checkpoint if as_it_is else None,
    records=_bound(task.records, data),
    predictor=_bound(task.predictor, data, job),
    build_peer=_bound(task.build_peer, config),
  )


def _tokenizer_and_config(task, model_settings, data, as_it_is):
  """Returns the tokenizer and the `OscarConfig`, which suit the data and the initial checkpoint."""
  overrides = task.config(data)
  check_checkpoint(model_settings)
  checkpoint = None if model_settings.fresh_head else model_settings.init_checkpoint
  if checkpoint:
    checkpoint_tasks.check_task(
      checkpoint, task.name, starts=not as_it_is, flag='init_checkpoint'
    )
  tokenizer = open_tokenizer(model_settings, data.data_dir)
  config = build_config(model_settings, tokenizer, **overrides)
  _check_length(data, config)
  if checkpoint:
    checkpoint_tasks.check_labels(checkpoint, task.name, config.num_labels)
  return tokenizer, config


def _identity(task, config):
  """Returns the settings that define the network, {name: value}."""
  names = (*_IDENTITY, *task.identity)
  return {'task': task.name, **{name: getattr(config, name) for name in names}}


def _open_input(task, data, tokenizer, config, job, given):
  """Opens the task's input; checks the length of a training whose flags the user gave."""
  source = task.open_input(data, tokenizer, config, job.seed)
  if given is not None and job.mode in ('train', 'train_and_eval'):
    examples, batch = source.num_train_examples, data.train_batch_size
    jobs.check_length(data.data_dir, examples, batch, job.train_steps, given=given)
  return source


def _make_task_trainer(task, data, optimization, job, strategy, model, source):
  """Builds the `Trainer` of the task's losses and metrics."""
  learnt = task.learn(data, source, model)
  return make_trainer(strategy, model, learnt, optimization, job.train_steps, job.seed)


def _export(task, data, tokenizer, job, model, folder):
  """Exports the model with its tokenizer; as a SavedModel, too, if the job wants that."""
  saved_model = job.mode == 'export' if job.saved_model is None else job.saved_model
  checkpoints.save(
    model, tokenizer, folder, job.export_file, task.info(data), saved_model, job.model_dir
  )


def _bound(function, *arguments):
  """Returns a function with its first arguments set; None for None."""
  return None if function is None else functools.partial(function, *arguments)


def check_checkpoint(settings: script_settings.ModelConfig) -> None:
  """Checks that `init_checkpoint`, if given, exists.

  Raises:
    FileNotFoundError: it does not.
    ValueError: its folder was written incompletely.
  """
  path = settings.init_checkpoint
  if path and not files.exists(path) and not files.exists(f'{path}.index'):
    raise FileNotFoundError(
      f'--init_checkpoint={path}: no file, no folder, no prefix of a TF1 checkpoint. Models are '
      'not downloaded by name; give a path.'
    )
  if path:
    files.check_finished(checkpoint_tasks.folder_of(path) or '')


def open_tokenizer(settings: script_settings.ModelConfig, data_dir: str) -> oscar.Tokenizer:
  """Opens the tokenizer of --vocab_file, else of the initial checkpoint, else of the data.

  Args:
    settings: the flags.
    data_dir: folder of the data, which may have a vocab.txt or a tokenizer.json.

  Raises:
    ValueError: no vocabulary, or a file that is not one of BERT.
  """
  if settings.vocab_file:
    places = [settings.vocab_file]
  else:
    folders = (checkpoint_tasks.folder_of(settings.init_checkpoint), data_dir)
    places = [folder for folder in folders if folder]
  for place in places:
    is_file = files.is_file(place)
    if is_file and os.path.basename(place) not in tokenization.FILES:
      return oscar.Tokenizer(place, settings.do_lower_case is not False)
    folder = os.path.dirname(place) if is_file else place
    if any(files.is_file(os.path.join(folder, name)) for name in tokenization.FILES):
      return oscar.Tokenizer.from_folder(folder or '.', settings.do_lower_case)
  raise ValueError(
    f'No vocabulary: {" and ".join(places) or "the working directory"} has no '
    f'{" or ".join(tokenization.FILES)}; name one with --vocab_file.'
  )


def build_config(
  settings: script_settings.ModelConfig, tokenizer: oscar.Tokenizer, **overrides: Any
) -> oscar.OscarConfig:
  """Builds the `OscarConfig` of the flags for texts of `tokenizer`.

  A named configuration gets the vocabulary's size; one of a file or checkpoint keeps its own, which
  must be large enough.

  Args:
    settings: the flags.
    tokenizer: the tokenizer.
    **overrides: further settings of `OscarConfig`.

  Raises:
    ValueError: no such configuration, or the vocabulary is too large for it.
  """
  overrides = {**settings.overrides(), **overrides}
  name = settings.config or _config_of(settings.init_checkpoint) or 'base'
  if not files.exists(name) and not settings.init_checkpoint:
    overrides['vocab_size'] = len(tokenizer)
  config = oscar.OscarConfig.from_name(name, **overrides)
  tokenizer.check_vocab_size(config.vocab_size)
  return config


def build_model(
  config: oscar.OscarConfig,
  task: str,
  settings: script_settings.ModelConfig,
  dtype_policy: str | None = None,
  as_it_is: bool = False,
) -> modeling.OscarModel:
  """Builds the model of a task and loads its initial weights; call in the strategy's scope.

  Args:
    config: the configuration.
    task: as for `oscar.build_model`.
    settings: the flags, for the initial weights.
    dtype_policy: as for `oscar.build_model`.
    as_it_is: whether the checkpoint must have the task's head, too, as to evaluate it.

  Raises:
    ValueError: the weights do not fit.
    OSError: no such file.
  """
  model = modeling.build_model(config, task, dtype_policy=dtype_policy)
  if settings.init_checkpoint and as_it_is:
    print(checkpoints.restore(model, settings.init_checkpoint))
  elif settings.init_checkpoint:
    keep_initial = (_HEADS.get(task, 'classifier'),) if settings.fresh_head else ()
    print(checkpoints.initialize(model, settings.init_checkpoint, keep_initial=keep_initial))
  return model


def make_trainer(
  strategy: tf.distribute.Strategy,
  model: modeling.OscarModel,
  task: Task,
  optimization_settings: script_settings.OptimizationConfig,
  train_steps: int,
  seed: int = 0,
) -> Trainer:
  """Builds the `Trainer` with the official AdamW and schedule.

  Args:
    strategy: the strategy.
    model: a model built in its scope.
    task: losses and metrics.
    optimization_settings: the flags.
    train_steps: steps of the whole training, where the learning rate decays to zero.
    seed: seed of a task's random draws.
  """
  settings = optimization_settings
  return Trainer(
    strategy,
    model,
    task,
    optimizers.build_optimizer(
      'adamw',
      epsilon=settings.adam_epsilon,
      weight_decay=settings.weight_decay,
      skip=undecayed(model),
    ),
    schedules.build_linear(
      settings.learning_rate,
      train_steps,
      settings.warmup_steps,
      settings.schedule_order,
      decay=settings.scheduler == 'linear',
    ),
    clip_norm=max(0.0, settings.max_grad_norm),
    accumulation_steps=settings.gradient_accumulation_steps,
    clip_each_part=settings.clip_each_part,
    seed=seed,
  )


def _check_length(data, config):
  if data.max_seq_length > config.max_position_embeddings:
    raise ValueError(
      f'--max_seq_length={data.max_seq_length} is longer than the '
      f'{config.max_position_embeddings} positions of the model (max_position_embeddings); '
      'lower it.'
    )


def undecayed(model: keras.Model) -> list:
  """Returns the trainable variables without weight decay in the official AdamW.

  The rule goes by the official name, so the layer norm in the NLVR2 classifier,
  `classifier.2.weight`, does decay.
  """
  return [
    variable
    for variable in model.trainable_variables
    if any(part in checkpoint_names.torch_name(variable.path) for part in _NO_DECAY)
  ]


def _config_of(checkpoint):
  folder = checkpoint_tasks.folder_of(checkpoint)
  paths = [os.path.join(folder, name) for name in _CONFIG_FILES] if folder else []
  return next((path for path in paths if files.is_file(path)), None)
