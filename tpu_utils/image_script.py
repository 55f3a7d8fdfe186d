"""From the command line to a job: what the papers' `main.py` scripts for image classifiers share.

TensorFlow is imported only once the flags are known to be right, so that `--help` and mistakes are
answered at once.
"""
import dataclasses
import os
from collections.abc import Callable, Mapping

from tpu_utils import config, settings
from tpu_utils.images.spec import with_advprop
from tpu_utils.settings import setting

# Flags that make any model what it is; a model_dir of others is refused.
_IDENTITY = ('model_name', 'num_label_classes', 'advprop')

_SHARED_CONFIGS = (
  config.DataConfig,
  config.OptimizationConfig,
  config.JobConfig,
  config.HardwareConfig,
)


@dataclasses.dataclass(frozen=True)
class ModelConfig(settings.Checked):
  """Which network: base of the papers' settings, whose other fields are their models' overrides."""

  model_name: str = setting(None, 'The model; a wrong name lists the nearest.', type=str)
  input_image_size: int = setting(
    None, 'Pixels a side; by default what the model was made for.', type=int, at_least=1
  )

  def overrides(self):
    """The settings that replace the model's own."""
    own = [field.name for field in dataclasses.fields(self)][2:]
    values = {name: getattr(self, name) for name in own}
    return {name: value for name, value in values.items() if value is not None}


@dataclasses.dataclass(frozen=True)
class Network:
  """What a paper's package says of the network that the flags describe.

  Attributes:
    build_model: function(model_name, num_classes=, image_size=, dtype_policy=, **overrides) ->
      keras.Model from `images` to logits.
    spec: its `PreprocessSpec`.
    identity: names of the flags that, with its name and classes, make the model what it is.
    record: JSON-able dict for run.json.
    augmentation: `Augmentation` of training; None for what the data ask for.
  """

  build_model: Callable
  spec: object
  identity: tuple
  record: Mapping
  augmentation: object = None


@dataclasses.dataclass(frozen=True)
class Script:
  """One paper's training script.

  Attributes:
    own_configs: the paper's groups of flags, its `ModelConfig` first.
    describe: function(ModelConfig, parsed flags) -> `Network`; may import TensorFlow.
    digits: {flag: value} that `--data_dir` left empty stands for: the embedded digits, learnt on a laptop.
    defaults: {flag: value} where the paper's recipe differs from EfficientNet's.
  """

  own_configs: tuple
  describe: Callable
  digits: Mapping
  defaults: Mapping = dataclasses.field(default_factory=dict)

  @property
  def configs(self):
    """All groups of flags."""
    return (*self.own_configs, *_SHARED_CONFIGS)

  def define_flags(self, flag_values):
    """Defines the script's flags in `flag_values`, an `absl.flags.FlagValues`."""
    for config_class in self.configs:
      names = [field.name for field in dataclasses.fields(config_class)]
      defaults = {name: value for name, value in self.defaults.items() if name in names}
      settings.define_flags(config_class, flag_values, **defaults)

  def run(self, values):
    """Does what the parsed flags (`absl.flags.FlagValues`) say."""
    if not values.data_dir and not values.dataset:
      settings.fill_in(values, self._digits_preset(values), 'No --data_dir: the embedded handwritten digits')
    if values.model_dir is None:
      raise ValueError('--model_dir is missing: the folder for checkpoints and summaries.')
    model, *_ = (settings.from_flags(c, values) for c in self.own_configs)
    _, optimization, job, hardware = (settings.from_flags(c, values) for c in _SHARED_CONFIGS)

    from tpu_utils import image_classification
    from tpu_utils.images import from_config

    dataset, data = from_config.open_data(values, job.mode)
    network = self.describe(model, values)
    spec = _fitting_spec(network.spec, model, data)
    scaling = {'mean_rgb': spec.mean_rgb, 'stddev_rgb': spec.stddev_rgb} if data.advprop else {}

    def build_model(dtype_policy):
      return network.build_model(
        model.model_name,
        num_classes=data.num_label_classes,
        image_size=spec.image_size,
        dtype_policy=dtype_policy,
        **model.overrides(),
        **scaling,
      )

    image_classification.run(
      build_model,
      spec,
      {name: values[name].value for name in (*_IDENTITY, *network.identity)},
      hardware=hardware,
      data=data,
      dataset=dataset,
      optimization=optimization,
      job=job,
      augmentation=network.augmentation,
      expected_replicas=hardware.num_replicas if values['num_replicas'].present else None,
      record={'flags': settings.all_values(self.configs, values), **network.record},
    )

  def _digits_preset(self, values):
    if values.mode == 'eval':
      return self.digits  # The training that it follows exports; two would write over each other.
    # Beside the checkpoints, wherever those go: never over the export of another run.
    return {**self.digits, 'export_dir': os.path.join(values.model_dir or self.digits['model_dir'], 'export')}


def _fitting_spec(spec, model, data):
  if model.input_image_size:
    spec = dataclasses.replace(spec, image_size=model.input_image_size)
  if data.is_digits:
    spec = dataclasses.replace(spec, crop='whole')  # At 8x8 pixels a central crop loses strokes.
  asked = {'crop': data.crop_rule, 'interpolation': data.interpolation}
  spec = dataclasses.replace(spec, **{name: value for name, value in asked.items() if value})
  return with_advprop(spec) if data.advprop else spec
