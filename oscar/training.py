"""From the settings of OSCAR's scripts to a model, its vocabulary and its trainer."""
import os

import oscar
from oscar import checkpoints, modeling, optimization
from tpu_utils import optimizers, schedules
from tpu_utils.trainer import Trainer

_CONFIG_FILES = ('config.json', 'bert_config.json')  # Hugging Face's and Google's names.


def check_checkpoint(settings):
  """Raises FileNotFoundError unless there is something at `init_checkpoint`, if that is given."""
  path = settings.init_checkpoint
  if path and not os.path.exists(path) and not os.path.exists(f'{path}.index'):
    raise FileNotFoundError(
      f'--init_checkpoint={path}: no file, no folder, no prefix of a TF1 checkpoint. Models are not '
      'downloaded by name: give the path of one.'
    )


def open_tokenizer(settings, data_dir):
  """The vocabulary that the flags mean.

  Args:
    settings: a `script_settings.ModelConfig`.
    data_dir: folder of the data, which may have a vocab.txt.

  Returns:
    A `Tokenizer`.

  Raises:
    ValueError: there is none, or what is there is no vocabulary of BERT.
  """
  if settings.vocab_file:
    places = [settings.vocab_file]
  else:
    places = [folder for folder in (_folder(settings.init_checkpoint), data_dir) if folder]
  for place in places:
    path = os.path.join(place, 'vocab.txt') if os.path.isdir(place) else place
    if os.path.isfile(path):
      folder = os.path.dirname(path)
      if os.path.basename(path) == 'vocab.txt':
        return oscar.Tokenizer.from_folder(folder, settings.do_lower_case)
      return oscar.Tokenizer(path, settings.do_lower_case is not False)
  raise ValueError(
    f'No vocabulary: {" and ".join(places) or "the working directory"} has no vocab.txt; name one '
    'with --vocab_file.'
  )


def build_config(settings, tokenizer, **overrides):
  """The `OscarConfig` that the flags mean, for texts of `tokenizer`.

  A named configuration takes the size of the vocabulary; that of a file or of a checkpoint says its
  own, which the vocabulary must fit.

  Args:
    settings: a `script_settings.ModelConfig`.
    tokenizer: the `Tokenizer`.
    **overrides: further settings of `OscarConfig`.

  Raises:
    ValueError: no such configuration, or the vocabulary is too large for it.
  """
  overrides = {**settings.overrides(), **overrides}
  name = settings.config or _config_beside(settings.init_checkpoint) or 'base'
  if not os.path.exists(name) and not settings.init_checkpoint:
    overrides['vocab_size'] = len(tokenizer)
  config = oscar.OscarConfig.from_name(name, **overrides)
  tokenizer.check_vocab_size(config.vocab_size)
  return config


def build_model(config, task, settings, use_bfloat16=False):
  """The model of a task; call in the strategy's scope.

  Args:
    config: `OscarConfig`.
    task: as for `oscar.build_model`.
    settings: a `script_settings.ModelConfig`, for the weights to start from.
    use_bfloat16: compute in bfloat16, with float32 variables.
  """
  model = modeling.build_model(
    config, task, dtype_policy='mixed_bfloat16' if use_bfloat16 else None
  )
  if settings.init_checkpoint:
    fresh = ('cls_seq_relationship',) if settings.fresh_contrast_head else ()
    print(checkpoints.initialize(model, settings.init_checkpoint, fresh=fresh))
  return model


def make_trainer(strategy, model, task, optimization_settings, train_steps):
  """The `Trainer` with the official AdamW and schedule, for a model of `strategy`'s scope.

  Args:
    strategy: `tf.distribute.Strategy`.
    model: `OscarModel`.
    task: `tpu_utils.trainer.Task`.
    optimization_settings: a `script_settings.OptimizationConfig`.
    train_steps: steps of the whole training, which the learning rate ends with.
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
      skip=optimization.undecayed(model),
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
  )


def _folder(checkpoint):
  """The folder of a checkpoint, given as the folder, a file or a prefix; None without one."""
  if not checkpoint:
    return None
  return checkpoint if os.path.isdir(checkpoint) else os.path.dirname(checkpoint) or '.'


def _config_beside(checkpoint):
  folder = _folder(checkpoint)
  paths = [os.path.join(folder, name) for name in _CONFIG_FILES] if folder else []
  return next((path for path in paths if os.path.isfile(path)), None)
