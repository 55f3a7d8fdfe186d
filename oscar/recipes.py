"""The recipes of OSCAR."""
from tpu_utils.command_line.recipes import Recipe

_SCRIPT = 'oscar.run_pretrain'
# The defaults of the official run_oscarplus_pretrain.py.
_PRETRAIN = {
  'train_batch_size': 1024,
  'max_seq_length': 35,
  'max_img_seq_length': 50,
  'learning_rate': 5e-5,
  'warmup_steps': 0,
  'scheduler': 'linear',
  'adam_epsilon': 1e-8,
  'weight_decay': 0.01,
  'train_steps': 2_000_000,
}
# A tiny network, learnt on a laptop.
_SCENES = {
  'model_dir': 'runs/oscar-scenes',
  'config': 'tiny',
  'max_seq_length': 35,
  'max_img_seq_length': 6,
  'texta_false_prob': 0.25,
  'textb_sample_mode': 1,
  'train_batch_size': 64,
  'eval_batch_size': 64,
  'train_steps': 1500,
  'steps_per_eval': 300,
  'iterations_per_loop': 50,
  'log_step_count_steps': 50,
  'learning_rate': 1e-3,
  'warmup_steps': 100,
  'max_grad_norm': 1.0,
}
_ALL = (
  Recipe(
    name='pretrain',
    paper='arXiv 2004.06165, Section 4; the defaults of the official pre-training script',
    settings=_PRETRAIN,
    command='python -m oscar.run_pretrain --recipe=pretrain --data_dir=CORPUS --model_dir=DIR '
    '--init_checkpoint=bert-base-uncased',
    expects='a start for the tasks of the paper',
    script=_SCRIPT,
    cost='not timed',
  ),
  Recipe(
    name='scenes',
    paper='scenes of handwritten digits, made here',
    settings=_SCENES,
    command='python -m oscar.run_pretrain --recipe=scenes',
    expects='most masked words found',
    script=_SCRIPT,
    cost='a few minutes on two CPU cores',
  ),
)
RECIPES = {recipe.name: recipe for recipe in _ALL}
