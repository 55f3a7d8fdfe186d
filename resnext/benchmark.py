"""Times a network against torchvision's, in training and in each exported form.

    python -m resnext.benchmark  # ResNeXt-50 (32x4d), 224 pixels, batch 8 and 1
    python -m resnext.benchmark --compare=training --model_name=resnet-50
    python -m resnext.benchmark --keras --compare=training --rounds=1
    python -m resnext.benchmark --growth --output_dir=growth
    python -m resnext.benchmark --backend=jax  # ResNeXt-50 on a GPU or TPU, against timm

Inference: our network as exported (SavedModel, TFLite by LiteRT, OpenVINO, ONNX Runtime; those that
are installed) beside torchvision's (eager, channels last, compiled), at --batch_size and at 1.
Training: a step of SGD with momentum of both. --keras adds our network with Keras' own grouped
convolutions, each of which Keras compiles with XLA: a training step takes minutes on a CPU.

The contestants take turns, in alternating order, each in a process of its own that is stopped
during the turns of others; compare the ratios. Nothing else should run meanwhile; if something
does, look at processor time. Random weights and images, float32, our steps without XLA. torchvision
is left out where it is not installed; --torch_python names an environment that has it.

--growth: images/s and memory by batch size, 1 to 64, and training on one to four logical replicas.
"""
import dataclasses
import json

from resnext import network_params
from resnext.benchmark_jax import SUITE
from resnext.recipes import RECIPES
from tpu_utils.benchmarking import settings as shared
from tpu_utils.benchmarking.contest import Contestant
from tpu_utils.benchmarking.device_benchmark import DeviceConfig
from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting
from tpu_utils.image_jobs.benchmarking import classifiers
from tpu_utils.names import listed_names

# {our name: torchvision's name}.
TORCHVISION = {
  'resnet-50': 'resnet50',
  'resnet-101': 'resnet101',
  'resnet-152': 'resnet152',
  'resnext-50-32x4d': 'resnext50_32x4d',
  'resnext-101-32x8d': 'resnext101_32x8d',
  'resnext-101-64x4d': 'resnext101_64x4d',
}
_MODELS, _TORCHVISION = 'resnext.benchmark_models', 'resnext.benchmark_torchvision'


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig(settings.Checked):
  """Network, and the work to compare."""

  model_name: str = setting(
    'resnext-50-32x4d', 'Network to time; torchvision does not have all of them.'
  )
  image_size: int = setting(224, 'Pixels a side.', at_least=32)
  batch_size: int = setting(8, 'Images per step; inference is also timed at 1.', at_least=1)
  compare: str = setting(
    ','.join(classifiers.KINDS), 'Work to compare, separated by commas: inference, training.'
  )
  int8: bool = setting(
    False, 'Time an 8-bit TFLite file, by LiteRT and by OpenVINO, too.'
  )
  keras: bool = setting(False, "Time our network with Keras' grouped convolutions, too.")

  def __post_init__(self):
    super().__post_init__()
    self.kinds()
    network_params.from_name(self.model_name)  # Reports a wrong name before TensorFlow's import.

  def kinds(self) -> list[str]:
    """Returns the names in `compare`."""
    return listed_names('comparison of --compare', self.compare, classifiers.KINDS)


def comparison(
  config: BenchmarkConfig, options: shared.ContestConfig, python: str | None = None
) -> classifiers.Comparison:
  """Returns the contestants of a network; torchvision runs with the interpreter `python`."""
  from resnext import resnext_builder

  size = config.image_size

  def network(name, builtin):
    arguments = {
      'model_name': config.model_name, 'builtin': builtin, 'image_size': size,
      'batch_sizes': classifiers.batch_sizes(config.batch_size),
    }  # fmt: skip
    return Contestant(name, _MODELS, (json.dumps(arguments),))

  peers = [network("Keras' grouped convolutions", True)] if config.keras else []
  if config.model_name in TORCHVISION:
    peers += classifiers.torch_contestants(
      'torchvision', _TORCHVISION, TORCHVISION[config.model_name], config.batch_size, size,
      python,
    )  # fmt: skip
  elif not options.growth:
    print(f'torchvision: left out, it has no {config.model_name}.')
  return classifiers.Comparison(
    size,
    lambda: resnext_builder.build_model(config.model_name, 1000, size),
    network('ours', False),
    peers,
    config.batch_size,
    options.rounds,
    config.int8,
  )


def run(resolved: settings.Resolved) -> None:
  """Times the contestants and prints their speeds and ratios."""
  classifiers.run(resolved, SUITE, comparison)


SCRIPT = Script(
  __doc__,
  (BenchmarkConfig, shared.ContestConfig, DeviceConfig),
  run,
  module='resnext.benchmark',
  recipes=RECIPES,
  uses_tensorflow=False,  # --backend=jax does without; `run` imports it for the other.
)


if __name__ == '__main__':
  SCRIPT.main()
