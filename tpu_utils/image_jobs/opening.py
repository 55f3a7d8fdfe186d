"""Opens the classifier that a command line names, for evaluation and prediction.

The shared flags, and the way from them to a `Classifier` with names for its classes: `find` looks
at the files, without TensorFlow if they are local; `Source.open` loads.
"""
from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from tpu_utils import files, model_formats
from tpu_utils.command_line import cli, job_flags, settings
from tpu_utils.command_line.settings import setting
from tpu_utils.image_jobs import classes, script, specs
from tpu_utils.image_jobs.specs import PRETRAINED
from tpu_utils.images import spec
from tpu_utils.weights import READERS

if TYPE_CHECKING:
  from tpu_utils.image_jobs.loading import Classifier


@dataclasses.dataclass(frozen=True)
class CheckpointConfig(settings.Checked):
  """The model, and what runs it."""

  ckpt_dir: str = setting(
    None,
    'The checkpoint: --model_dir of a job (its best one, with the settings of the job); a folder, '
    'prefix or file of any program that tpu_utils.weights reads; the folder of an export or of a '
    'SavedModel (which runs its own ops; one with ops on files or the network is refused); a '
    '.keras, .tflite, .xml (OpenVINO) or .onnx file; or `pretrained`: ImageNet weights from a '
    'package, the default of models that have such.',
    type=str,
    aliases=('export_dir',),
  )
  source: str = setting(
    'auto', 'Program that wrote the checkpoint; auto: recognised from the file.',
    choices=('auto', *READERS),
  )  # fmt: skip
  enable_ema: bool = setting(True, 'Load the moving averages if the checkpoint has them.')
  runtime: str = setting(
    model_formats.AUTO,
    'Program that runs the model: '
    + ', '.join(model_formats.RUNTIMES)
    + '. auto: the fastest that is installed and has a file in the export; checkpoints and .keras '
    'files are converted for OpenVINO if it is installed. The output says which.',
    choices=(model_formats.AUTO, *model_formats.RUNTIMES),
  )
  batch_size: int = setting(16, 'Images at a time.', at_least=1)

  def __post_init__(self):
    super().__post_init__()
    if self.runtime != model_formats.AUTO:
      model_formats.check_runtime('runtime', self.runtime)


@dataclasses.dataclass(frozen=True)
class PreparationConfig(settings.Checked):
  """Classes of the model, and preparation of its images."""

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

  @property
  def advprop(self) -> bool:
    """The name that training uses for `advprop_preprocessing`."""
    return self.advprop_preprocessing


@dataclasses.dataclass(frozen=True)
class Opened:
  """A classifier with names.

  Attributes:
    classifier: the classifier.
    labels: names of its classes without the background; `class N` where nothing names them.
    background: whether its class 0 is the background.
  """

  classifier: Classifier
  labels: list[str]
  background: bool


@dataclasses.dataclass(frozen=True)
class Source:
  """A model that was found and not yet loaded.

  Attributes:
    resolved: the settings, with those of the model's job.
    checkpoint: its path, or 'pretrained'.
    is_digits: whether it learnt the embedded digits.
    taken_over: settings of the job that changed others, as flags.
  """

  resolved: settings.Resolved
  checkpoint: str
  is_digits: bool
  taken_over: str

  def announce(self) -> None:
    """Checks that the checkpoint exists, and prints the settings of its job.

    Raises:
      FileNotFoundError: there is nothing at its path.
    """
    script.check_checkpoint('ckpt_dir', self.checkpoint)
    if self.taken_over:
      print(f'As the job of {self.checkpoint}, with\n  {self.taken_over}')

  def open(
    self,
    training: script.Training,
    labels_map_file: str | None = None,
    export_ckpt: str | None = None,
  ) -> Opened:
    """Loads the model, and prints what runs it.

    Args:
      training: the paper's, which knows the models.
      labels_map_file: names of the classes that the user gave.
      export_ckpt: prefix of an official checkpoint to write the weights to.

    Raises:
      ValueError, OSError: the model or the labels map is missing, damaged or does not fit, or the
        runtime cannot run it.
    """
    classifier = self._load(training, export_ckpt)
    # Standard output has only what the official script prints.
    print(f'Runtime: {classifier.runtime}', file=sys.stderr)
    data = self.resolved.get(PreparationConfig)
    background = data.include_background_label
    names = classes.known(
      classifier.num_classes,
      labels_map_file=labels_map_file,
      background=background,
      own=classifier.class_names,
      checkpoint=None if self.checkpoint == PRETRAINED else self.checkpoint,
      is_digits=self.is_digits,
    )
    if background is None:
      background = classes.has_background(classifier.num_classes, names)
    labels = classes.labels(names, classifier.num_classes, background)
    return Opened(classifier, labels, background)

  def _load(self, training, export_ckpt):
    from tpu_utils import weights
    from tpu_utils.image_jobs import loading

    config, data = self.resolved.get(CheckpointConfig), self.resolved.get(PreparationConfig)
    model_config = self.resolved.get(script.ModelConfig)
    model_spec = training.resolve_model(model_config)
    own = specs.published_spec(model_spec.spec, self.checkpoint, model_config, data)
    wanted = specs.fitted_spec(own, model_config, data, self.is_digits)
    if self.checkpoint != PRETRAINED and loading.is_program(self.checkpoint):
      return loading.from_file(self.checkpoint, wanted, config.runtime)
    model = loading.load_model(
      model_spec,
      model_config,
      wanted,
      self.checkpoint,
      num_classes=data.num_label_classes,
      advprop=data.advprop,
      source=config.source,
      use_ema=config.enable_ema,
    )
    if export_ckpt:
      weights.save_tf1(model, export_ckpt)
    return loading.from_model(model, wanted, config.runtime)


def find(resolved: settings.Resolved, has_pretrained: Callable[[str], bool]) -> Source:
  """Finds the model that the settings name, and the settings of its job.

  Args:
    resolved: settings, among them a `CheckpointConfig`, `ModelConfig` and `PreparationConfig`.
    has_pretrained: function(model name) -> whether a package has weights for it.

  Raises:
    ValueError: no model is named, or run.json of its job is damaged.
  """
  model_name = resolved.get(script.ModelConfig).model_name
  pretrained = PRETRAINED if has_pretrained(model_name) else None
  checkpoint = resolved.get(CheckpointConfig).ckpt_dir or pretrained
  if checkpoint is None:
    raise ValueError(f'--ckpt_dir is missing: there are no pretrained weights of {model_name}.')
  if files.is_remote(checkpoint):
    cli.import_tensorflow()  # Reads remote files; quietly, as in the scripts.
  job = None if checkpoint == PRETRAINED else job_flags.of_checkpoint(checkpoint)
  resolved, taken_over = _like_job(resolved, job)
  return Source(resolved, checkpoint, job_flags.learnt_digits(job), taken_over)


def _like_job(resolved, job):
  """Returns the settings with those of the job, except its images, and the changed flags as text.

  The user names the images to evaluate on.
  """
  if job is None:
    return resolved, ''
  groups = [g for g in resolved.groups if issubclass(g, (script.ModelConfig, PreparationConfig))]
  facts = job_flags.facts(job, groups, without=job_flags.DATA_NAMES)
  if job.get('advprop'):
    facts['advprop_preprocessing'] = True
  return resolved.with_facts(facts), settings.as_flags(resolved.changes(facts))
