"""Trains, evaluates and exports EfficientNets.

  python -m efficientnet.main
      A small EfficientNet on the embedded handwritten digits: about two minutes on two cores.

  python -m efficientnet.main --data_dir=gs://bucket/imagenet --model_dir=gs://bucket/b0 --tpu=local
      EfficientNet-B0 on ImageNet TFRecord shards on a TPU VM, as in the paper.

  python -m efficientnet.main --model_name=efficientnet-lite0 --init_checkpoint=pretrained
      EfficientNet-Lite0, trained on ImageNet, learns the digits in three epochs; with --data_dir your images.

  python -m efficientnet.main --mode=eval --data_dir=... --model_dir=...
      Evaluates the checkpoints of another job as they appear.

A stopped job goes on where it stopped when the same command is given again.
"""
import dataclasses
import sys

from absl import flags

from tpu_utils.command_line import cli, settings
from tpu_utils.command_line.settings import setting
from tpu_utils.image_jobs import image_script


@dataclasses.dataclass(frozen=True)
class ModelConfig(image_script.ModelConfig):
  """Which network."""

  model_name: str = setting('efficientnet-b0', 'The model; a wrong name lists the nearest.')
  width_coefficient: float = setting(None, 'Scales the number of channels.', type=float, at_least=0)
  depth_coefficient: float = setting(None, 'Scales the number of layers.', type=float, at_least=0)
  dropout_rate: float = setting(None, 'Dropout before the classifier.', type=float, at_least=0)
  survival_prob: float = setting(
    None, 'Stochastic depth: probability that the last block survives; 0 for none.', type=float, at_least=0
  )
  padding: str = setting(
    None, "symmetric: as in timm's efficientnet_* (without tf_), for their weights.", type=str, choices=('same', 'symmetric')
  )
  batch_norm_momentum: float = setting(None, 'Momentum of the moving statistics.', type=float)
  batch_norm_epsilon: float = setting(None, 'Epsilon of batch norm.', type=float)


# What `--data_dir` left empty stands for: the embedded digits, learnt on a laptop.
DIGITS = {
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
}


# The same for a network of its full size that starts from ImageNet weights.
TUNED_DIGITS = {
  **{k: v for k, v in DIGITS.items() if k not in ('width_coefficient', 'depth_coefficient')},
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
}


def describe(model, values):
  """The `image_script.Network` of a `ModelConfig`."""
  del values
  # TensorFlow is imported only now, so that --help and wrong flags are answered at once.
  from efficientnet import model_builder_factory, pretrained

  blocks_args, global_params = model_builder_factory.get_model_builder(
    model.model_name
  ).get_model_params(model.model_name, model.overrides())
  return image_script.Network(
    build_model=model_builder_factory.build_model,
    spec=model_builder_factory.get_preprocess_spec(model.model_name),
    identity=('width_coefficient', 'depth_coefficient', 'padding'),
    record={
      'global_params': dataclasses.asdict(global_params),
      'blocks_args': [dataclasses.asdict(block) for block in blocks_args],
    },
    find_pretrained=pretrained.find,
  )


SCRIPT = image_script.Script((ModelConfig,), describe, DIGITS, tuned_digits=TUNED_DIGITS)


def main(argv):
  del argv
  SCRIPT.run(flags.FLAGS)


if __name__ == '__main__':
  SCRIPT.define_flags(flags.FLAGS)
  sys.exit(cli.run(main, settings.parse_flags(__doc__, SCRIPT.configs)))
