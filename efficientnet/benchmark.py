"""Times a model against its peer in keras.applications, and the trainer against a bare training step.

    python -m efficientnet.benchmark                                  # B0, 224 pixels, batch 8
    python -m efficientnet.benchmark --model_name=efficientnet-b2 --batch_size=4
    python -m efficientnet.benchmark --compare=trainer

The contestants take turns within one process, each round in the other direction, and what counts is
their ratio: times differ from day to day and machine to machine, ratios hardly. Nothing else may run
meanwhile. One device, tf.function without XLA, random images; against keras.applications SGD with
momentum, of the trainer the official recipe.
"""
import dataclasses

from absl import flags

from tpu_utils import cli, settings, suggest
from tpu_utils.settings import setting

PEERS = {f'efficientnet-b{i}': f'EfficientNetB{i}' for i in range(8)}


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig(settings.Checked):
  """What is timed."""

  model_name: str = setting('efficientnet-b0', 'Model to time.', choices=tuple(PEERS))
  image_size: int = setting(None, "Pixels a side; the model's own if not given.", type=int, at_least=1)
  batch_size: int = setting(8, 'Images a step.', at_least=1)
  rounds: int = setting(10, 'Times each contestant runs.', at_least=1)
  compare: str = setting(
    'keras.applications',
    'keras.applications: training step and inference against that model there. trainer: what the trainer '
    'adds to a bare training step, of the model and of the one that learns the digits.',
    choices=('keras.applications', 'trainer'),
  )


def benchmark(config):
  """Returns {'training step' or 'inference': {'ours' or 'keras.applications': median seconds}}."""
  import keras
  import tensorflow as tf

  from efficientnet import model_builder_factory
  from tpu_utils import timing

  suggest.check('model_name', config.model_name, PEERS)
  size = config.image_size or model_builder_factory.get_model_input_size(config.model_name)
  peer_class = getattr(keras.applications, PEERS[config.model_name])
  models = {
    'ours': model_builder_factory.build_model(config.model_name, image_size=size),
    'keras.applications': peer_class(
      weights=None, input_shape=(size, size, 3), classifier_activation=None
    ),
  }
  images = tf.random.uniform((config.batch_size, size, size, 3), 0, 255)
  labels = tf.one_hot(tf.range(config.batch_size) % 1000, 1000)
  contestants = {
    'training step': {n: timing.training_step(m, images, labels) for n, m in models.items()},
    'inference': {n: timing.inference(m, images) for n, m in models.items()},
  }
  return {kind: timing.medians(timing.take_turns(c, config.rounds)) for kind, c in contestants.items()}


def trainer_benchmark(config):
  """Returns {model: {'bare step' and 'trainer': [seconds of a step in each round]}}."""
  from efficientnet import main as job
  from efficientnet import model_builder_factory
  from tpu_utils import trainer_benchmark as shared
  from tpu_utils.config import DataConfig, OptimizationConfig

  digits = {
    config_class: {f.name: job.DIGITS[f.name] for f in dataclasses.fields(config_class) if f.name in job.DIGITS}
    for config_class in (job.ModelConfig, DataConfig, OptimizationConfig)
  }

  def own_model():
    return model_builder_factory.build_model(config.model_name, image_size=config.image_size)

  def digits_model():
    return model_builder_factory.build_model(
      'efficientnet-b0',
      num_classes=job.DIGITS['num_label_classes'],
      image_size=job.DIGITS['input_image_size'],
      **job.ModelConfig(**digits[job.ModelConfig]).overrides(),
    )

  def compare(build_model, data, optimization, turns):
    return shared.trainer_against_bare_step(
      build_model, data, optimization, steps=2, rounds=turns * config.rounds
    )

  own_data = DataConfig(train_batch_size=config.batch_size, transpose_input=False)
  return {
    config.model_name: compare(own_model, own_data, OptimizationConfig(), turns=1),
    'digits': compare(
      digits_model,
      DataConfig(**digits[DataConfig]),
      OptimizationConfig(**digits[OptimizationConfig] | {'lr_schedule': 'exponential'}),
      turns=10,  # Its steps are so short that they take more of them.
    ),
  }


def main(argv):
  del argv
  config = settings.from_flags(BenchmarkConfig, flags.FLAGS)
  print(f'{config.model_name}, batch {config.batch_size}, median of {config.rounds} rounds')
  if config.compare == 'trainer':
    _print_trainer(trainer_benchmark(config))
    return
  for kind, seconds in benchmark(config).items():
    for name, median in seconds.items():
      rate = config.batch_size / median
      print(f'{kind:15} {name:20} {1000 * median:9.1f} ms {rate:9.1f} images/s')
    ratio = seconds['keras.applications'] / seconds['ours']
    print(f'{kind:15} keras.applications takes {ratio:.2f} times as long as ours')


def _print_trainer(results):
  from tpu_utils import timing

  for model, times in results.items():
    for name, median in timing.medians(times).items():
      print(f'{model:15} {name:20} {1000 * median:9.1f} ms')
    ratio = timing.ratio(times, 'trainer', 'bare step')
    print(f'{model:15} the trainer takes {ratio:.3f} times as long as a bare step')


if __name__ == '__main__':
  settings.define_flags(BenchmarkConfig)
  cli.run(main, settings.parse_flags(__doc__, [BenchmarkConfig]))
