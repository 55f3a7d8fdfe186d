"""Times a model against its peers in other libraries, and the trainer against a bare training step.

    python -m efficientnet.benchmark                                  # B0, 224 pixels, batch 8
    python -m efficientnet.benchmark --model_name=efficientnet-b2 --batch_size=4
    python -m efficientnet.benchmark --compare=inference --model_name=efficientnet-lite0
    python -m efficientnet.benchmark --compare=trainer
    python -m efficientnet.benchmark --backend=jax                    # B0 and B4 on a GPU or TPU

The contestants take turns, in alternating order, and their ratios are the result: times vary with
the day and the machine, ratios hardly do. Nothing else should run meanwhile; if something does,
--clock=processor measures processor time instead. One device, tf.function without XLA, random
images; training against keras.applications uses SGD with momentum, the trainer's comparison the
official recipe. torch runs in a separate process, because it and TensorFlow crash each other in
one.
"""
import dataclasses
import importlib.util
import time

from efficientnet.recipes import RECIPES
from tpu_utils.benchmarking import device_benchmark
from tpu_utils.benchmarking.device_benchmark import DeviceConfig
from tpu_utils.benchmarking.peer_process import PeerProcess
from tpu_utils.command_line import cli, settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting
from tpu_utils.names import check_name

PEERS = {f'efficientnet-b{i}': f'EfficientNetB{i}' for i in range(8)}
# keras.applications has no Lite, so a Lite is compared with the B model that it is derived from.
KERAS_PEERS = PEERS | {f'efficientnet-lite{i}': f'EfficientNetB{i}' for i in range(5)}
TIMM_PEERS = {name: name.replace('-', '_') for name in KERAS_PEERS} | {
  f'efficientnet-lite{i}': f'tf_efficientnet_lite{i}' for i in range(5)
}
CLOCKS = {'wall': time.perf_counter, 'processor': time.process_time}


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig(settings.Checked):
  """Model, comparison and clock."""

  model_name: str = setting(
    'efficientnet-b0',
    'Model to time; the Lites only with --compare=inference.',
    choices=tuple(KERAS_PEERS),
  )
  image_size: int = setting(
    None, "Pixels a side; the model's own if not given.", type=int, at_least=1
  )
  batch_size: int = setting(8, 'Images per step.', at_least=1)
  rounds: int = setting(10, 'Times each contestant runs.', at_least=1)
  compare: str = setting(
    'keras.applications',
    'keras.applications: training step and inference against that model there. inference: the '
    'model, as exported and as trained, against keras.applications, and against timm if torch and '
    'timm are installed. trainer: the trainer against a bare training step, for the model and for '
    "the digits' model.",
    choices=('keras.applications', 'inference', 'trainer'),
  )
  clock: str = setting(
    'wall',
    'wall: elapsed time. processor: processor time, which other programs disturb less.',
    choices=tuple(CLOCKS),
  )

  def __post_init__(self):
    super().__post_init__()
    if self.compare != 'inference':
      check_name(f'model_name with --compare={self.compare}', self.model_name, PEERS)


def _ours_and_keras(config):
  """Returns (our model, keras.applications' model, images) with fresh weights."""
  import keras
  import tensorflow as tf

  from efficientnet import model_builder_factory

  size = config.image_size or model_builder_factory.get_model_input_size(config.model_name)
  ours = model_builder_factory.build_model(config.model_name, image_size=size)
  peer_class = getattr(keras.applications, KERAS_PEERS[config.model_name])
  peer = peer_class(weights=None, input_shape=(size, size, 3), classifier_activation=None)
  return ours, peer, tf.random.uniform((config.batch_size, size, size, 3), 0, 255)


def benchmark(config: BenchmarkConfig) -> dict[str, dict[str, float]]:
  """Times training steps and inference of the model and keras.applications'.

  Returns:
    {'training step' or 'inference': {'ours' or 'keras.applications': median seconds}}.
  """
  import tensorflow as tf

  from tpu_utils.benchmarking import timing

  ours, peer, images = _ours_and_keras(config)
  models = {'ours': ours, 'keras.applications': peer}
  labels = tf.one_hot(tf.range(config.batch_size) % 1000, 1000)
  contestants = {
    'training step': {
      name: timing.training_step(model, images, labels) for name, model in models.items()
    },
    'inference': {name: timing.inference(model, images) for name, model in models.items()},
  }
  clock = CLOCKS[config.clock]
  return {
    kind: timing.medians(timing.take_turns(functions, config.rounds, clock=clock))
    for kind, functions in contestants.items()
  }


def inference_benchmark(config: BenchmarkConfig) -> dict[str, list[float]]:
  """Times inference of the model in three forms, and of its peers.

  Returns:
    {contestant: [seconds of each round]}. `ours`: with batch norm folded, as in a SavedModel;
    `ours, constant weights`: the same from `export.constant_function`; `ours, unfolded`: as
    trained; `keras.applications`; and `timm`, if torch and timm are installed.
  """
  import contextlib

  from tpu_utils import export
  from tpu_utils.benchmarking import timing

  model, peer, images = _ours_and_keras(config)
  folded = export.fold_batch_norm(model)
  constant = export.constant_function(folded, config.batch_size)
  contestants = {
    'ours': timing.inference(folded, images),
    'ours, constant weights': lambda: constant(images).numpy(),
    'ours, unfolded': timing.inference(model, images),
    'keras.applications': timing.inference(peer, images),
  }
  with contextlib.ExitStack() as stack:
    if all(map(importlib.util.find_spec, ('torch', 'timm'))):
      arguments = (TIMM_PEERS[config.model_name], str(config.batch_size), str(images.shape[1]))
      process = PeerProcess('efficientnet.benchmark_timm', arguments, 'reinstall torch and timm')
      stack.enter_context(process)
      contestants['timm'] = lambda: process.run('infer')
    elsewhere = ('timm',) if config.clock == 'processor' else ()
    clock = CLOCKS[config.clock]
    return timing.take_turns(contestants, config.rounds, clock=clock, elsewhere=elsewhere)


def trainer_benchmark(config: BenchmarkConfig) -> dict[str, dict[str, list[float]]]:
  """Times the trainer and a bare training step, for the model and for the digits' model.

  Returns:
    {model name or 'digits': {'bare step' or 'trainer': [seconds per step in each round]}}.
  """
  from efficientnet import main as job
  from efficientnet import model_builder_factory
  from tpu_utils.config import DataConfig, OptimizationConfig
  from tpu_utils.image_jobs import trainer_benchmark as shared

  digits = job.SCRIPT.resolve({'recipe': 'digits'})
  model, data = digits.get(job.ModelConfig), digits.get(DataConfig)

  def own_model():
    return model_builder_factory.build_model(config.model_name, image_size=config.image_size)

  def digits_model():
    return model_builder_factory.build_model(
      'efficientnet-b0',
      num_classes=data.num_label_classes,
      image_size=model.input_image_size,
      **model.overrides(),
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
      data,
      dataclasses.replace(digits.get(OptimizationConfig), lr_schedule='exponential'),
      turns=10,  # Its steps are short, so single rounds are noisy.
    ),
  }


def run(resolved: settings.Resolved) -> None:
  """Times the contestants and prints their ratios."""
  config, device = resolved
  if device.backend == 'jax':
    from efficientnet.benchmark_jax import SUITE

    device_benchmark.run(device, SUITE, config.rounds, config.image_size)
    return
  cli.import_tensorflow()
  print(f'{config.model_name}, batch {config.batch_size}, median of {config.rounds} rounds')
  if config.compare == 'trainer':
    _print_trainer(trainer_benchmark(config))
    return
  if config.compare == 'inference':
    _print_inference(inference_benchmark(config))
    return
  for kind, seconds in benchmark(config).items():
    for name, median in seconds.items():
      rate = config.batch_size / median
      print(f'{kind:15} {name:20} {1000 * median:9.1f} ms {rate:9.1f} images/s')
    ratio = seconds['keras.applications'] / seconds['ours']
    print(f'{kind:15} keras.applications takes {ratio:.2f} times as long as ours')


def _print_inference(times):
  from tpu_utils.benchmarking import timing

  for name, median in timing.medians(times).items():
    ratio = timing.ratio(times, name, 'ours')
    print(f'inference  {name:24}{1000 * median:9.1f} ms, {ratio:.2f} times as long as ours')


def _print_trainer(results):
  from tpu_utils.benchmarking import timing

  for model, times in results.items():
    for name, median in timing.medians(times).items():
      print(f'{model:15} {name:20} {1000 * median:9.1f} ms')
    ratio = timing.ratio(times, 'trainer', 'bare step')
    print(f'{model:15} the trainer takes {ratio:.3f} times as long as a bare step')


SCRIPT = Script(
  __doc__,
  (BenchmarkConfig, DeviceConfig),
  run,
  module='efficientnet.benchmark',
  recipes=RECIPES,
  uses_tensorflow=False,  # --backend=jax does without; `run` imports it for the other.
)


if __name__ == '__main__':
  SCRIPT.main()
