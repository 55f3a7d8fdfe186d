"""`python -m PACKAGE.export_model`: a checkpoint as SavedModel, `.keras` and TFLite, and how good each is.

TensorFlow is imported only once the flags are known to be right.
"""
import dataclasses
import os

from tpu_utils import config
from tpu_utils.command_line import settings
from tpu_utils.command_line.settings import setting
from tpu_utils.image_jobs import image_script, job_flags
from tpu_utils.names import check_name

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
      check_name('--tflite_variants', variant, (*_VARIANTS, 'all'))

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
  data_dir=setting(
    '', 'Folder of ImageNet-format TFRecord shards, or of images (train/CLASS/*.jpg and validation/CLASS/*.jpg).'
  ),
  num_label_classes=setting(
    None, "Classes of the model; by default its own. 1001: class 0 is the background.", type=int, at_least=2
  ),
)


@dataclasses.dataclass(frozen=True)
class Script:
  """One paper's script: `training` is its training script, which knows the models."""

  training: image_script.Script

  @property
  def configs(self):
    """All groups of flags."""
    return (ExportConfig, *self.training.own_configs, DataConfig)

  def define_flags(self, flag_values):
    """Defines the script's flags in `flag_values`, an `absl.flags.FlagValues`."""
    for config_class in self.configs:
      settings.define_flags(config_class, flag_values)

  def run(self, values):
    """Does what the parsed flags (`absl.flags.FlagValues`) say."""
    what = settings.from_flags(ExportConfig, values)
    _check_complete(what)

    from tpu_utils.export import model_files
    from tpu_utils.image_jobs import checkpoint_models

    job = checkpoint_models.flags_of_job(what.ckpt_dir)
    if job is not None:
      _take_over(values, job, self.configs[1:])
    if what.image_size:
      values['input_image_size'].value = what.image_size
    model_settings = settings.from_flags(self.training.own_configs[0], values)
    data = settings.from_flags(DataConfig, values)
    has_images = bool(data.data_dir or data.dataset)
    is_digits = checkpoint_models.learnt_digits(job) and not has_images
    if 'int8' in what.variants() and not (has_images or is_digits):
      raise ValueError(
        'An int8 file needs images to measure the ranges of its numbers on: give --data_dir or --dataset; or '
        '--noquantize for a float32 file.'
      )
    network = self.training.describe(model_settings, values)
    spec = checkpoint_models.fitted_spec(network.spec, model_settings, data, is_digits)
    model = checkpoint_models.load(
      network,
      model_settings,
      spec,
      what.ckpt_dir,
      num_classes=data.num_label_classes,
      advprop=data.advprop,
      use_ema=what.enable_ema,
    )
    images = model_files.Images(data, spec, model.output_shape[-1]) if has_images or is_digits else None
    model_files.write(model, spec, images, what)


def _check_complete(what):
  if what.ckpt_dir is None:
    raise ValueError(
      '--ckpt_dir is missing: the checkpoint to export, for example --ckpt_dir=runs/NAME of a job of main.py.'
    )
  if not what.output_saved_model_dir and not what.output_tflite:
    raise ValueError('Nothing to write: give --output_saved_model_dir, --output_tflite or both.')


def _take_over(values, job, configs):
  wanted = job_flags.for_configs(job, configs, values)
  if values['data_dir'].present or values['dataset'].present:
    # Other images than the job's: none of what chose those.
    for name in ('data_dir', 'dataset', 'tfds_data_dir', 'eval_split', 'holdout_fraction'):
      wanted.pop(name, None)
  settings.fill_in(values, wanted, 'As the job of --ckpt_dir')
