"""Predictions of an image classifier: guesses for photographs, and accuracy on labelled images."""
import dataclasses
import glob
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tpu_utils import figures, files, metrics
from tpu_utils.command_line.progress import Progress
from tpu_utils.errors import printable
from tpu_utils.image_jobs import eval_images
from tpu_utils.images import class_names, decoding, headers, preprocessing
from tpu_utils.images.imagenet_input import ImageNetInput
from tpu_utils.images.sources import interface, picture_files
from tpu_utils.images.sources.image_folder import ImageFiles
from tpu_utils.images.spec import PreprocessSpec

if TYPE_CHECKING:
  from tpu_utils.image_jobs.loading import Classifier

TOP = 5
_DRAWN_PIXELS = 2000  # Longest side of a photograph in a picture.


@dataclasses.dataclass(frozen=True)
class Guess:
  """One of the likeliest classes of an image."""

  number: int
  label: str
  probability: float


def classify_photographs(
  classifier: 'Classifier',
  photographs: Sequence[str],
  names: Sequence[str],
  background: bool,
  batch_size: int,
  picture: str | None = None,
) -> dict[str, list[dict[str, Any]]]:
  """Prints the five likeliest classes of each photograph.

  Args:
    classifier: the classifier.
    photographs: paths of the images.
    names: of the classes without the background.
    background: whether class 0 of the classifier is the background.
    batch_size: images at a time.
    picture: file to draw the guesses to, or None.

  Returns:
    {path: list of {'class', 'label', 'probability'}}.

  Raises:
    ValueError, OSError: see `read_images` and `draw`.
  """
  images = read_images(photographs, classifier.spec)
  parts = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
  probabilities = np.concatenate([classifier.predict(part) for part in parts])
  all_guesses = [top_guesses(row, names, background) for row in probabilities]
  for path, guesses in zip(photographs, all_guesses, strict=True):
    print(guesses_text(path, guesses))
  if picture:
    draw(picture, photographs, all_guesses)
    print(f'Drawn to {picture}.')
  return {
    path: [{'class': g.number, 'label': g.label, 'probability': g.probability} for g in guesses]
    for path, guesses in zip(photographs, all_guesses, strict=True)
  }


def read_images(paths: Sequence[str], spec: PreprocessSpec) -> np.ndarray:
  """Reads photographs and prepares them for a model.

  Args:
    paths: image files: JPEG, PNG, GIF, BMP.
    spec: the model's preprocessing.

  Returns:
    float32 [n, size, size, 3] in [0, 255].

  Raises:
    OSError: a file is missing or cannot be read.
    ValueError: a file is not an image.
  """
  preprocess = preprocessing.eval_function(spec)
  images = []
  for path in paths:
    content = picture_files.read(path)
    if headers.has_several_pictures(content):
      print(f'{printable(path)} holds several pictures; the first is read.')
    try:
      images.append(preprocess(tf.constant(content)).numpy())
    except tf.errors.InvalidArgumentError:
      raise ValueError(f'{printable(path)}: {decoding.flaw(content)}.') from None
  return np.stack(images)


def top_guesses(
  probabilities: np.ndarray, names: Sequence[str], background: bool = False, count: int = TOP
) -> list[Guess]:
  """Returns the likeliest classes, the likeliest first.

  Args:
    probabilities: [classes], of one image.
    names: of the classes without the background.
    background: whether class 0 is the background; it is then number -1, and the others count from
      0, as in the official code.
    count: greatest number of classes.
  """
  guesses = []
  for index in np.argsort(-probabilities, kind='stable')[:count]:
    number = int(index) - background
    label = names[number] if number >= 0 else 'background'
    guesses.append(Guess(number, label, float(probabilities[index])))
  return guesses


def guesses_text(path: str, guesses: Sequence[Guess]) -> str:
  """Formats the guesses for an image as the official program does."""
  lines = [f'predicted class for image {printable(path)}: ']
  for rank, guess in enumerate(guesses):
    label = class_names.on_one_line(guess.label)
    lines.append(f'  -> top_{rank} ({100 * guess.probability:4.2f}%): {label}')
  return '\n'.join(lines)


def draw(
  path: str | os.PathLike, photographs: Sequence[str], all_guesses: Sequence[Sequence[Guess]]
) -> None:
  """Draws each photograph and, to its right, its guesses as bars.

  Args:
    path: of the picture; the ending sets the format (.png, .pdf, .svg, ...).
    photographs: paths of the images.
    all_guesses: the guesses for each.

  Raises:
    ValueError: the ending is no known format.
    OSError: the picture cannot be written.
  """
  from matplotlib.backends import backend_agg
  from matplotlib.figure import Figure

  rows = len(photographs)
  figure = Figure(figsize=(10, 3.2 * rows), layout='constrained')
  backend_agg.FigureCanvasAgg(figure)
  axes = figure.subplots(rows, 2, squeeze=False, width_ratios=(1, 1.4))
  for (left, right), photograph, guesses in zip(axes, photographs, all_guesses, strict=True):
    pixels = decoding.decode(picture_files.read(photograph)).numpy()
    step = max(pixels.shape) // _DRAWN_PIXELS + 1  # matplotlib would convert all to floats.
    left.imshow(pixels[::step, ::step])
    left.set_axis_off()
    _draw_bars(right, guesses)
  figures.save(figure, path, dpi=120)


def _draw_bars(axes, guesses):
  places = range(len(guesses))
  percent = [100 * guess.probability for guess in guesses]
  bars = axes.barh(places, percent, color='#4c78a8')
  axes.bar_label(bars, [f'{value:.1f} %' for value in percent], padding=3)
  axes.set_yticks(places, [class_names.for_picture(guess.label) for guess in guesses])
  axes.invert_yaxis()
  axes.set_xlim(0, 112)
  axes.set_xticks([])
  for side in ('top', 'right', 'bottom'):
    axes.spines[side].set_visible(False)


def measure_accuracy(
  classifier: 'Classifier',
  data: Any,
  background: bool,
  batch_size: int,
  checkpoint: str | None = None,
) -> dict[str, float]:
  """Measures and prints top-1 and top-5 accuracy on the images that the settings name.

  Args:
    classifier: the classifier.
    data: the settings; without images the embedded digits.
    background: whether class 0 of the classifier is the background.
    batch_size: images at a time.
    checkpoint: path of the model, whose job may have divided the images; None if it has none.

  Returns:
    See `accuracy`.

  Raises:
    ValueError: the classes of the data do not fit the classifier; see also `LabelledFiles`.
    OSError: the data cannot be read.
  """
  dataset: interface.DataSet
  if data.imagenet_eval_glob:
    dataset = LabelledFiles(data.imagenet_eval_glob, data.imagenet_eval_label)
  else:
    dataset = eval_images.open_images(data, checkpoint)
  count = classifier.num_classes - background
  if dataset.num_classes and dataset.num_classes != count:
    raise ValueError(
      f'{dataset.name} has {dataset.num_classes} classes, and the model {count}; they do not fit.'
    )
  images = ImageNetInput(
    dataset,
    classifier.spec,
    eval_batch_size=batch_size,
    num_label_classes=classifier.num_classes,
    include_background_label=background,
  )
  results = accuracy(classifier.predict, images, data.num_images)
  top_1, top_5 = 100 * results['top_1_accuracy'], 100 * results['top_5_accuracy']
  print(
    f'Final: top1_acc = {top_1:4.2f}%  top5_acc = {top_5:4.2f}%  ({results["images"]:,} images)'
  )
  return results


def accuracy(
  predict: Callable[[np.ndarray], np.ndarray], images: ImageNetInput, limit: int = -1
) -> dict[str, float]:
  """Returns top-1 and top-5 accuracy on a data set; shows a progress bar.

  Args:
    predict: function(images [n, height, width, 3]) -> probabilities [n, classes].
    images: the data.
    limit: greatest number of images; -1 for all.

  Returns:
    {'images', 'top_1_accuracy', 'top_5_accuracy'}.

  Raises:
    ValueError: an image or record is damaged, or there are no images.
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


class LabelledFiles(interface.DataSet):
  """Image files matching a pattern, in order of name, with classes from a text file, one per line.

  Raises:
    ValueError: no file matches, a match is a folder, a line is not a whole number, or there are not
      as many lines as files.
    OSError: the text file cannot be read.
  """

  def __init__(self, pattern: str, label_file: str):
    self.name = pattern
    # TensorFlow's glob takes only names that are text.
    remote = files.is_remote(pattern)
    self._paths = sorted(tf.io.gfile.glob(pattern) if remote else glob.glob(pattern))
    if not self._paths:
      raise ValueError(f'--imagenet_eval_glob={pattern} fits no file.')
    picture_files.check(self._paths)
    self._labels = list(_read_labels(label_file))
    if len(self._labels) != len(self._paths):
      raise ValueError(
        f'{label_file} has {len(self._labels)} lines, and --imagenet_eval_glob={pattern} fits '
        f'{len(self._paths)} images; expected a line for each.'
      )

  def _open(self, split):
    del split
    return ImageFiles(list(zip(self._paths, self._labels, strict=True)))


def _read_labels(path) -> Iterator[int]:
  with files.open_text(path) as file:
    for number, line in enumerate(file, start=1):
      try:
        yield int(line)
      except ValueError:
        raise ValueError(
          f'{path}: line {number} is {line.strip()[:40]!r}; expected the number of a class.'
        ) from None
