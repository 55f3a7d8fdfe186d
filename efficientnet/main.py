"""Trains, evaluates and exports EfficientNets.

  python -m efficientnet.main
      A small EfficientNet on the embedded handwritten digits: about two minutes on two cores.

  python -m efficientnet.main --data_dir=gs://bucket/imagenet --model_dir=gs://bucket/b0 --tpu=local
      EfficientNet-B0 on ImageNet TFRecord shards on a TPU VM, as in the paper.

  python -m efficientnet.main --mode=eval --data_dir=... --model_dir=...
      Evaluates the checkpoints of another job as they appear.

A stopped job goes on where it stopped when the same command is given again.
"""
import dataclasses
import sys

from absl import flags

from tpu_utils import cli, config, settings
from tpu_utils.settings import setting


@dataclasses.dataclass(frozen=True)
class ModelConfig(settings.Checked):
  """Which network."""

  model_name: str = setting('efficientnet-b0', 'The model; a wrong name lists the nearest.')
  input_image_size: int = setting(
    None, 'Pixels a side; by default what the model was made for.', type=int, at_least=1
  )
  width_coefficient: float = setting(None, 'Scales the number of channels.', type=float, at_least=0)
  depth_coefficient: float = setting(None, 'Scales the number of layers.', type=float, at_least=0)
  dropout_rate: float = setting(None, 'Dropout before the classifier.', type=float, at_least=0)
  survival_prob: float = setting(
    None, 'Stochastic depth: probability that the last block survives; 0 for none.', type=float, at_least=0
  )
  batch_norm_momentum: float = setting(None, 'Momentum of the moving statistics.', type=float)
  batch_norm_epsilon: float = setting(None, 'Epsilon of batch norm.', type=float)

  def overrides(self):
    """The settings that replace the model's own."""
    named = dataclasses.asdict(self)
    return {
      name: value
      for name, value in named.items()
      if value is not None and name not in ('model_name', 'input_image_size')
    }


CONFIGS = (
  ModelConfig,
  config.DataConfig,
  config.OptimizationConfig,
  config.JobConfig,
  config.HardwareConfig,
)

# What `--data_dir` left empty stands for: the embedded digits, learnt on a laptop.
DIGITS = {
  'model_dir': 'runs/efficientnet-digits',
  'export_dir': 'runs/efficientnet-digits/export',
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
  'base_learning_rate': 0.04,
  'lr_schedule': 'cosine',
  'lr_warmup_epochs': 2.0,
  'moving_average_decay': 0.98,
  'transpose_input': False,
  'use_bfloat16': False,
  'use_cache': True,
}


def main(argv):
  del argv
  run(flags.FLAGS)


def run(values):
  """Does what the parsed flags (`absl.flags.FlagValues`) say."""
  if not values.data_dir and not values.dataset:
    filled = settings.apply_preset(values, DIGITS)
    print('No --data_dir: the embedded handwritten digits, with')
    print('  ' + ' '.join(f'--{name}={value}' for name, value in filled.items()))
  if values.model_dir is None:
    raise ValueError('--model_dir is missing: the folder for checkpoints and summaries.')
  model, _, optimization, job, hardware = (settings.from_flags(c, values) for c in CONFIGS)

  # TensorFlow is imported only now, so that --help and wrong flags are answered at once.
  from efficientnet import model_builder_factory
  from tpu_utils import image_classification
  from tpu_utils.images import from_config

  dataset, data = from_config.open_data(values, job.mode)
  spec = model_builder_factory.get_preprocess_spec(model.model_name)
  if model.input_image_size:
    spec = dataclasses.replace(spec, image_size=model.input_image_size)
  if data.is_digits:
    spec = dataclasses.replace(spec, crop='whole')  # At 8x8 pixels a central crop loses strokes.

  def build_model(dtype_policy):
    return model_builder_factory.build_model(
      model.model_name,
      num_classes=data.num_label_classes,
      image_size=spec.image_size,
      dtype_policy=dtype_policy,
      **model.overrides(),
    )

  identity = {
    'model_name': model.model_name,
    'num_label_classes': data.num_label_classes,
    'width_coefficient': model.width_coefficient,
    'depth_coefficient': model.depth_coefficient,
  }
  blocks_args, global_params = model_builder_factory.get_model_builder(
    model.model_name
  ).get_model_params(model.model_name, model.overrides())
  image_classification.run(
    build_model,
    spec,
    identity,
    hardware=hardware,
    data=data,
    dataset=dataset,
    optimization=optimization,
    job=job,
    expected_replicas=hardware.num_replicas if values['num_replicas'].present else None,
    record={
      'flags': settings.all_values(CONFIGS, values),
      'global_params': dataclasses.asdict(global_params),
      'blocks_args': [dataclasses.asdict(block) for block in blocks_args],
    },
  )


if __name__ == '__main__':
  for _config in CONFIGS:
    settings.define_flags(_config)
  sys.exit(cli.run(main, settings.parse_flags(__doc__, CONFIGS)))
