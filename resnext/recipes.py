"""Published training recipes for ResNeXts, with their sources.

`imagenet` is the default of `resnext.main`. Official code: facebookresearch/ResNeXt at 1f59a2c.
The paper's appendix, the README and train.lua contradict one another on CIFAR, so each has a
recipe.
"""
from typing import Any

from tpu_utils.command_line.recipes import Recipe, by_name
from tpu_utils.image_jobs import fitting

_MAIN = 'resnext.main'
_PATHS = '--tpu=local --data_dir=DATA --model_dir=RUN'
_OFFICIAL = 'facebookresearch/ResNeXt'
_STEPS = 500456  # 100 epochs of ImageNet in batches of 256.


def _command(name):
  return f'python -m {_MAIN} --recipe={name} {_PATHS}'


def _cifar_cost(multiply_adds):
  total = 3 * multiply_adds * 1e9 * 300 * 50000
  return (
    f'estimated: {total:.1e} multiply-adds, 3 times the forward pass of {multiply_adds:.2f} '
    'billion for each image of 300 epochs; stated: 8 GPUs (README); not timed'
  )


# Torch's weight decay acts on all parameters, including biases and those of batch norm.
IMAGENET = Recipe(
  name='imagenet',
  script=_MAIN,
  paper=(
    f'arXiv 1611.05431, Section 4; {_OFFICIAL}, opts.lua (100 epochs, LR, weightDecay), train.lua '
    '(schedule, nesterov) and the batch of 256 of README.md'
  ),
  settings={
    'train_batch_size': 256,
    'optimizer': 'momentum',
    'nesterov': True,
    'base_learning_rate': 0.1,
    'lr_schedule': 'step',
    'lr_decay_factor': 0.1,
    'lr_step_epochs': '30,60,90',
    'lr_warmup_epochs': 0.0,
    'weight_decay': 1e-4,
    'decay_batch_norm': True,
    'label_smoothing': 0.0,
    'moving_average_decay': 0.0,
    'train_steps': _STEPS,
    'steps_per_eval': 5005,  # One epoch.
  },
  command=_command('imagenet'),
  expects='ResNeXt-50 (32x4d) 22.2 % top-1 error (paper, Table 3; README)',
  cost=(
    'estimated: 2.9 days on 8 M40 GPUs, by multiply-adds from the 0.95 seconds a step that Section '
    '5.1 states for ResNeXt-101 (32x4d)'
  ),
)
IMAGENET_101 = IMAGENET.with_settings(
  'imagenet_101',
  {'model_name': 'resnext-101-32x4d'},
  paper='arXiv 1611.05431, Sections 4 and 5.1; otherwise as `imagenet`',
  expects='ResNeXt-101 (32x4d) 21.2 % top-1, 5.6 % top-5 error (paper, Tables 3 and 4; README)',
  cost='estimated: 5.5 days on 8 M40 GPUs, from the 0.95 seconds a step that Section 5.1 states',
)
IMAGENET_101_64X4D = IMAGENET.with_settings(
  'imagenet_101_64x4d',
  {'model_name': 'resnext-101-64x4d'},
  paper='arXiv 1611.05431, Sections 4 and 5.1; otherwise as `imagenet`',
  expects='ResNeXt-101 (64x4d) 20.4 % top-1, 5.3 % top-5 error (paper, Tables 4 and 5; README)',
  cost='stated: 10 days on 8 M40 GPUs, 1.7 seconds a step (Section 5.1)',
)
# As many steps as for ImageNet-1K, so fewer epochs.
IMAGENET_5K = IMAGENET.with_settings(
  'imagenet_5k',
  {
    'num_label_classes': 5000,
    'num_train_images': 6_800_000,
    'lr_step_epochs': '5.6522,11.3044,16.9566',  # The steps of 30, 60 and 90 epochs of ImageNet-1K.
  },
  paper=(
    'arXiv 1611.05431, Section 5.2: 6.8 million images of 5,000 classes, as many mini-batches as '
    'for ImageNet-1K. The set is the authors\' choice from ImageNet-22K, not published as a list '
    'here'
  ),
  expects=(
    'ResNeXt-50 (32x4d), 5K-way 42.3 % top-1, 16.8 % top-5 error; ResNeXt-101 (32x4d) 40.1 and '
    '15.1 % (paper, Table 6)'
  ),
  cost='estimated: 2.9 days on 8 M40 GPUs, as `imagenet`: the same number of steps',
)
# Section 5.4: 0.1 at batch size 128 is 0.2 at 256.
CIFAR = IMAGENET.with_settings(
  'cifar',
  {
    'model_name': 'resnext-29-8x64d',
    'num_label_classes': 10,
    'num_train_images': 50000,
    'num_eval_images': 10000,
    'train_batch_size': 128,
    'base_learning_rate': 0.2,
    'weight_decay': 5e-4,
    'lr_step_epochs': '150,225',
    'train_steps': 117188,  # 300 epochs.
    'steps_per_eval': 391,
    'iterations_per_loop': 391,
  },
  paper='arXiv 1611.05431, Section 5.4 and appendix A',
  expects='ResNeXt-29 (8x64d) 3.65 % error on CIFAR-10, mean of 10 runs (paper, Table 7)',
  cost=_cifar_cost(5.39),
)
CIFAR_16X64D = CIFAR.with_settings(
  'cifar_16x64d',
  {'model_name': 'resnext-29-16x64d'},
  paper='arXiv 1611.05431, Section 5.4 and appendix A',
  expects='ResNeXt-29 (16x64d) 3.58 % error on CIFAR-10, mean of 10 runs (paper, Table 7)',
  cost=_cifar_cost(10.69),
)
CIFAR100 = CIFAR.with_settings(
  'cifar100',
  {'num_label_classes': 100, 'normalization': 'cifar100'},
  paper=(
    f'arXiv 1611.05431, Section 5.4 and appendix A; the statistics of {_OFFICIAL}, '
    'datasets/cifar100.lua'
  ),
  expects=(
    'ResNeXt-29 (8x64d) 17.77 %, (16x64d) 17.31 % error on CIFAR-100, mean of 10 runs (paper, '
    'Table 7)'
  ),
  cost=_cifar_cost(5.39),
)
CIFAR_TORCH = CIFAR_16X64D.with_settings(
  'cifar_torch',
  {'lr_step_epochs': '147,222'},  # epoch / 300 > 0.49 and > 0.74, epochs counted from 1.
  paper=f'{_OFFICIAL}, the CIFAR command of README.md and the schedule of train.lua',
  expects=(
    'none printed for this schedule; the paper has 3.58 % error for ResNeXt-29 (16x64d) on '
    'CIFAR-10 (Table 7)'
  ),
  cost=_cifar_cost(10.69),
)
CIFAR_PREACTIVATION = CIFAR.with_settings(
  'cifar_preactivation',
  {
    'preactivation': True,
    'train_batch_size': 256,
    'base_learning_rate': 0.1,
    'train_steps': 58594,  # 300 epochs.
    'steps_per_eval': 196,
    'iterations_per_loop': 196,
  },
  paper=(
    f'{_OFFICIAL}, README.md: the CIFAR numbers of the paper come from pre-activation blocks and a '
    'batch of 256, which appendix A contradicts; its learning rate of 0.1 is kept'
  ),
  expects='ResNeXt-29 (8x64d) 3.65 % error on CIFAR-10, mean of 10 runs (paper, Table 7)',
  cost=_cifar_cost(5.39),
)
# The paper has no transfer experiments; --transfer means the same for every image classifier here.
TRANSFER = Recipe(
  name='transfer',
  script=_MAIN,
  paper=(
    'Kornblith et al., arXiv 1805.08974, who search for the learning rate on each data set; 0.01 '
    "is from the middle of their grid. --transfer also sets batch norm's momentum to max(1 - 10 / "
    'steps per epoch, 0.9)'
  ),
  settings={
    'optimizer': 'momentum',
    'nesterov': True,
    'base_learning_rate': 0.01,
    'lr_schedule': 'cosine',
    'lr_warmup_epochs': 0.0,
    'label_smoothing': 0.0,
    'moving_average_decay': 0.0,
    'train_batch_size': 256,
    'train_steps': 20000,
  },
  command=(
    f'python -m {_MAIN} --recipe=transfer --transfer --dataset=cifar10 '
    '--init_checkpoint=CHECKPOINT --model_dir=RUN'
  ),
  expects='none: the paper has no transfer experiments',
  cost=(
    'estimated: 2.8 hours on 8 M40 GPUs, by multiply-adds from the 0.95 seconds a step that '
    'Section 5.1 of the paper states for ResNeXt-101 (32x4d)'
  ),
)
# Own images, from weights; the default for them.
FINETUNE = fitting.recipe(
  _MAIN, '--init_checkpoint=CHECKPOINT', decay_batch_norm=False
)
DIGITS = Recipe(
  name='digits',
  script=_MAIN,
  paper="this project's: scikit-learn's handwritten digits, for a laptop",
  settings={
    'model_dir': 'runs/resnext-digits',
    'model_name': 'resnext-20-8x8d',
    'input_image_size': 16,
    'width': 32,
    'stem_width': 32,
    'num_label_classes': 10,
    'num_train_images': 1442,
    'num_eval_images': 355,
    'train_batch_size': 64,
    'eval_batch_size': 64,
    'train_steps': 660,
    'steps_per_eval': 220,
    'iterations_per_loop': 55,
    'base_learning_rate': 0.2,
    'lr_step_epochs': '15,25',
    'weight_decay': 5e-4,
    'transpose_input': False,
    'use_bfloat16': False,
  },
  command='python -m resnext.main --recipe=digits',
  expects='at least 97 % top-1',
  measured='98.59 % top-1 on the 355 held-out images, seed 0',
  cost='estimated: about two minutes on two CPU cores',
)
# For fine-tuning a full-size network from weights trained on other data.
DIGITS_TUNED = Recipe(
  name='digits_tuned',
  script=_MAIN,
  paper="this project's: the same digits, enlarged, for a network trained on other images",
  settings={
    **{
      flag: value
      for flag, value in DIGITS.settings.items()
      if flag not in ('model_name', 'width', 'stem_width')
    },
    'model_dir': 'runs/resnext-digits-tuned',
    'input_image_size': 64,
    'train_batch_size': 32,
    'train_steps': 135,
    'steps_per_eval': 45,
    'iterations_per_loop': 15,
    'base_learning_rate': 0.1,
    'lr_schedule': 'cosine',
  },
  command='python -m resnext.main --recipe=digits_tuned --init_checkpoint=CHECKPOINT',
  expects='more than from scratch in the same steps',
  cost='estimated: a few minutes on two CPU cores',
)

RECIPES = by_name((
  IMAGENET,
  IMAGENET_101,
  IMAGENET_101_64X4D,
  IMAGENET_5K,
  CIFAR,
  CIFAR_16X64D,
  CIFAR100,
  CIFAR_TORCH,
  CIFAR_PREACTIVATION,
  TRANSFER,
  FINETUNE,
  DIGITS,
  DIGITS_TUNED,
))

# From datasets/imagenet.lua and datasets/cifar10.lua.
_TORCH: dict[str, Any] = {'random_crop': 'torch', 'color_jitter': 0.4, 'lighting': 0.1}
_PADDED: dict[str, Any] = {'random_crop': 'padded', 'padding': 4}

# {recipe: arguments of `tpu_utils.images.spec.Augmentation` without a flag}. The recipes for digits
# are left out: the data set decides their augmentation.
AUGMENTATIONS = {
  name: _PADDED if 'cifar' in name else _TORCH
  for name in RECIPES
  if not name.startswith('digits')
}
