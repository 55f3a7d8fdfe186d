"""Groups of flags that OSCAR's scripts share, as frozen dataclasses.

Names, defaults and meanings are the official ones (microsoft/Oscar, `run_*.py`) unless the help
says otherwise. Where this project's other scripts use another name, both names work.
"""
import dataclasses
from typing import Any

from tpu_utils import config
from tpu_utils.command_line.settings import Checked, setting


@dataclasses.dataclass(frozen=True)
class ModelConfig(Checked):
  """The network and its initial weights."""

  config: str = setting(
    None,
    'base, large, tiny, or a config.json or its folder. By default that of --init_checkpoint, else '
    'base.',
    type=str,
    aliases=('config_name',),
  )
  init_checkpoint: str = setting(
    None,
    'Weights to start from: an official OSCAR checkpoint, a BERT of Hugging Face (file or folder) '
    'or of Google (TF1 prefix), or an export of this project. Heads that it lacks are initialised.',
    type=str,
    aliases=('model_name_or_path',),
  )
  fresh_head: bool = setting(
    False,
    'Initialise the head (pre-training: that of the contrast) even if --init_checkpoint has one, '
    'as from 2 classes to 3 or from another task.',
    aliases=('fresh_contrast_head',),
  )
  vocab_file: str = setting(
    None,
    'vocab.txt, tokenizer.json or their folder. By default that of --init_checkpoint, else that of '
    '--data_dir.',
    type=str,
    aliases=('tokenizer_name',),
  )
  do_lower_case: bool = setting(
    None, "Lower-case texts; by default as the checkpoint's tokenizer does, else yes.", type=bool
  )
  img_feature_dim: int = setting(
    None, "Numbers per region; by default the configuration's, 2054.", type=int, at_least=7
  )
  use_img_layernorm: int = setting(
    None,
    '1: a layer norm on the image embedding, as in VinVL. By default as configured.',
    type=int,
    choices=(0, 1),
  )
  img_layer_norm_eps: float = setting(
    None, 'Epsilon of that norm; by default as configured, 1e-12.', type=float, at_least=0
  )
  drop_out: float = setting(
    None, 'Dropout of hidden states; by default as configured, 0.1.', type=float, at_least=0
  )

  def overrides(self) -> dict[str, Any]:
    """Returns the settings of `OscarConfig` that these flags override."""
    values = {
      'img_feature_dim': self.img_feature_dim,
      'use_img_layernorm': None if self.use_img_layernorm is None else bool(self.use_img_layernorm),
      'img_layer_norm_eps': self.img_layer_norm_eps,
      'hidden_dropout_prob': self.drop_out,
    }
    return {name: value for name, value in values.items() if value is not None}


@dataclasses.dataclass(frozen=True)
class OptimizationConfig(Checked):
  """The optimizer, AdamW with linear warm-up and decay."""

  learning_rate: float = setting(5e-5, 'Learning rate at the end of the warm-up.', at_least=0)
  warmup_steps: int = setting(0, 'Steps of linear warm-up from zero.', at_least=0)
  scheduler: str = setting(
    'linear',
    'After the warm-up: linear decay to zero, or constant.',
    choices=('linear', 'constant'),
  )
  schedule_order: str = setting(
    'optimizer_first',
    'Update n, from 0, uses the rate of step n (optimizer_first, as the official pre-training) or '
    'of n + 1 (scheduler_first, as the official fine-tuning; its last update has rate zero).',
    choices=('optimizer_first', 'scheduler_first'),
  )
  adam_epsilon: float = setting(1e-8, 'Epsilon of AdamW.', at_least=0)
  weight_decay: float = setting(
    0.01,
    'Decay of all but biases and layer norms; fixed in the official pre-training.',
    at_least=0,
  )
  max_grad_norm: float = setting(
    -1.0,
    'Clip the global norm of the gradient, summed over replicas, to this; 0 or less: do not clip.',
  )
  gradient_accumulation_steps: int = setting(
    1, "Split each replica's batch into this many parts and average their gradients.", at_least=1
  )
  clip_each_part: bool = setting(
    False,
    'With several parts: clip the gradient summed so far after each, as the official fine-tuning, '
    'not once for all, as the official pre-training.',
  )


@dataclasses.dataclass(frozen=True)
class JobConfig(config.JobConfig):
  """The mode, length and folders of a job."""

  mode: str = setting(
    'train_and_eval',
    'train; eval (evaluates checkpoints of --model_dir as they appear); train_and_eval; predict '
    '(writes the predictions of the best checkpoint of --model_dir, for tasks that have any); '
    'export (writes the best checkpoint of --model_dir to --export_dir); preflight (compiles the '
    'steps of the training for --topology, without a TPU).',
    choices=('train_and_eval', 'train', 'eval', 'predict', 'export', 'preflight'),
  )
  model_dir: str = setting(
    None,
    'Folder of checkpoints, summaries and the record of the run. A stopped job resumes from it.',
    type=str,
    aliases=('output_dir',),
  )
  train_steps: int = setting(
    2_000_000, 'Training steps in total.', at_least=1, aliases=('max_iters',)
  )
  steps_per_eval: int = setting(
    10_000, 'Steps between evaluations in train_and_eval.', at_least=1
  )
  iterations_per_loop: int = setting(
    100,
    'Steps the device runs before it returns to the host (progress, summaries, checkpoints).',
    at_least=1,
  )
  log_step_count_steps: int = setting(
    100,
    'Minimum number of steps between two log lines outside a terminal.',
    at_least=1,
    aliases=('log_period',),
  )
  archive_ckpt: bool = setting(True, 'Keep the best checkpoint in archive/.')
  save_checkpoints_steps: int = setting(
    None,
    'Steps between checkpoints; by default max(100, --iterations_per_loop).',
    type=int,
    at_least=1,
    aliases=('ckpt_period',),
  )
  export_dir: str = setting(
    None,
    'Folder for the model: config.json, vocab.txt and the weights under official names.',
    type=str,
  )
  export_file: str = setting(
    'model.safetensors',
    'Format of the exported weights; pytorch_model.bin needs torch.',
    choices=('model.safetensors', 'pytorch_model.bin'),
  )
  saved_model: bool = setting(
    None,
    'Export a SavedModel, too, to saved_model/ in --export_dir; by default only in mode=export.',
    type=bool,
  )
  seed: int = setting(
    42, 'Seed of the initial weights, the order of the data and all randomness.', at_least=0
  )
