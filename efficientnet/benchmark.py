"""Times a model against its peers in other libraries, and the trainer against a bare training step.

    python -m efficientnet.benchmark                     # B0, 224 pixels, batch 8 and 1
    python -m efficientnet.benchmark --model_name=efficientnet-b2 --batch_size=4
    python -m efficientnet.benchmark --compare=inference --model_name=efficientnet-lite0
    python -m efficientnet.benchmark --compare=trainer
    python -m efficientnet.benchmark --growth --output_dir=growth
    python -m efficientnet.benchmark --backend=jax       # B0 and B4 on a GPU or TPU

Inference: our model as exported (SavedModel, TFLite by LiteRT, OpenVINO, ONNX Runtime; those that
are installed) beside keras.applications and timm on torch (eager, channels last, compiled), at
--batch_size and at 1. Training: a step of SGD with momentum of ours, keras.applications and timm.

The contestants take turns, in alternating order, each in a process of its own that is stopped
during the turns of others. Their ratios in the same rounds are the result: times vary with the day
and the machine, ratios hardly do. Nothing else should run meanwhile; if something does, look at
processor time. Random weights and images, float32, TensorFlow's steps without XLA. A peer that is
not installed is left out; --torch_python names an environment that has torch and timm.

--growth: images/s and memory by batch size, 1 to 64, and training on one to four logical replicas.
"""
import dataclasses
import json

from efficientnet.benchmark_jax import SUITE
from efficientnet.recipes import RECIPES
from tpu_utils.benchmarking import settings as shared
from tpu_utils.benchmarking.contest import Contestant
from tpu_utils.benchmarking.device_benchmark import DeviceConfig
from tpu_utils.command_line import cli, settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting
from tpu_utils.image_jobs.benchmarking import classifiers
from tpu_utils.names import check_name, listed_names

APPLICATIONS = {f'efficientnet-b{i}': f'EfficientNetB{i}' for i in range(8)}
TIMM = {name: name.replace('-', '_') for name in APPLICATIONS} | {
  f'efficientnet-lite{i}': f'tf_efficientnet_lite{i}' for i in range(5)
}
# keras.applications has no Lite, so a Lite is compared with the B model that it is derived from.
KERAS = APPLICATIONS | {f'efficientnet-lite{i}': f'EfficientNetB{i}' for i in range(5)}
COMPARISONS = (*classifiers.KINDS, 'trainer')
_MODELS, _TIMM = 'efficientnet.benchmark_models', 'efficientnet.benchmark_timm'


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig(settings.Checked):
  """Model, comparison and clock."""

  model_name: str = setting('efficientnet-b0', 'Model to time.', choices=tuple(TIMM))
  image_size: int = setting(
    None, "Pixels a side; the model's own if not given.", type=int, at_least=1
  )
  batch_size: int = setting(8, 'Images per step; inference is also timed at 1.', at_least=1)
  compare: str = setting(
    ','.join(classifiers.KINDS),
    'Work to compare, separated by commas: inference, training, and trainer: the trainer against '
    "a bare training step, for the model and for the digits' model.",
  )
  int8: bool = setting(
    False, 'Time an 8-bit TFLite file, by LiteRT and by OpenVINO, too.'
  )

  def __post_init__(self):
    super().__post_init__()
    names = listed_names('comparison of --compare', self.compare, COMPARISONS)
    if 'trainer' in names and names != ['trainer']:
      raise ValueError(f'--compare={self.compare}: compare trainer alone, with --compare=trainer.')
    if names == ['trainer']:
      check_name('model_name with --compare=trainer', self.model_name, APPLICATIONS)

  def kinds(self) -> list[str]:
    """Returns the names in `compare`."""
    return listed_names('comparison of --compare', self.compare, COMPARISONS)

  def size(self) -> int:
    """Returns the pixels a side."""
    from efficientnet import model_builder_factory

    return self.image_size or model_builder_factory.get_model_input_size(self.model_name)


def comparison(
  config: BenchmarkConfig, options: shared.ContestConfig, python: str | None = None
) -> classifiers.Comparison:
  """Returns the contestants of a model; those in torch run with the interpreter `python`."""
  from efficientnet import model_builder_factory

  size, sizes = config.size(), classifiers.batch_sizes(config.batch_size)

  def keras_model(name, application):
    arguments = {
      'model_name': config.model_name, 'application': application, 'image_size': size,
      'batch_sizes': sizes,
    }  # fmt: skip
    return Contestant(name, _MODELS, (json.dumps(arguments),))

  applications = keras_model('keras.applications', KERAS[config.model_name])
  timm = classifiers.torch_contestants(
    'timm', _TIMM, TIMM[config.model_name], config.batch_size, size, python
  )
  return classifiers.Comparison(
    size,
    lambda: model_builder_factory.build_model(config.model_name, image_size=size),
    keras_model('ours', None),
    [applications, *timm],
    config.batch_size,
    options.rounds,
    config.int8,
  )


def trainer_benchmark(config: BenchmarkConfig, rounds: int) -> dict[str, dict[str, list[float]]]:
  """Times the trainer and a bare training step, for the model and for the digits' model.

  Args:
    config: the model and the batch size.
    rounds: turns of each; ten times as many for the digits' model.

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
      build_model, data, optimization, steps=2, rounds=turns * rounds
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
  """Times the contestants and prints their speeds and ratios."""
  config, options, device = resolved
  if config.kinds() == ['trainer'] and device.backend == 'tensorflow' and not options.growth:
    cli.import_tensorflow()
    _print_trainer(trainer_benchmark(config, options.rounds))
  else:
    classifiers.run(resolved, SUITE, comparison)


def _print_trainer(results):
  from tpu_utils.benchmarking import timing

  for model, times in results.items():
    for name, median in timing.medians(times).items():
      print(f'{model:15} {name:20} {1000 * median:9.1f} ms')
    ratio = timing.ratio(times, 'trainer', 'bare step')
    print(f'{model:15} the trainer takes {ratio:.3f} times as long as a bare step')


SCRIPT = Script(
  __doc__,
  (BenchmarkConfig, shared.ContestConfig, DeviceConfig),
  run,
  module='efficientnet.benchmark',
  recipes=RECIPES,
  uses_tensorflow=False,  # --backend=jax does without; `run` imports it for the other.
)


if __name__ == '__main__':
  SCRIPT.main()
