"""Times a network against Keras' grouped convolutions and against torchvision.

    python -m resnext.benchmark  # ResNeXt-50 (32x4d), 224 pixels, batch size 8
    python -m resnext.benchmark --model_name=resnet-50 --peers=torchvision
    python -m resnext.benchmark --backend=jax  # ResNeXt-50 on a GPU or TPU, against timm

The contestants take turns, in reverse order every other round; compare the ratios of their medians.
Nothing else should run meanwhile. One device, random images, SGD with momentum. TensorFlow runs
without XLA. torch runs in channels-last layout, its faster one, and in a separate process, because
the two libraries crash each other in one. Keras compiles each of its grouped convolutions with XLA
and takes minutes for a training step on a CPU; hence --keras_rounds.
"""
import dataclasses

from resnext import network_params
from resnext.recipes import RECIPES
from tpu_utils.benchmarking import device_benchmark
from tpu_utils.benchmarking.device_benchmark import DeviceConfig
from tpu_utils.benchmarking.peer_process import PeerProcess
from tpu_utils.command_line import cli, settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting
from tpu_utils.names import check_name

PEERS = ('keras', 'torchvision')
# {our name: torchvision's name}.
TORCHVISION = {
  'resnet-50': 'resnet50',
  'resnet-101': 'resnet101',
  'resnet-152': 'resnet152',
  'resnext-50-32x4d': 'resnext50_32x4d',
  'resnext-101-32x8d': 'resnext101_32x8d',
  'resnext-101-64x4d': 'resnext101_64x4d',
}


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig(settings.Checked):
  """Contestants and number of rounds."""

  model_name: str = setting('resnext-50-32x4d', 'Network to time.')
  peers: str = setting('keras,torchvision', 'Contestants besides ours, separated by commas.')
  image_size: int = setting(224, 'Pixels a side.', at_least=32)
  batch_size: int = setting(8, 'Images per step.', at_least=1)
  rounds: int = setting(10, 'Timed runs of each contestant.', at_least=1)
  keras_rounds: int = setting(
    1, "Timed training steps of the network with Keras' convolutions.", at_least=1
  )

  def __post_init__(self):
    super().__post_init__()
    for peer in self.peer_list():
      check_name('--peers', peer, PEERS)
    if 'torchvision' in self.peer_list():
      check_name('--model_name with the peer torchvision', self.model_name, TORCHVISION)
    network_params.from_name(self.model_name)  # Reports a wrong name before TensorFlow's import.

  def peer_list(self) -> list[str]:
    """Returns the names in `peers`."""
    return self.peers.split(',') if self.peers else []


def benchmark(config: BenchmarkConfig) -> dict[str, dict[str, float]]:
  """Times the contestants.

  Returns:
    {'training step' or 'inference': {'ours' or a peer: median seconds}}.

  Raises:
    ValueError: torchvision's process fails.
  """
  import tensorflow as tf

  from resnext import resnext_builder
  from tpu_utils import export
  from tpu_utils.benchmarking import timing

  peers = config.peer_list()
  shape = (config.batch_size, config.image_size, config.image_size, 3)
  images = tf.random.uniform(shape, 0, 255)
  labels = tf.one_hot(tf.range(config.batch_size) % 1000, 1000)
  models = {'ours': resnext_builder.build_model(config.model_name, 1000, config.image_size)}
  if 'keras' in peers:
    models['keras'] = export.with_builtin_layers(models['ours'])
  train = {name: timing.training_step(model, images, labels) for name, model in models.items()}
  infer = {name: timing.inference(model, images) for name, model in models.items()}
  if 'torchvision' not in peers:
    return _take_turns(train, infer, config)
  arguments = (TORCHVISION[config.model_name], str(config.batch_size), str(config.image_size))
  remedy = 'install torchvision, or leave it out with --peers=keras'
  with PeerProcess('resnext.benchmark_torchvision', arguments, remedy) as process:
    train['torchvision'] = lambda: process.run('train')
    infer['torchvision'] = lambda: process.run('infer')
    return _take_turns(train, infer, config)


def _take_turns(train, infer, config):
  from tpu_utils.benchmarking import timing

  return {
    'inference': timing.medians(timing.take_turns(infer, config.rounds)),
    'training step': timing.medians(
      timing.take_turns(train, config.rounds, {'keras': config.keras_rounds})
    ),
  }


def run(resolved: settings.Resolved) -> None:
  """Times the contestants and prints their ratios."""
  config, device = resolved
  if device.backend == 'jax':
    from resnext.benchmark_jax import SUITE

    device_benchmark.run(device, SUITE, config.rounds, config.image_size)
    return
  cli.import_tensorflow()
  print(f'{config.model_name}, batch {config.batch_size}, median of {config.rounds} rounds')
  for kind, seconds in benchmark(config).items():
    for name, median in seconds.items():
      rate = config.batch_size / median
      print(f'{kind:15} {name:12} {1000 * median:9.1f} ms {rate:9.2f} images/s')
    for name in list(seconds)[1:]:
      print(f'{kind:15} {name} takes {seconds[name] / seconds["ours"]:.2f} times as long as ours')


SCRIPT = Script(
  __doc__,
  (BenchmarkConfig, DeviceConfig),
  run,
  module='resnext.benchmark',
  recipes=RECIPES,
  uses_tensorflow=False,  # --backend=jax does without; `run` imports it for the other.
)


if __name__ == '__main__':
  SCRIPT.main()
