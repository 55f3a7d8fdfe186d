"""Writes a model in several formats and says how accurate each is, on the same images."""
import dataclasses

import numpy as np
import tensorflow as tf

from tpu_utils import files
from tpu_utils.command_line.progress import Progress
from tpu_utils.export import saved_model, tflite
from tpu_utils.images import digits, preprocessing
from tpu_utils.images.imagenet_input import ImageNetInput
from tpu_utils.images.sources import interface, open_dataset
from tpu_utils.text_table import text_table

_EVAL_BATCH = 8


class Images:
  """Images to measure on, prepared as for evaluation.

  Args:
    data: the flags that choose them (`script.DataConfig`).
    spec: the model's `PreprocessSpec`.
    num_classes: of the model; with 1001 class 0 is the background, as the official EdgeTPU models have it.
  """

  def __init__(self, data, spec, num_classes):
    self.is_digits = not data.data_dir and not data.dataset
    self._data = open_dataset(
      data.data_dir, data.dataset, data.tfds_data_dir, data.eval_split, holdout_fraction=data.holdout_fraction
    )
    # 1001 classes are those of the data and the background.
    self.has_known_classes = self._data.num_classes in (None, num_classes - (num_classes == 1001))
    self._settings = {'spec': spec, 'num_label_classes': num_classes}

  def training(self, count):
    """Iterator of up to `count` training images, float32 [height, width, 3]."""
    for batch in self.batches('train', 1, count):
      yield batch['images'][0]

  def evaluation(self, count):
    """Iterator of (images, labels), float32 [n, height, width, 3] and [n, classes], up to `count` in all."""
    for batch in self.batches('validation', _EVAL_BATCH, count):
      real = batch['weights'] > 0
      yield batch['images'][real], batch['labels'][real]

  def batches(self, split, batch_size, count):
    """Iterator of batches as evaluation has them, up to `count` images of 'train' or 'validation'."""
    images = ImageNetInput(_Split(self._data, split), eval_batch_size=batch_size, **self._settings)
    dataset = images.eval_dataset().unbatch().take(count).batch(batch_size)
    try:
      yield from dataset.as_numpy_iterator()
    except tf.errors.OpError as e:
      raise images.explain(e) or e from e


class _Split(interface.DataSet):
  """A data set that is evaluated on a split of another one."""

  def __init__(self, data, split):
    self.name = data.name
    self.num_classes = data.num_classes
    self._of, self._split = data, split

  def _open(self, split):
    del split
    return self._of.open(self._split)


def write(model, spec, images, what):
  """Writes the files that `what` (`script.ExportConfig`) asks for, and prints a table of their accuracy.

  Args:
    model: `keras.Model` from images to logits.
    spec: its `PreprocessSpec`.
    images: `Images`, or None if there are none: then accuracies stay unknown, and int8 is impossible.
    what: see above.

  Raises:
    ValueError: int8 without images, or an image that is none; nothing is written then.
    OSError: a file cannot be written.
  """
  variants = what.variants()
  contents = {}
  for variant in variants:
    representative = images.training(what.num_steps) if variant == 'int8' else None
    contents[variant] = tflite.convert(model, variant, representative, what.batch_size)
  results = measure(model, contents, images, what.num_eval_images) if images else None
  if what.output_saved_model_dir:
    names = digits.NAMES if images and images.is_digits else None
    saved_model.export(
      model,
      what.output_saved_model_dir,
      preprocessing.eval_function(spec),
      dataclasses.asdict(spec),
      names if names and len(names) == model.output_shape[-1] else None,
      to_tpu=what.export_to_tpu,
    )
    print(f'{what.output_saved_model_dir}: SavedModel and {saved_model.KERAS_FILE}')
  for variant, content in contents.items():
    files.write_bytes(variants[variant], content, parents=True)
    print(f'{variants[variant]}: TFLite, {tflite.VARIANTS[variant]}, {len(content):,} bytes')
  if images is None:
    print('Accuracy not measured: no --data_dir and no --dataset.')
    return
  print(table(results, images.has_known_classes))
  if not images.has_known_classes:
    print('No top-1: the images are of other classes than the model knows.')


@dataclasses.dataclass
class Result:
  """How a model does on `images` images: counts of right and of unchanged answers, and the largest change."""

  images: int = 0
  right: int = 0
  unchanged: int = 0
  change: float = 0.0

  def add(self, found, labels, original):
    """Counts a batch of probabilities, [n, classes], beside the labels' and the original model's."""
    classes = found.argmax(-1)
    self.images += len(found)
    self.right += int((classes == labels.argmax(-1)).sum())
    self.unchanged += int((classes == original.argmax(-1)).sum())
    self.change = max(self.change, float(np.abs(found - original).max()))


def measure(model, contents, images, count):
  """{'model' or a TFLite variant: `Result`} on the same evaluation images.

  Args:
    model: `keras.Model` from images to logits.
    contents: {variant: bytes of a TFLite file}.
    images: `Images`.
    count: how many at most.
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


def table(results, known_classes=True):
  """`measure`'s results as text; top-1 only of `known_classes`, when the images are of the model's."""
  count = results['model'].images
  rows = []
  for name, result in results.items():
    right = f'{100 * result.right / count:.2f}%' if known_classes else '-'
    rows.append([name, right, f'{100 * result.unchanged / count:.2f}%', f'{result.change:.4f}'])
  return text_table([f'on {count} images', 'top-1', 'same class', 'largest change'], rows)
