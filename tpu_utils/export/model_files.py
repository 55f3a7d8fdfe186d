"""Writes a model in several formats and measures the accuracy of each on the same images."""
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tpu_utils import files
from tpu_utils.command_line.progress import Progress
from tpu_utils.export import model_card, saved_model, tflite, tflite_metadata
from tpu_utils.images import preprocessing
from tpu_utils.images.imagenet_input import ImageNetInput
from tpu_utils.images.sources import interface, open_dataset
from tpu_utils.images.spec import PreprocessSpec
from tpu_utils.text_table import text_table

_EVAL_BATCH = 8
_TFLITE_USAGE = (
  'TFLite: from `images`, pixels in [0, 255], to `probabilities`; int8 files take and return '
  'uint8. The names of the classes are `labels.txt` inside the file (`unzip -p FILE labels.txt`).'
)


class Images:
  """Images to measure ranges and accuracy on, with evaluation's preprocessing.

  Args:
    data: `image_jobs.export.DataConfig`.
    spec: the model's preprocessing.
    num_classes: of the model; with 1001, class 0 is the background, as in the official EdgeTPU
      models.

  Attributes:
    has_known_classes: whether the classes are the model's.
    class_names: names of their classes, without the background; None if the data name none.

  Raises:
    ValueError, OSError: the data cannot be opened.
  """

  def __init__(self, data: Any, spec: PreprocessSpec, num_classes: int):
    self._data = open_dataset(
      data.data_dir,
      data.dataset,
      data.tfds_data_dir,
      data.eval_split,
      holdout_fraction=data.holdout_fraction,
      split_file=data.split_file,
    )
    # 1001 classes are those of the data and the background, unless the data have as many.
    background = num_classes == 1001 and self._data.num_classes != 1001
    self.has_known_classes = self._data.num_classes in (None, num_classes - background)
    self.class_names = self._data.class_names
    self._settings: dict[str, Any] = {
      'spec': spec, 'num_label_classes': num_classes, 'include_background_label': background,
    }  # fmt: skip

  def training(self, count: int) -> Iterator[np.ndarray]:
    """Yields up to `count` training images, float32 [height, width, 3]."""
    for batch in self.batches('train', 1, count):
      yield batch['images'][0]

  def evaluation(self, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (images [n, height, width, 3], labels [n, classes]), up to `count` images in all."""
    for batch in self.batches('validation', _EVAL_BATCH, count):
      real = batch['weights'] > 0
      yield batch['images'][real], batch['labels'][real]

  def batches(self, split: str, batch_size: int, count: int) -> Iterator[dict[str, np.ndarray]]:
    """Yields evaluation's batches of a split, up to `count` images.

    Args:
      split: 'train' or 'validation'.
      batch_size: images in a batch.
      count: greatest number of images.

    Raises:
      ValueError: an image cannot be read.
    """
    images = ImageNetInput(_Split(self._data, split), eval_batch_size=batch_size, **self._settings)
    dataset = images.eval_dataset().unbatch().take(count).batch(batch_size)
    try:
      yield from dataset.as_numpy_iterator()
    except tf.errors.OpError as error:
      raise images.explain(error) or error from error


class _Split(interface.DataSet):
  """A data set with a split of another one as both of its splits."""

  def __init__(self, data, split):
    self.name = data.name
    self.num_classes = data.num_classes
    self._data, self._split = data, split

  def _open(self, split):
    del split
    return self._data.open(self._split)


def write(
  model: keras.Model,
  spec: PreprocessSpec,
  images: Images | None,
  config: Any,
  class_names: Sequence[str] | None = None,
  card: Callable[..., model_card.ModelCard] | None = None,
) -> None:
  """Writes the files that the settings name, and prints a table of their accuracy.

  Args:
    model: model from images to logits, or to the endpoint `config.endpoint_name`.
    spec: its preprocessing.
    images: None for no accuracies; int8 is then impossible.
    config: `image_jobs.export.ExportConfig`.
    class_names: names of the classes in the order of the logits; None if they are unknown.
    card: function(results=, measured=, usage=) -> model card, all optional; None for no card beside
      TFLite files, and one that says only what the model is beside others.

  Raises:
    ValueError: int8 has no images, or an image cannot be read; nothing is written then.
    OSError: a file cannot be written.
  """
  variants = config.variants()
  contents = {}
  for variant in variants:
    representative = None
    if variant == 'int8' and images:
      representative = images.training(config.num_steps)
    content = tflite.convert(
      model, variant, representative, config.batch_size, config.endpoint_name
    )
    contents[variant] = tflite_metadata.add(content, class_names) if class_names else content
  results = None
  if images and not config.endpoint_name:
    results = measure(model, contents, images, config.num_eval_images)
  if config.output_saved_model_dir:
    saved_model.export(
      model,
      config.output_saved_model_dir,
      preprocessing.eval_function(spec),
      dataclasses.asdict(spec),
      class_names,
      to_tpu=config.export_to_tpu,
      card=card and card(**_measured(results, ('model',), images)),
      endpoint=config.endpoint_name,
    )
    print(f'{config.output_saved_model_dir}: SavedModel and {saved_model.KERAS_FILE}')
  for variant, content in contents.items():
    files.write_bytes(variants[variant], content, parents=True)
    print(f'{variants[variant]}: TFLite, {tflite.VARIANTS[variant]}, {len(content):,} bytes')
  if variants and card:
    facts = _measured(results, contents, images)
    path = model_card.write_beside(
      config.output_tflite, card(usage=_TFLITE_USAGE, **facts), list(variants.values())
    )
    print(f'{path}: model card')
  if config.endpoint_name:
    print(f'Output: endpoint {config.endpoint_name}, {list(model.output_shape)}; no accuracy.')
    return
  if images is None or results is None:
    print('Accuracy not measured: no --data_dir and no --dataset.')
    return
  print(table(results, images.has_known_classes))
  if not images.has_known_classes:
    print('No top-1: the classes of the images are not those of the model.')


def _measured(results, names, images):
  """Returns arguments of a card: accuracies on the evaluation images; {} if there are none."""
  if not results or not images.has_known_classes:
    return {}
  shown = {
    f'top-1 accuracy, {name}': f'{100 * results[name].right / results[name].images:.2f} %'
    for name in names
  }
  count = results['model'].images
  return {'results': shown, 'measured': f'On {count:,} evaluation images of the data, by the file.'}


@dataclasses.dataclass
class Result:
  """Accuracy of an exported file.

  Attributes:
    images: number of images.
    right: images with a correct top-1 class.
    unchanged: images with the same top-1 class as the original model.
    change: largest difference of a probability from the original model's.
  """

  images: int = 0
  right: int = 0
  unchanged: int = 0
  change: float = 0.0

  def add(self, probabilities: np.ndarray, labels: np.ndarray, original: np.ndarray) -> None:
    """Adds a batch; all arguments are [n, classes].

    Args:
      probabilities: of the file.
      labels: one-hot.
      original: probabilities of the original model.
    """
    classes = probabilities.argmax(-1)
    self.images += len(probabilities)
    self.right += int((classes == labels.argmax(-1)).sum())
    self.unchanged += int((classes == original.argmax(-1)).sum())
    self.change = max(self.change, float(np.abs(probabilities - original).max()))


def measure(
  model: keras.Model, contents: Mapping[str, bytes], images: Images, count: int
) -> dict[str, Result]:
  """Measures a model and its TFLite files on the same evaluation images.

  Args:
    model: model from images to logits.
    contents: {variant: content of a TFLite file}.
    images: the images.
    count: greatest number of images.

  Returns:
    {'model' or a variant: `Result`}.

  Raises:
    ValueError: an image cannot be read.
  """
  infer = tf.function(lambda batch: tf.nn.softmax(model(batch, training=False)), autograph=False)
  predict = {'model': lambda batch: infer(batch).numpy()}
  predict |= {variant: tflite.Classifier(content).predict for variant, content in contents.items()}
  results = {name: Result() for name in predict}
  with Progress(None, 'accuracy', unit='image') as progress:
    for batch, labels in images.evaluation(count):
      original = predict['model'](batch)
      for name, result in results.items():
        result.add(original if name == 'model' else predict[name](batch), labels, original)
      progress.update(results['model'].images)
  return results


def table(results: Mapping[str, Result], known_classes: bool = True) -> str:
  """Formats the results of `measure`.

  Args:
    results: of `measure`.
    known_classes: whether the images' classes are the model's; without, there is no top-1.
  """
  count = results['model'].images
  rows = []
  for name, result in results.items():
    right = f'{100 * result.right / count:.2f}%' if known_classes else '-'
    rows.append([name, right, f'{100 * result.unchanged / count:.2f}%', f'{result.change:.4f}'])
  return text_table([f'on {count} images', 'top-1', 'same class', 'largest change'], rows)
