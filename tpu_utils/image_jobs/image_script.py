"""From the command line to a job: what the papers' `main.py` scripts for image classifiers share.

TensorFlow is imported only once the flags are known to be right, so that `--help` and mistakes are
answered at once.
"""
import dataclasses
import os
from collections.abc import Callable, Mapping

from tpu_utils import config
from tpu_utils.command_line import settings
from tpu_utils.command_line.settings import setting
from tpu_utils.images.spec import fitted

# Flags that make any model what it is; a model_dir of others is refused.
_IDENTITY = ('model_name', 'num_label_classes', 'advprop')

PRETRAINED = 'pretrained'  # In place of a checkpoint: ImageNet weights from a package.

# Section 5.3 of EfficientNet's paper takes the settings of Kornblith et al. (arXiv 1805.08974); the
# learning rate, which they search for each data set, is from the middle of their grid.
TRANSFER = {
  'optimizer': 'momentum',
  'nesterov': True,
  'base_learning_rate': 0.01,
  'lr_schedule': 'cosine',
  'lr_warmup_epochs': 0.0,
  'label_smoothing': 0.0,
  'moving_average_decay': 0.0,
  'train_batch_size': 256,
  'train_steps': 20000,
}

_SHARED_CONFIGS = (
  config.DataConfig,
  config.OptimizationConfig,
  config.FineTuningConfig,
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
    find_pretrained: function(model_name) -> path of ImageNet weights; ValueError where there are none.
  """

  build_model: Callable
  spec: object
  identity: tuple
  record: Mapping
  augmentation: object = None
  find_pretrained: Callable | None = None


@dataclasses.dataclass(frozen=True)
class Script:
  """One paper's training script.

  Attributes:
    own_configs: the paper's groups of flags, its `ModelConfig` first.
    describe: function(ModelConfig, parsed flags) -> `Network`; may import TensorFlow.
    digits: {flag: value} that `--data_dir` left empty stands for: the embedded digits, learnt on a laptop.
    defaults: {flag: value} where the paper's recipe differs from EfficientNet's.
    tuned_digits: as `digits`, for a network of full size that starts from weights of other data.
  """

  own_configs: tuple
  describe: Callable
  digits: Mapping
  defaults: Mapping = dataclasses.field(default_factory=dict)
  tuned_digits: Mapping = dataclasses.field(default_factory=dict)

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
    elif values.transfer:
      settings.fill_in(values, TRANSFER, '--transfer')
    self.run_as_given(values)

  def run_as_given(self, values):
    """`run` without the preset for digits."""
    if values.model_dir is None:
      raise ValueError('--model_dir is missing: the folder for checkpoints and summaries.')
    model, *_ = (settings.from_flags(c, values) for c in self.own_configs)
    _, optimization, tuning, job, hardware = (settings.from_flags(c, values) for c in _SHARED_CONFIGS)
    network = self.describe(model, values)  # A wrong name is told before anything is opened.

    from tpu_utils.image_jobs import image_classification
    from tpu_utils.images import from_config

    dataset, data = from_config.open_data(values, job.mode)
    spec = fitted(
      network.spec,
      image_size=model.input_image_size,
      crop=data.crop_rule,
      interpolation=data.interpolation,
      advprop=data.advprop,
      is_digits=data.is_digits,
    )
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
      tuning=_resolved(tuning, network, model),
      augmentation=network.augmentation,
      expected_replicas=hardware.num_replicas if values['num_replicas'].present else None,
      record={'flags': settings.all_values(self.configs, values), **network.record},
    )

  def _digits_preset(self, values):
    tuned = values.init_checkpoint is not None or values.transfer
    digits = self.tuned_digits if tuned else self.digits
    if values.mode == 'eval':
      return digits  # The training that it follows exports; two would write over each other.
    # Beside the checkpoints, wherever those go: never over the export of another run.
    return {**digits, 'export_dir': os.path.join(values.model_dir or digits['model_dir'], 'export')}


def _resolved(tuning, network, model):
  """The `FineTuningConfig` with the path of the weights in place of `pretrained`, and no word on what flags say."""
  if model.overrides().get('batch_norm_momentum') is not None:
    tuning = dataclasses.replace(tuning, transfer=False)  # Which would set that, and nothing else from here on.
  if tuning.init_checkpoint != PRETRAINED:
    return tuning
  if network.find_pretrained is None:
    raise ValueError(
      f'--init_checkpoint={PRETRAINED}: no package has weights of {model.model_name}; give the path of a checkpoint.'
    )
  return dataclasses.replace(tuning, init_checkpoint=network.find_pretrained(model.model_name))
