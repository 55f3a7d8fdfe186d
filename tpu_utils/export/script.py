"""`python -m PACKAGE.export_model`: a checkpoint as SavedModel, `.keras` and TFLite, and how good each is.

TensorFlow is imported only once the flags are known to be right.
"""
import dataclasses
import json
import os

from tpu_utils import config, image_script, settings, suggest
from tpu_utils.settings import setting

PRETRAINED = 'pretrained'
_VARIANTS = ('float32', 'float16', 'dynamic_range', 'int8')


@dataclasses.dataclass(frozen=True)
class ExportConfig(settings.Checked):
  """What is exported, and where to."""

  ckpt_dir: str = setting(
    None,
    'The checkpoint: --model_dir of a job, whose settings are taken over and whose best checkpoint is exported; '
    'or a folder, prefix or file of any program that tpu_utils.weights reads; or `pretrained`.',
    type=str,
  )
  enable_ema: bool = setting(True, 'Take the moving averages where the checkpoint has them.')
  image_size: int = setting(None, 'The same as --input_image_size.', type=int, at_least=1)
  output_saved_model_dir: str = setting(
    None, 'Folder for the SavedModel, the .keras file and their record.', type=str
  )
  export_to_tpu: bool = setting(
    False, 'Write a SavedModel for TPUs, too (tags serve and serve,tpu), to tpu/ in that folder.'
  )
  output_tflite: str = setting(None, 'TFLite file to write.', type=str)
  quantize: bool = setting(True, 'The TFLite file computes in 8 bits; --noquantize: in float32.')
  tflite_variants: str = setting(
    None,
    'Instead of --quantize, any of ' + ', '.join(_VARIANTS) + ' with commas between, or `all`: one file each, '
    'named like --output_tflite with the variant before its ending.',
    type=str,
  )
  batch_size: int = setting(1, 'Images that the TFLite file takes at a time.', at_least=1)
  num_steps: int = setting(
    2000, 'Training images on which the ranges of an int8 file are measured; all if there are fewer.', at_least=1
  )
  num_eval_images: int = setting(
    1000, 'Evaluation images on which the accuracy of each file is measured; all if there are fewer.', at_least=1
  )

  def __post_init__(self):
    super().__post_init__()
    if self.tflite_variants and not self.output_tflite:
      raise ValueError('--tflite_variants needs --output_tflite, the file to write.')
    if self.export_to_tpu and not self.output_saved_model_dir:
      raise ValueError('--export_to_tpu needs --output_saved_model_dir, the folder to write to.')
    for variant in self.variants():
      suggest.check('--tflite_variants', variant, (*_VARIANTS, 'all'))

  def variants(self):
    """{TFLite variant: file to write}."""
    if not self.output_tflite:
      return {}
    if not self.tflite_variants:
      return {'int8' if self.quantize else 'float32': self.output_tflite}
    names = _VARIANTS if self.tflite_variants == 'all' else self.tflite_variants.split(',')
    stem, ending = os.path.splitext(self.output_tflite)
    return {name: f'{stem}.{name}{ending}' for name in names}


DataConfig = settings.part(
  config.DataConfig,
  (
    'data_dir',
    'dataset',
    'tfds_data_dir',
    'eval_split',
    'holdout_fraction',
    'crop_rule',
    'interpolation',
    'advprop',
    'num_label_classes',
  ),
  'Images to measure ranges and accuracy on (those of the job if --ckpt_dir is one), and how they are prepared.',
  num_label_classes=None,
)


@dataclasses.dataclass(frozen=True)
class Script:
  """One paper's script: `script` is its training script, which knows the models."""

  script: image_script.Script

  @property
  def configs(self):
    """All groups of flags."""
    return (ExportConfig, *self.script.own_configs, DataConfig)

  def define_flags(self, flag_values):
    """Defines the script's flags in `flag_values`, an `absl.flags.FlagValues`."""
    for config_class in self.configs:
      settings.define_flags(config_class, flag_values)

  def run(self, values):
    """Does what the parsed flags (`absl.flags.FlagValues`) say."""
    what = settings.from_flags(ExportConfig, values)
    _check_complete(what)
    job = _job_flags(what.ckpt_dir)
    if job is not None:
      _take_over(values, job, self.configs[1:])
    if what.image_size:
      values['input_image_size'].value = what.image_size
    model_settings = settings.from_flags(self.script.own_configs[0], values)
    data = settings.from_flags(DataConfig, values)
    digits = job is not None and not data.data_dir and not data.dataset

    from tpu_utils.export import model_files

    network = self.script.describe(model_settings, values)
    spec = image_script.fitting_spec(network.spec, model_settings, data, digits)
    model = _build(network, model_settings, data, spec, what)
    images = None
    if digits or data.data_dir or data.dataset:
      images = model_files.Images(data, spec, model.output_shape[-1])
    model_files.write(model, spec, images, what)


def _check_complete(what):
  if what.ckpt_dir is None:
    raise ValueError(
      '--ckpt_dir is missing: the checkpoint to export, for example --ckpt_dir=runs/NAME of a job of main.py.'
    )
  if not what.output_saved_model_dir and not what.output_tflite:
    raise ValueError('Nothing to write: give --output_saved_model_dir, --output_tflite or both.')


def _job_flags(ckpt_dir):
  """{flag: value} of the job that wrote a checkpoint, None if it is not one of ours."""
  folder = ckpt_dir if os.path.isdir(ckpt_dir) else os.path.dirname(ckpt_dir)
  for place in (folder, os.path.dirname(folder.rstrip('/'))):  # The best is in a folder of its own.
    path = os.path.join(place, 'run.json')
    if os.path.exists(path):
      return _flags_of(path)
  return None


def _flags_of(path):
  try:
    with open(path, encoding='utf-8') as file:
      return json.load(file)['starts'][-1]['flags']
  except (ValueError, KeyError, IndexError, TypeError):
    raise ValueError(
      f'{path}: expected the record of a job, with the flags of its starts, found something else; export from a '
      'copy of the checkpoint without this file, giving the flags of the model.'
    ) from None


def _take_over(values, job, configs):
  names = [field.name for c in configs for field in dataclasses.fields(c)]
  wanted = {name: job[name] for name in names if job.get(name) not in (None, values[name].value)}
  if values['data_dir'].present or values['dataset'].present:
    # Other data than the job's: none of what chose those.
    wanted = {name: value for name, value in wanted.items() if name not in ('data_dir', 'dataset', 'tfds_data_dir')}
  image_script.fill_in(values, wanted, 'As the job of --ckpt_dir:')


def _build(network, model_settings, data, spec, what):
  """The model with the checkpoint's weights."""
  from tpu_utils import weights

  scaling = {'mean_rgb': spec.mean_rgb, 'stddev_rgb': spec.stddev_rgb} if data.advprop else {}
  model = network.build_model(
    model_settings.model_name,
    num_classes=data.num_label_classes,
    image_size=spec.image_size,
    weights=PRETRAINED if what.ckpt_dir == PRETRAINED else None,
    **model_settings.overrides(),
    **scaling,
  )
  if what.ckpt_dir != PRETRAINED:
    print(weights.load(model, _best_of(what.ckpt_dir), use_ema=what.enable_ema))
  return model


def _best_of(ckpt_dir):
  """A job's best checkpoint if it keeps one."""
  archive = os.path.join(ckpt_dir, 'archive')
  return archive if os.path.exists(os.path.join(archive, 'checkpoint')) else ckpt_dir
