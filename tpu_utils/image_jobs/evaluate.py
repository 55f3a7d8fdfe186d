"""`python -m PACKAGE.eval_ckpt_main`: classifies photographs, or measures a checkpoint's accuracy.

Source of the flags: tensorflow/tpu, models/official/efficientnet/eval_ckpt_main.py and utils.py
(`EvalCkptDriver`). TensorFlow is imported only once the flags have been checked.
"""
from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tpu_utils import files
from tpu_utils.command_line import cli, job_flags, settings
from tpu_utils.command_line.recipes import Recipe
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting
from tpu_utils.image_jobs import classes, script
from tpu_utils.image_jobs.script import PRETRAINED
from tpu_utils.images import spec
from tpu_utils.weights import READERS


@dataclasses.dataclass(frozen=True)
class EvalConfig(settings.Checked):
  """Checkpoint to evaluate, and how."""

  ckpt_dir: str = setting(
    None,
    'The checkpoint: --model_dir of a job (its best one, with the settings of the job); a folder, '
    'prefix or file of any program that tpu_utils.weights reads; a SavedModel or .keras file (a '
    'SavedModel runs its own ops; one with ops on files or the network is refused); or '
    '`pretrained`: ImageNet weights from a package, the default of models that have such.',
    type=str,
  )
  source: str = setting(
    'auto', 'Program that wrote the checkpoint; auto: recognised from the file.',
    choices=('auto', *READERS),
  )  # fmt: skip
  enable_ema: bool = setting(True, 'Load the moving averages if the checkpoint has them.')
  runmode: str = setting(
    None,
    'examples: classify images. imagenet: measure top-1 and top-5 accuracy. By default the one '
    'that has images.',
    choices=('examples', 'imagenet'),
    type=str,
  )
  batch_size: int = setting(16, 'Images at a time.', at_least=1)
  output_json: str = setting(None, 'File for the results, as JSON.', type=str)
  output_csv: str = setting(
    None,
    'File for the guesses, as CSV: a row for each, with image, rank, class, label and probability.',
    type=str,
  )
  export_ckpt: str = setting(
    None, 'Prefix to write the evaluated weights to, as an official TF1 checkpoint.', type=str
  )


@dataclasses.dataclass(frozen=True)
class ExamplesConfig(settings.Checked):
  """Photographs: IMAGE... after the flags."""

  example_img: str = setting(None, 'An image; the same as naming it after the flags.', type=str)
  labels_map_file: str = setting(
    None,
    'JSON file of {"0": "name of the first class", ...}; by default the names in the exported '
    "file, those that the job of the checkpoint kept, or ImageNet's.",
    type=str,
  )
  picture: str = setting(
    None, 'Picture to draw: each photograph with its five likeliest classes.', type=str
  )


@dataclasses.dataclass(frozen=True)
class DataConfig(settings.Checked):
  """Images with known classes, and their preprocessing."""

  imagenet_eval_glob: str = setting(
    None, "Pattern of ImageNet's validation images, such as '/imagenet/ILSVRC2012*.JPEG'; read in "
    'order of name.', type=str
  )  # fmt: skip
  imagenet_eval_label: str = setting(
    None, 'File with the class of each of them, from 0, one per line.', type=str
  )
  data_dir: str = setting(
    '', 'Instead: folder of TFRecord shards (validation-*), or of images with one folder per class.'
  )
  dataset: str = setting(None, 'Instead: a set of TensorFlow Datasets.', type=str)
  tfds_data_dir: str = setting(None, 'Where --dataset was prepared.', type=str)
  eval_split: str = setting(None, '--dataset: the split to evaluate on.', type=str)
  num_images: int = setting(5000, 'Greatest number of images; -1 for all.', at_least=-1)
  num_label_classes: int = setting(
    None, 'Classes of the model; by default its own.', type=int, at_least=2
  )
  include_background_label: bool = setting(
    None, 'Whether class 0 of the model is the background; by default, whether it has 1001.',
    type=bool,
  )  # fmt: skip
  advprop_preprocessing: bool = setting(False, 'Scale images as AdvProp checkpoints expect.')
  crop_rule: str = setting(
    None, 'Central crop: official, size_plus_32, whole, a share such as 0.95, or RESIZE/CROP such '
    "as 232/224; by default the model's.", check=spec.check_crop, type=str
  )
  interpolation: str = setting(
    None, "Resizing method; by default the model's.", choices=spec.INTERPOLATIONS, type=str
  )

  def __post_init__(self):
    super().__post_init__()
    if bool(self.imagenet_eval_glob) != bool(self.imagenet_eval_label):
      raise ValueError(
        '--imagenet_eval_glob and --imagenet_eval_label go together: images, and their classes.'
      )
    if self.imagenet_eval_glob and (self.data_dir or self.dataset):
      raise ValueError(
        '--imagenet_eval_glob, --data_dir and --dataset name different images; give one.'
      )

  @property
  def advprop(self) -> bool:
    """The name that training uses for `advprop_preprocessing`."""
    return self.advprop_preprocessing

  @property
  def has_images(self) -> bool:
    """Whether the user named images."""
    return bool(self.imagenet_eval_glob or self.data_dir or self.dataset)


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """The shared evaluation script for one paper.

  Attributes:
    training: the paper's `script.Training`, which knows the models.
    has_pretrained: function(model name) -> whether a package has weights for it.
  """

  training: script.Training
  has_pretrained: Callable[[str], bool] = lambda name: False

  def script(self, doc: str, module: str, recipes: Mapping[str, Recipe]) -> Script:
    """Makes the script; see `Script` for the arguments."""
    return Script(
      doc=doc,
      groups=(EvalConfig, ExamplesConfig, self.training.model_groups[0], DataConfig),
      run=self.evaluate,
      words=True,
      module=module,
      recipes=recipes,
      uses_tensorflow=False,  # `evaluate` imports it when it has looked at the files.
    )

  def evaluate(
    self, resolved: settings.Resolved, photographs: Sequence[str] = ()
  ) -> dict[str, Any]:
    """Classifies photographs, or measures accuracy.

    Args:
      resolved: the settings.
      photographs: paths of images that the command line names.

    Returns:
      The results, as in `--output_json`.

    Raises:
      ValueError, OSError: a setting, the checkpoint or an image is missing or wrong.
    """
    config, examples, model, _ = resolved
    photographs = [*photographs, *filter(None, [examples.example_img])]
    pretrained = PRETRAINED if self.has_pretrained(model.model_name) else None
    checkpoint = config.ckpt_dir or pretrained
    if checkpoint is None:
      raise ValueError(
        f'--ckpt_dir is missing: there are no pretrained weights of {model.model_name}.'
      )
    if files.is_remote(checkpoint):
      cli.import_tensorflow()  # Reads remote files; quietly, as below.
    job = None if checkpoint == PRETRAINED else job_flags.of_checkpoint(checkpoint)
    resolved, taken_over = _like_job(resolved, job)
    is_digits = job_flags.learnt_digits(job)
    *_, data = resolved
    mode = config.runmode or ('imagenet' if data.has_images and not photographs else 'examples')
    _check_images(mode, photographs, data, is_digits)
    if config.output_csv and mode != 'examples':
      raise ValueError('--output_csv holds guesses for images; accuracies go to --output_json.')
    script.check_data_folder(data)
    script.check_checkpoint('ckpt_dir', checkpoint)
    script.check_photographs(photographs)
    if taken_over:
      print(f'As the job of {checkpoint}, with\n  {taken_over}')

    cli.import_tensorflow()
    from tpu_utils.image_jobs import predictions

    classifier = self._classifier(resolved, checkpoint, is_digits)
    names = classes.known(
      classifier.num_classes,
      labels_map_file=examples.labels_map_file,
      background=data.include_background_label,
      own=classifier.class_names,
      checkpoint=None if checkpoint == PRETRAINED else checkpoint,
      is_digits=is_digits,
    )
    background = data.include_background_label
    if background is None:
      background = classes.has_background(classifier.num_classes, names)
    results: dict[str, Any] = {
      'model_name': resolved[2].model_name, 'ckpt_dir': checkpoint, 'enable_ema': config.enable_ema,
    }  # fmt: skip
    if mode == 'examples':
      labels = classes.labels(names, classifier.num_classes, background)
      results['examples'] = predictions.classify_photographs(
        classifier, photographs, labels, background, config.batch_size, examples.picture
      )
      if config.output_csv:
        _write_csv(config.output_csv, results['examples'])
    else:
      results |= predictions.measure_accuracy(classifier, data, background, config.batch_size)
    if config.output_json:
      files.write_json(config.output_json, results)
    return results

  def _classifier(self, resolved, checkpoint, is_digits):
    from tpu_utils import weights
    from tpu_utils.image_jobs import loading

    config, _, model_config, data = resolved
    model_spec = self.training.resolve_model(model_config)
    own = script.published_spec(model_spec.spec, checkpoint, model_config, data)
    wanted = script.fitted_spec(own, model_config, data, is_digits)
    if checkpoint != PRETRAINED and loading.is_program(checkpoint):
      return loading.from_file(checkpoint, wanted)
    model = loading.load_model(
      model_spec,
      model_config,
      wanted,
      checkpoint,
      num_classes=data.num_label_classes,
      advprop=data.advprop,
      source=config.source,
      use_ema=config.enable_ema,
    )
    if config.export_ckpt:
      weights.save_tf1(model, config.export_ckpt)
    return loading.from_model(model, wanted)


def _like_job(resolved, job):
  """Returns the settings with those of the job, except its images, and the changed flags as text.

  The user names the images to evaluate on.
  """
  if job is None:
    return resolved, ''
  facts = job_flags.facts(job, resolved.groups[2:], without=job_flags.DATA_NAMES)
  if job.get('advprop'):
    facts['advprop_preprocessing'] = True
  return resolved.with_facts(facts), settings.as_flags(resolved.changes(facts))


def _check_images(mode, photographs, data, is_digits):
  if mode == 'examples' and not photographs:
    raise ValueError(
      'No images: name some after the flags, as in `... photo.jpg`; or for accuracies give '
      '--data_dir, --dataset, or --imagenet_eval_glob and --imagenet_eval_label.'
    )
  if mode == 'imagenet' and photographs:
    raise ValueError(
      f'{photographs[0]!r} has no known class; --runmode=imagenet takes its images from --data_dir.'
    )
  if mode == 'imagenet' and not data.has_images and not is_digits:
    raise ValueError(
      '--runmode=imagenet needs images with known classes: --data_dir, --dataset, or '
      '--imagenet_eval_glob and --imagenet_eval_label.'
    )


def _write_csv(path, examples):
  """Writes the guesses {image: list of guesses}; names with commas and line breaks are quoted."""
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(['image', 'rank', 'class', 'label', 'probability'])
  for image, guesses in examples.items():
    for rank, guess in enumerate(guesses, 1):
      writer.writerow([image, rank, guess['class'], guess['label'], guess['probability']])
  # `surrogateescape`: names of files need not be UTF-8.
  files.write_bytes(path, text.getvalue().encode('utf-8', 'surrogateescape'))
