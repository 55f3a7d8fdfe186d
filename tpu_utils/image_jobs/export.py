"""`python -m PACKAGE.export_model`: exports a checkpoint in any of five formats.

It measures the accuracy and speed of each file, too. TensorFlow is imported only once the settings
have been checked.
"""
import dataclasses
import functools
import os
from collections.abc import Mapping

from tpu_utils import config, model_formats
from tpu_utils.command_line import job_flags, settings
from tpu_utils.command_line.recipes import Recipe
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting
from tpu_utils.image_jobs import classes, script, specs
from tpu_utils.image_jobs.specs import PRETRAINED
from tpu_utils.names import check_name

_VARIANTS = ('float32', 'float16', 'dynamic_range', 'int8', 'full_int8')
_MEASURED = {'int8', 'full_int8'}  # Need images, to measure ranges on.


@dataclasses.dataclass(frozen=True)
class ExportConfig(settings.Checked):
  """Checkpoint to export, and files to write."""

  ckpt_dir: str = setting(
    None,
    'The checkpoint: --model_dir of a job (its best one, with the settings of the job); a folder, '
    'prefix or file of any program that tpu_utils.weights reads; or `pretrained`.',
    type=str,
  )
  enable_ema: bool = setting(True, 'Load the moving averages if the checkpoint has them.')
  image_size: int = setting(None, 'The same as --input_image_size.', type=int, at_least=1)
  output_saved_model_dir: str = setting(
    None, 'Folder for the files of --export_formats and for export.json.', type=str,
    aliases=('export_dir',),
  )  # fmt: skip
  export_to_tpu: bool = setting(
    False, 'Also write a SavedModel for TPUs (tags serve and serve,tpu) to tpu/ in that folder.'
  )
  output_tflite: str = setting(None, 'TFLite file to write.', type=str)
  endpoint_name: str = setting(
    None,
    'Endpoint that the files output, as `output`, instead of classes: such as pooled_features or '
    'reduction_4. An unknown name is answered with those that there are.',
    type=str,
  )
  quantize: bool = setting(
    True, 'The TFLite file is the variant int8 of --tflite_variants; --noquantize: float32.'
  )
  tflite_variants: str = setting(
    None,
    'Instead of --quantize, any of ' + ', '.join(_VARIANTS) + ' with commas between, or `all`: one '
    'file each, named like --output_tflite with the variant before its ending. int8 leaves the '
    'first blocks of networks with swish in 32 bits; full_int8, for processors without floating '
    'point, leaves none.',
    type=str,
  )
  batch_size: int = setting(1, 'Images that the TFLite file takes at a time.', at_least=1)
  num_steps: int = setting(
    2000, 'Training images to measure the ranges of an int8 file on; all if there are fewer.',
    at_least=1,
  )  # fmt: skip
  num_eval_images: int = setting(
    1000, 'Evaluation images to measure the accuracy of each file on; all if there are fewer.',
    at_least=1,
  )  # fmt: skip
  labels_map_file: str = setting(
    None,
    'JSON file of {"0": "name of the first class", ...}; by default the names that the job of the '
    "checkpoint kept, those in the data, or ImageNet's.",
    type=str,
  )

  def __post_init__(self):
    super().__post_init__()
    if self.tflite_variants and not self.output_tflite:
      raise ValueError('--tflite_variants needs --output_tflite, the file to write.')
    if self.export_to_tpu and not self.output_saved_model_dir:
      raise ValueError('--export_to_tpu needs --output_saved_model_dir, the folder to write to.')
    if self.endpoint_name and self.labels_map_file:
      raise ValueError('--labels_map_file names classes; --endpoint_name has none. Leave one out.')
    for variant in self.variants():
      check_name('--tflite_variants', variant, (*_VARIANTS, 'all'))

  def variants(self) -> dict[str, str]:
    """Returns {TFLite variant: file to write}."""
    if not self.output_tflite:
      return {}
    if not self.tflite_variants:
      return {'int8' if self.quantize else 'float32': self.output_tflite}
    names = _VARIANTS if self.tflite_variants == 'all' else self.tflite_variants.split(',')
    stem, ending = os.path.splitext(self.output_tflite)
    return {name: f'{stem}.{name}{ending}' for name in names}


DataConfig = settings.subset(
  config.DataConfig,
  (
    'data_dir',
    'dataset',
    'tfds_data_dir',
    'eval_split',
    'holdout_fraction',
    'split_file',
    'crop_rule',
    'interpolation',
    'advprop',
    'num_label_classes',
  ),
  'Images to measure ranges and accuracy on (those of the job if --ckpt_dir is one), and their '
  'preprocessing.',
  data_dir=setting(
    '', 'Folder of ImageNet-format TFRecord shards, or of images (train/CLASS/*.jpg and '
    'validation/CLASS/*.jpg).'
  ),  # fmt: skip
  num_label_classes=setting(
    None, 'Classes of the model; by default its own. 1001: class 0 is the background.', type=int,
    at_least=2,
  ),  # fmt: skip
)


@dataclasses.dataclass(frozen=True)
class Export:
  """The shared export script for one paper; `training` knows the models."""

  training: script.Training

  def script(self, doc: str, module: str, recipes: Mapping[str, Recipe]) -> Script:
    """Makes the script; see `Script` for the arguments."""
    return Script(
      doc=doc,
      groups=(ExportConfig, self.training.model_groups[0], DataConfig, config.ExportConfig),
      run=self.export,
      check=_check,
      module=module,
      recipes=recipes,
    )

  def export(self, resolved: settings.Resolved) -> None:
    """Writes the files that the settings name, and measures their accuracy.

    Raises:
      ValueError, OSError: a setting, the checkpoint or an image is missing or wrong.
    """
    _check(resolved)
    options = resolved[0]
    job = None if options.ckpt_dir == PRETRAINED else job_flags.of_checkpoint(options.ckpt_dir)
    resolved, taken_over = _like_job(resolved, job)
    if options.image_size:
      resolved = resolved.with_flags({'input_image_size': options.image_size})
    data = resolved[2]
    has_images = bool(data.data_dir or data.dataset)
    is_digits = job_flags.learnt_digits(job) and not has_images
    if _MEASURED & options.variants().keys() and not (has_images or is_digits):
      raise ValueError(
        'An int8 file needs images to measure the ranges of its numbers on: give --data_dir or '
        '--dataset; or --noquantize for a float32 file.'
      )
    script.check_data_folder(data)
    if taken_over:
      print(f'As the job of --ckpt_dir, with\n  {taken_over}')
    self._write(resolved, has_images, is_digits)

  def _write(self, resolved, has_images, is_digits):
    """Loads the model and writes its files; the settings are checked and complete."""
    from tpu_utils.export import model_files
    from tpu_utils.image_jobs import loading
    from tpu_utils.image_jobs.reporting import cards

    options, model_config, data, precision = resolved
    checkpoint = None if options.ckpt_dir == PRETRAINED else options.ckpt_dir
    model_spec = self.training.resolve_model(model_config)
    own = specs.published_spec(model_spec.spec, options.ckpt_dir, model_config, data)
    spec = specs.fitted_spec(own, model_config, data, is_digits)
    model = loading.load_model(
      model_spec,
      model_config,
      spec,
      options.ckpt_dir,
      num_classes=data.num_label_classes,
      advprop=data.advprop,
      use_ema=options.enable_ema,
      dtype_policy=precision.dtype_policy,
    )
    num_classes = model.output_shape[-1]
    if options.endpoint_name:
      model = loading.endpoint_model(
        model,
        model_spec,
        model_config,
        spec,
        options.endpoint_name,
        advprop=data.advprop,
        dtype_policy=precision.dtype_policy,
      )
    images = None
    if has_images or is_digits:
      images = model_files.Images(data, spec, num_classes)
    names = None if options.endpoint_name else classes.known(
      num_classes,
      labels_map_file=options.labels_map_file,
      checkpoint=checkpoint,
      data_names=images.class_names if images and images.has_known_classes else None,
      is_digits=is_digits,
      log=print,
    )
    card = functools.partial(
      cards.card,
      model.name,
      spec,
      num_classes,
      names,
      checkpoint,
      usage=cards.usage(precision.formats, options.endpoint_name),
      endpoint=options.endpoint_name,
    )
    model_files.write(model, spec, images, options, names, card, precision.formats)


def _check(resolved):
  """Checks the settings as far as possible without TensorFlow and the job's run.json."""
  options, _, data, precision = resolved
  script.check_data_folder(data)
  if options.export_to_tpu and 'saved_model' not in precision.formats:
    raise ValueError('--export_to_tpu needs saved_model among --export_formats.')
  model_formats.check_endpoint(options.endpoint_name, precision.formats)
  if options.ckpt_dir is None:
    raise ValueError(
      '--ckpt_dir is missing: the checkpoint to export, for example --ckpt_dir=runs/NAME of a job '
      'of main.py.'
    )
  if not options.output_saved_model_dir and not options.output_tflite:
    raise ValueError('Nothing to write: give --output_saved_model_dir, --output_tflite or both.')
  if options.output_tflite and precision.dtype_policy:
    raise ValueError(
      f'--export_precision={precision.export_precision} is for the SavedModel and the .keras file; '
      'TFLite files have --tflite_variants. Leave out --output_tflite or this flag.'
    )
  script.check_checkpoint('ckpt_dir', options.ckpt_dir)


def _like_job(resolved, job):
  """Returns the settings with those of the job, and the changed flags as text.

  The images are the job's, too, unless the user named others.
  """
  if job is None:
    return resolved, ''
  others = resolved.flags.keys() & {'data_dir', 'dataset'}
  facts = job_flags.facts(job, resolved.groups[1:3], job_flags.DATA_NAMES if others else ())
  return resolved.with_facts(facts), settings.as_flags(resolved.changes(facts))
