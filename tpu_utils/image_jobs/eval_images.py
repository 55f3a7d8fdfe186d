"""The work of `eval_ckpt`: photographs named and drawn, accuracy measured."""

import numpy as np
import tensorflow as tf

from tpu_utils.image_jobs import predictions
from tpu_utils.images.imagenet_input import ImageNetInput
from tpu_utils.images.sources import interface, open_dataset
from tpu_utils.images.sources.image_folder import ImageFiles


def examples(classifier, photographs, names, background, batch_size, picture=None):
  """Prints the five likeliest classes of each photograph.

  Args:
    classifier: `classifiers.Classifier`.
    photographs: paths.
    names: of the classes without the background.
    background: whether class 0 of the classifier is the background.
    batch_size: images at a time.
    picture: file to draw them to, or None.

  Returns:
    {path: list of {'class', 'label', 'probability'}}.
  """
  images = predictions.read_images(photographs, classifier.spec)
  parts = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
  probabilities = np.concatenate([classifier.predict(part) for part in parts])
  found = [predictions.guesses(row, names, background) for row in probabilities]
  for path, guesses in zip(photographs, found, strict=True):
    print(predictions.text(path, guesses))
  if picture:
    predictions.draw(picture, photographs, found)
    print(f'Drawn to {picture}.')
  return {
    path: [{'class': g.number, 'label': g.label, 'probability': g.probability} for g in guesses]
    for path, guesses in zip(photographs, found, strict=True)
  }


def validation(classifier, data, background, batch_size):
  """Measures and prints top-1 and top-5 accuracy.

  Args:
    classifier: `classifiers.Classifier`.
    data: `eval_ckpt.DataConfig`; without images the embedded digits.
    background: whether class 0 of the classifier is the background.
    batch_size: images at a time.

  Returns:
    See `predictions.accuracy`.
  """
  if data.imagenet_eval_glob:
    dataset = Validation(data.imagenet_eval_glob, data.imagenet_eval_label)
  else:
    dataset = open_dataset(data.data_dir, data.dataset, data.tfds_data_dir, data.eval_split)
  count = classifier.num_classes - background
  if dataset.num_classes and dataset.num_classes != count:
    raise ValueError(f'{dataset.name} has {dataset.num_classes} classes, and the model {count}; they do not fit.')
  images = ImageNetInput(
    dataset,
    classifier.spec,
    eval_batch_size=batch_size,
    num_label_classes=classifier.num_classes,
    include_background_label=background,
  )
  results = predictions.accuracy(classifier.predict, images, data.num_images)
  top_1, top_5 = 100 * results['top_1_accuracy'], 100 * results['top_5_accuracy']
  print(f'Final: top1_acc = {top_1:4.2f}%  top5_acc = {top_5:4.2f}%  ({results["images"]:,} images)')
  return results


class Validation(interface.DataSet):
  """Images by a pattern, in the order of their names, and their classes in a text file, a line each.

  Raises:
    ValueError: no image fits the pattern; the file has other lines than whole numbers, or another number of them.
    OSError: the file cannot be read.
  """

  def __init__(self, pattern, label_file):
    self.name = pattern
    self._paths = sorted(tf.io.gfile.glob(pattern))
    if not self._paths:
      raise ValueError(f'--imagenet_eval_glob={pattern} fits no file.')
    self._labels = list(_read_labels(label_file))
    if len(self._labels) != len(self._paths):
      raise ValueError(
        f'{label_file} has {len(self._labels)} lines, and --imagenet_eval_glob={pattern} fits '
        f'{len(self._paths)} images; expected a line for each.'
      )

  def _open(self, split):
    del split
    return ImageFiles(list(zip(self._paths, self._labels, strict=True)))


def _read_labels(path):
  with open(path, encoding='utf-8') as file:
    for number, line in enumerate(file, start=1):
      try:
        yield int(line)
      except ValueError:
        raise ValueError(
          f'{path}: line {number} is {line.strip()[:40]!r}; expected the number of a class.'
        ) from None
