"""Trains, evaluates and exports ResNeXts and ResNets.

  python -m resnext.main
      A small ResNeXt on the embedded handwritten digits: about two minutes on two cores.

  python -m resnext.main --data_dir=gs://bucket/imagenet --model_dir=gs://bucket/50-32x4d --tpu=local
      ResNeXt-50 (32x4d) on ImageNet TFRecord shards on a TPU VM, as in the paper.

  python -m resnext.main --recipe=cifar --data_dir=... --model_dir=...
      ResNeXt-29 (8x64d) on CIFAR-10 as TFRecord shards, as in the paper.

A stopped job goes on where it stopped when the same command is given again.
"""
import dataclasses
import sys

from absl import flags

from resnext import network_params
from tpu_utils.command_line import cli, settings
from tpu_utils.command_line.settings import setting
from tpu_utils.image_jobs import image_script
from tpu_utils.images.spec import Augmentation


@dataclasses.dataclass(frozen=True)
class ModelConfig(image_script.ModelConfig):
  """Which network."""

  model_name: str = setting('resnext-50-32x4d', 'The model; a wrong name lists the nearest.')
  cardinality: int = setting(None, 'Paths of a block, in place of the name\'s.', type=int, at_least=1)
  base_width: int = setting(None, 'Width of a path, in place of the name\'s.', type=int, at_least=1)
  width: int = setting(None, 'Width of the first stage; the paper has 64.', type=int, at_least=1)
  stem_width: int = setting(None, 'Channels of the stem; the paper has 64.', type=int, at_least=1)
  block_form: str = setting(
    None, 'Which of the equivalent forms of Figure 3.', type=str, choices=network_params.BLOCK_FORMS
  )
  shortcut_type: str = setting(
    None,
    'A: zeros for new channels; B: a 1x1 convolution where channels change; C: one in every block.',
    type=str,
    choices=network_params.SHORTCUT_TYPES,
  )
  preactivation: bool = setting(None, 'Norm and ReLU before the convolutions.', type=bool)
  residual: bool = setting(None, 'With --noresidual there are no shortcuts.', type=bool)


@dataclasses.dataclass(frozen=True)
class RecipeConfig(settings.Checked):
  """How it is trained."""

  recipe: str = setting(
    'imagenet',
    'imagenet: the defaults of the flags below. cifar: fills in what the paper has for CIFAR.',
    choices=('imagenet', 'cifar'),
  )


# ImageNet, where it differs from EfficientNet's: Section 4 of the paper; opts.lua and train.lua.
IMAGENET = {
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
  'train_steps': 500456,  # 100 epochs.
  'steps_per_eval': 5005,
}
# Section 5.4: 0.1 at batch size 128 is 0.2 at 256.
CIFAR = {
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
}
AUGMENTATIONS = {
  'imagenet': Augmentation(random_crop='torch', color_jitter=0.4, lighting=0.1),
  'cifar': Augmentation(random_crop='padded', padding=4),
}
# What `--data_dir` left empty stands for: the embedded digits, learnt on a laptop.
DIGITS = {
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
}


# The same for a network of its full size that starts from weights of other data.
TUNED_DIGITS = {
  **{k: v for k, v in DIGITS.items() if k not in ('model_name', 'width', 'stem_width')},
  'model_dir': 'runs/resnext-digits-tuned',
  'input_image_size': 64,
  'train_batch_size': 32,
  'train_steps': 135,
  'steps_per_eval': 45,
  'iterations_per_loop': 15,
  'base_learning_rate': 0.1,
  'lr_schedule': 'cosine',
}


def describe(model, values):
  """The `image_script.Network` of a `ModelConfig`."""
  params = network_params.from_name(model.model_name, model.overrides())
  # TensorFlow is imported only now, so that --help and wrong flags are answered at once.
  from resnext import resnext_builder

  augmentation = AUGMENTATIONS[values.recipe] if values.data_dir or values.dataset else None
  own = [field.name for field in dataclasses.fields(model) if field.name != 'model_name']
  return image_script.Network(
    build_model=resnext_builder.build_model,
    spec=resnext_builder.get_preprocess_spec(model.model_name, **model.overrides()),
    identity=tuple(name for name in own if name != 'input_image_size'),
    record={'network_params': dataclasses.asdict(params)},
    augmentation=augmentation,
  )


SCRIPT = image_script.Script(
  (ModelConfig, RecipeConfig), describe, DIGITS, defaults=IMAGENET, tuned_digits=TUNED_DIGITS
)


def run(values):
  """Does what the parsed flags (`absl.flags.FlagValues`) say."""
  if values.recipe == 'cifar' and (values.data_dir or values.dataset):
    settings.fill_in(values, CIFAR, 'The recipe for CIFAR')
  SCRIPT.run(values)


def main(argv):
  del argv
  run(flags.FLAGS)


if __name__ == '__main__':
  SCRIPT.define_flags(flags.FLAGS)
  sys.exit(cli.run(main, settings.parse_flags(__doc__, SCRIPT.configs)))
