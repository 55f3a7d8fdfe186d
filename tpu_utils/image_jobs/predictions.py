"""What a classifier says of photographs, as text and as a picture; and how often it is right."""
import dataclasses

import numpy as np
import tensorflow as tf

from tpu_utils import metrics
from tpu_utils.command_line.progress import Progress
from tpu_utils.images import preprocessing
from tpu_utils.images.imagenet_input import ImageNetInput
from tpu_utils.images.sources import interface, open_dataset
from tpu_utils.images.sources.image_folder import ImageFiles

TOP = 5


@dataclasses.dataclass(frozen=True)
class Guess:
  """A class that a classifier considers."""

  number: int
  label: str
  probability: float


def read_images(paths, spec):
  """Photographs as a model takes them.

  Args:
    paths: image files: JPEG, PNG, GIF, BMP.
    spec: `PreprocessSpec`.

  Returns:
    float32 [n, size, size, 3] in [0, 255].

  Raises:
    OSError: a file that is not there or cannot be read.
    ValueError: a file that is no image.
  """
  preprocess = preprocessing.eval_function(spec)
  images = []
  for path in paths:
    with open(path, 'rb') as file:
      content = file.read()
    try:
      images.append(preprocess(tf.constant(content)).numpy())
    except tf.errors.InvalidArgumentError:
      raise ValueError(
        f'{path}: its {len(content):,} bytes are no image that can be decoded; expected JPEG, PNG, GIF or BMP.'
      ) from None
  return np.stack(images)


def guesses(probabilities, class_names, background=False):
  """The likeliest classes.

  Args:
    probabilities: [classes], of one image.
    class_names: names of the classes without the background.
    background: whether class 0 is the background; the numbers given are then those of the names, as officially.

  Returns:
    List of up to five `Guess`es, the likeliest first.
  """
  order = np.argsort(-probabilities, kind='stable')[:TOP]
  found = []
  for number in order:
    own = int(number) - background
    label = class_names[own] if own >= 0 else 'background'
    found.append(Guess(own, label, float(probabilities[number])))
  return found


def text(path, found):
  """The guesses of an image in the lines of the official program."""
  lines = [f'predicted class for image {path}: ']
  lines += [
    f'  -> top_{rank} ({100 * guess.probability:4.2f}%): {guess.label}' for rank, guess in enumerate(found)
  ]
  return '\n'.join(lines)


def draw(path, photographs, all_guesses):
  """Writes a picture of each photograph with its guesses as bars beside it.

  Args:
    path: of the picture; its ending says the format (.png, .pdf, .svg, ...).
    photographs: paths of the images.
    all_guesses: list of `Guess`es for each.

  Raises:
    ValueError: no format of that ending.
    OSError: it cannot be written.
  """
  from matplotlib.backends import backend_agg
  from matplotlib.figure import Figure

  rows = len(photographs)
  figure = Figure(figsize=(10, 3.2 * rows), layout='constrained')
  backend_agg.FigureCanvasAgg(figure)
  axes = figure.subplots(rows, 2, squeeze=False, width_ratios=(1, 1.4))
  for (left, right), photograph, found in zip(axes, photographs, all_guesses, strict=True):
    content = tf.io.read_file(photograph)
    left.imshow(tf.io.decode_image(content, channels=3, expand_animations=False).numpy())
    left.set_axis_off()
    _draw_bars(right, found)
  figure.savefig(path, dpi=120)


def _draw_bars(axes, found):
  places = range(len(found))
  bars = axes.barh(places, [100 * guess.probability for guess in found], color='#4c78a8')
  axes.bar_label(bars, [f'{100 * guess.probability:.1f} %' for guess in found], padding=3)
  # The first of WordNet's synonyms is enough for a label.
  axes.set_yticks(places, [guess.label.split(',')[0] for guess in found])
  axes.invert_yaxis()
  axes.set_xlim(0, 112)
  axes.set_xticks([])
  for side in ('top', 'right', 'bottom'):
    axes.spines[side].set_visible(False)


def accuracy(predict, images, limit=-1):
  """Top-1 and top-5 accuracy on a data set, with a progress bar.

  Args:
    predict: function(images [n, height, width, 3]) -> probabilities [n, classes].
    images: an `ImageNetInput`.
    limit: how many images at most; -1 for all.

  Returns:
    {'images', 'top_1_accuracy', 'top_5_accuracy'}.

  Raises:
    ValueError: an image or a record that is none; or there are none at all.
  """
  total = images.num_eval_images if limit < 0 else min(limit, images.num_eval_images)
  count = top_1 = top_5 = 0.0
  with Progress(total, 'eval', unit='image') as progress:
    try:
      for batch in images.eval_dataset():
        weights = batch['weights'].numpy()
        weights *= np.cumsum(weights) <= total - count
        sums = metrics.classification_sums(predict(batch['images']), batch['labels'], weights)
        count += float(sums['count'])
        top_1 += float(sums['top_1'])
        top_5 += float(sums['top_5'])
        progress.update(int(count), top_1=top_1 / max(count, 1), top_5=top_5 / max(count, 1))
        if count >= total:
          break
    except tf.errors.OpError as error:
      raise images.explain(error) or error from error
  if not count:
    raise ValueError('There are no images to evaluate on.')
  return {'images': int(count), 'top_1_accuracy': top_1 / count, 'top_5_accuracy': top_5 / count}


def examples(classifier, photographs, names, background, batch_size, picture=None):
  """Prints the five likeliest classes of each photograph.

  Args:
    classifier: `loading.Classifier`.
    photographs: paths.
    names: of the classes without the background.
    background: whether class 0 of the classifier is the background.
    batch_size: images at a time.
    picture: file to draw them to, or None.

  Returns:
    {path: list of {'class', 'label', 'probability'}}.
  """
  images = read_images(photographs, classifier.spec)
  parts = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
  probabilities = np.concatenate([classifier.predict(part) for part in parts])
  found = [guesses(row, names, background) for row in probabilities]
  for path, guesses in zip(photographs, found, strict=True):
    print(text(path, guesses))
  if picture:
    draw(picture, photographs, found)
    print(f'Drawn to {picture}.')
  return {
    path: [{'class': g.number, 'label': g.label, 'probability': g.probability} for g in guesses]
    for path, guesses in zip(photographs, found, strict=True)
  }


def validation(classifier, data, background, batch_size):
  """Measures and prints top-1 and top-5 accuracy.

  Args:
    classifier: `loading.Classifier`.
    data: `evaluate.DataConfig`; without images the embedded digits.
    background: whether class 0 of the classifier is the background.
    batch_size: images at a time.

  Returns:
    See `accuracy`.
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
  results = accuracy(classifier.predict, images, data.num_images)
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
