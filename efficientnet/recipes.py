"""Published training recipes for EfficientNets, with their sources.

`imagenet` has the defaults of the official script (tensorflow/tpu, models/official/efficientnet at
7dc921f), which `efficientnet.main` shares. Both versions of the paper use AutoAugment and an
initial learning rate of 0.256, twice the official script's: its rule gives that rate for batches of
4096 images. They differ from each other in stochastic depth and in held-out images. The official
repository has no recipe for LARS, and no training code for AdvProp and Noisy Student, so their
checkpoints can only be evaluated.
"""
from efficientnet import published
from tpu_utils.command_line.recipes import Recipe, by_name
from tpu_utils.image_jobs import fitting

_MAIN = 'efficientnet.main'
_EVAL = 'efficientnet.eval_ckpt_main'
_OFFICIAL = 'tensorflow/tpu, models/official/efficientnet'
_PATHS = '--tpu=local --data_dir=IMAGENET --model_dir=RUN'
_NO_FLAGS = 'names no flags for training, so all but the model are the defaults of main.py'


def _command(name, arguments=_PATHS, script=_MAIN):
  return f'python -m {script} --recipe={name} {arguments}'


def _days(multiply_adds):
  """Estimates a training time from B0's, the only published one, by billions of multiply-adds."""
  days = 23 / 24 * multiply_adds / 0.39
  return f'{days:.0f} days' if days >= 3 else f'{24 * days:.0f} hours'


def _cost(**models):
  """Estimates the training time of {label: billions of multiply-adds per image}."""
  times = ', '.join(f'{label} {_days(madds)}' for label, madds in models.items())
  return (
    f'estimated for 350 epochs on a TPU v2-8: {times}, by multiply-adds from the 23 hours for B0 '
    'that arXiv 2011.00071 states'
  )


def _of_models(family, column):
  return published.listed({
    name.capitalize(): value
    for name, value in published.by_model(f'Official {family} table', column).items()
  })


def _numbers(family, column):
  values = published.by_model(f'Official {family} table', column).values()
  return ', '.join(map(str, values))


def _transfer(dataset):
  rows = [row for row in published.PAPER['Table 5'].values() if row['dataset'] == dataset]
  accuracies = {row['our_model'].removeprefix('EfficientNet-'): row['our_acc'] for row in rows}
  return f'{dataset}: {published.listed(accuracies)} %'


_RANDAUGMENT = published.checkpoints(published.RANDAUGMENT)
_NOISY_STUDENT = published.checkpoints(published.NOISY_STUDENT)

IMAGENET = Recipe(
  name='imagenet',
  script=_MAIN,
  paper=f'{_OFFICIAL}, defaults of main.py; utils.py, build_learning_rate and build_optimizer',
  settings={
    'model_name': 'efficientnet-b0',
    'num_label_classes': 1000,
    'num_train_images': 1281167,
    'num_eval_images': 50000,
    'train_batch_size': 2048,
    'eval_batch_size': 64,
    'train_steps': 218949,  # 350 epochs.
    'steps_per_eval': 6255,  # 10 epochs.
    'iterations_per_loop': 1251,
    'optimizer': 'rmsprop',  # Decay 0.9, epsilon 0.001.
    'momentum': 0.9,
    'base_learning_rate': 0.016,  # 0.128 at batch size 2048.
    'lr_schedule': 'exponential',
    'lr_decay_factor': 0.97,
    'lr_decay_epoch': 2.4,
    'lr_warmup_epochs': 5.0,
    'moving_average_decay': 0.9999,
    'weight_decay': 1e-5,
    'label_smoothing': 0.1,
    'transpose_input': True,
    'use_bfloat16': True,
  },
  command=_command('imagenet'),
  expects=(
    f'{published.listed(published.checkpoints(published.BASELINE))} % top-1 '
    '(official README, baseline preprocessing)'
  ),
  cost=_cost(B1=0.7, B3=1.8, B5=9.9),
)
PAPER_V1 = IMAGENET.with_settings(
  'paper_v1',
  {
    'train_batch_size': 4096,  # The official rule then gives the paper's 0.256.
    'train_steps': 109475,  # 350 epochs, as in main.py; the paper gives no number.
    'steps_per_eval': 3128,
    'iterations_per_loop': 626,
    'augment_name': 'autoaugment',
    'survival_prob': 0.7,  # Drop connect 0.3.
  },
  paper=(
    'arXiv 1905.11946, first version, Section 5.2; batch size, epochs, label smoothing and moving '
    'averages, which it leaves out, from main.py'
  ),
  expects=(
    f'{published.listed(published.accuracies(published.EARLIER))} % top-1 '
    '(paper, first version, Table 2)'
  ),
  cost=_cost(B0=0.39, B4=4.2, B7=37),
)
PAPER = PAPER_V1.with_settings(
  'paper',
  {
    'survival_prob': 0.8,
    'holdout_shards': 20,  # 25,022 images, by which the checkpoint is selected.
  },
  paper=(
    'arXiv 1905.11946v5, Section 5.2; batch size, epochs, label smoothing and moving averages, '
    "which it leaves out, from main.py. Training reports the held-out images' accuracy; the "
    "paper's is that of ImageNet's validation images"
  ),
  expects=(
    f'{published.listed(published.accuracies(published.LATER))} % top-1 '
    '(paper, version 5, Table 2)'
  ),
  cost=_cost(B0=0.39, B4=4.2, B7=37),
)
AUTOAUGMENT = IMAGENET.with_settings(
  'autoaugment',
  {'augment_name': 'autoaugment'},
  paper=f'{_OFFICIAL}/README.md, note on AutoAugment (arXiv 1805.09501)',
  expects=(
    f'{published.listed(published.checkpoints(published.AUTOAUGMENT))} % top-1 '
    '(official README, AutoAugment)'
  ),
  cost=_cost(B0=0.39, B4=4.2, B7=37),
)
RANDAUGMENT = IMAGENET.with_settings(
  'randaugment',
  {
    'model_name': 'efficientnet-b5',
    'augment_name': 'randaugment',
    'randaug_num_layers': 2,
    'randaug_magnitude': 17,
  },
  paper=f'{_OFFICIAL}/README.md, note on RandAugment (arXiv 1909.13719), for B5',
  expects=f'B5 {_RANDAUGMENT["B5"]} % top-1 (official README, RandAugment)',
  cost=_cost(B5=9.9),
)
RANDAUGMENT_B7 = RANDAUGMENT.with_settings(
  'randaugment_b7',
  {'model_name': 'efficientnet-b7', 'randaug_magnitude': 28},
  paper=f'{_OFFICIAL}/README.md, note on RandAugment (arXiv 1909.13719), for B7 and B8',
  expects=f'B7 {_RANDAUGMENT["B7"]} % top-1 (official README, RandAugment); none for B8',
  cost=_cost(B7=37),
)
LITE = IMAGENET.with_settings(
  'lite',
  {'model_name': 'efficientnet-lite0'},
  paper=f'{_OFFICIAL}/lite/README.md, which {_NO_FLAGS}',
  expects=(
    f'{_of_models("Lite", "top1_fp32")} % top-1 in float32; {_numbers("Lite", "top1_int8")} % in '
    '8 bits (official lite/README.md)'
  ),
  cost=_cost(Lite0=0.407, Lite2=0.899, Lite4=2.64),
)
EDGETPU = IMAGENET.with_settings(
  'edgetpu',
  {'model_name': 'efficientnet-edgetpu-S', 'num_label_classes': 1001},  # Class 0: background.
  paper=f'{_OFFICIAL}/edgetpu/README.md, which {_NO_FLAGS} and the 1001 classes',
  expects=(
    f'{_of_models("EdgeTPU", "top1_float")} % top-1 in float32; '
    f'{_numbers("EdgeTPU", "top1_quantized")} % in 8 bits (official edgetpu/README.md)'
  ),
  cost=_cost(S=1.79, M=3.01, L=7.94),
)
CONDCONV = IMAGENET.with_settings(
  'condconv',
  {'model_name': 'efficientnet-condconv-b0-4e'},
  paper=f'{_OFFICIAL}/condconv/README.md (arXiv 1904.04971), which {_NO_FLAGS}',
  expects=(
    'B0 with 4 experts {CondConv-B0-4e}, with 8 experts {CondConv-B0-8e}, with 8 experts and more '
    'layers {CondConv-B0-8e-depth} % top-1 (official condconv/README.md)'
  ).format(**published.by_model('Official CondConv table', 'top1')
  ),
  cost=_cost(**{'4 experts': 0.402, '8 experts': 0.413, '8 experts, deeper': 0.614}),
)
X = IMAGENET.with_settings(
  'x',
  {'model_name': 'efficientnet-x-b0'},
  paper=f'{_OFFICIAL}/tpu/efficientnet_x_builder.py (arXiv 2102.05610), which {_NO_FLAGS}',
  expects='none in the official repository',
  cost=_cost(**{'X-B0': 0.92, 'X-B3': 4.33}),
)
ADVPROP = Recipe(
  name='advprop',
  script=_EVAL,
  paper=f'{_OFFICIAL}/README.md, note on AdvProp (arXiv 1911.09665): images are scaled to [-1, 1]',
  settings={
    'model_name': 'efficientnet-b0',
    'advprop_preprocessing': True,
    'runmode': 'imagenet',
    'num_images': -1,
  },
  command=_command('advprop', '--ckpt_dir=CHECKPOINT --data_dir=IMAGENET', _EVAL),
  expects=(
    f'{published.listed(published.checkpoints(published.ADVPROP))} % top-1 '
    '(official README, AdvProp + AutoAugment)'
  ),
  cost='estimated: 50,000 images of 0.39 (B0) to 63 billion (B8) multiply-adds each; not timed',
)
NOISY_STUDENT = Recipe(
  name='noisy_student',
  script=_EVAL,
  paper=f'{_OFFICIAL}/README.md, note on Noisy Student (arXiv 1911.04252): L2 at 475 pixels',
  settings={
    'model_name': 'efficientnet-l2',
    'input_image_size': 475,
    'runmode': 'imagenet',
    'num_images': -1,
  },
  command=_command('noisy_student', '--ckpt_dir=CHECKPOINT --data_dir=IMAGENET', _EVAL),
  expects=(
    f'L2 at 475 pixels {_NOISY_STUDENT.pop("L2-475")}, at 800 pixels {_NOISY_STUDENT.pop("L2")}; '
    f'at their own sizes {published.listed(_NOISY_STUDENT)} % top-1 (official README, NoisyStudent '
    '+ RA)'
  ),
  cost='estimated: 50,000 images of 168 billion multiply-adds each; not timed',
)
TRANSFER = Recipe(
  name='transfer',
  script=_MAIN,
  paper=(
    'arXiv 1905.11946, Section 5.3, which takes the settings of Kornblith et al. (arXiv '
    '1805.08974). They search for the learning rate on each data set; 0.01 is in the middle of '
    "their grid. --transfer also sets batch norm's momentum to max(1 - 10 / steps per epoch, 0.9)"
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
  command=_command(
    'transfer', '--transfer --dataset=cifar10 --init_checkpoint=CHECKPOINT --model_dir=RUN'
  ),
  expects=f'{_transfer("CIFAR-10")}; {_transfer("CIFAR-100")} (paper, Table 5)',
  cost=(
    'estimated: 16 minutes for B0 on a TPU v2-8: 20,000 steps of 256 images are 4 epochs of '
    'ImageNet, and arXiv 2011.00071 states 23 hours for 350'
  ),
)
# Own images, from weights; the default for them.
FINETUNE = fitting.recipe(
  _MAIN, '--model_name=efficientnet-lite0 --init_checkpoint=pretrained'
)
DIGITS = Recipe(
  name='digits',
  script=_MAIN,
  paper="this project's: scikit-learn's handwritten digits, for a laptop",
  settings={
    'model_dir': 'runs/efficientnet-digits',
    'input_image_size': 32,
    'width_coefficient': 0.5,
    'depth_coefficient': 0.5,
    'dropout_rate': 0.1,
    'survival_prob': 0.9,
    'batch_norm_momentum': 0.9,
    'num_label_classes': 10,
    'num_train_images': 1442,
    'num_eval_images': 355,
    'train_batch_size': 64,
    'eval_batch_size': 64,
    'train_steps': 660,
    'steps_per_eval': 220,
    'iterations_per_loop': 55,
    'lr_schedule': 'cosine',
    'lr_warmup_epochs': 2.0,
    'moving_average_decay': 0.98,
    'transpose_input': False,
    'use_bfloat16': False,
  },
  command='python -m efficientnet.main --recipe=digits',
  expects='at least 97 % top-1',
  measured='98.31 % top-1 on the 355 held-out images, seed 0',
  cost='measured: 99 seconds on two CPU cores, export included',
)
# For a network of full size, fine-tuned from ImageNet weights.
DIGITS_TUNED = Recipe(
  name='digits_tuned',
  script=_MAIN,
  paper="this project's: the same digits, enlarged, for a network trained on ImageNet",
  settings={
    **{
      flag: value
      for flag, value in DIGITS.settings.items()
      if flag not in ('width_coefficient', 'depth_coefficient')
    },
    'model_dir': 'runs/efficientnet-digits-tuned',
    'input_image_size': 64,
    'train_batch_size': 32,
    'train_steps': 135,
    'steps_per_eval': 45,
    'iterations_per_loop': 15,
    'optimizer': 'momentum',
    'nesterov': True,
    'base_learning_rate': 0.1,
    'lr_warmup_epochs': 0.0,
    'moving_average_decay': 0.9,
  },
  command=_command(
    'digits_tuned', '--model_name=efficientnet-lite0 --init_checkpoint=pretrained'
  ),
  expects='more than from scratch in the same steps',
  measured=(
    'Lite0 from ImageNet weights 73.8, 97.2, 96.9 % top-1 after epochs 1, 2, 3; from scratch 40.8, '
    '89.6, 90.1 %; 355 held-out images, one seed'
  ),
  cost='estimated: a few minutes on two CPU cores',
)

RECIPES = by_name((
  IMAGENET,
  PAPER,
  PAPER_V1,
  AUTOAUGMENT,
  RANDAUGMENT,
  RANDAUGMENT_B7,
  LITE,
  EDGETPU,
  CONDCONV,
  X,
  ADVPROP,
  NOISY_STUDENT,
  TRANSFER,
  FINETUNE,
  DIGITS,
  DIGITS_TUNED,
))
