"""Everything that a report shows, before it is written as Markdown or HTML."""
import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

from tpu_utils.image_jobs.reporting.commands import Command
from tpu_utils.image_jobs.reporting.exports import Exported
from tpu_utils.image_jobs.reporting.measures import ClassResult, Predictions, worst_first
from tpu_utils.images import class_names

FOLDER = 'report'  # Of the pictures and tables that the Markdown links to.
MOST_PAIRS, MOST_CLASSES, MOST_MISTAKES = 15, 40, 16


@dataclasses.dataclass(frozen=True)
class Mistake:
  """A wrong prediction with its image.

  Attributes:
    picture: content of a PNG or JPEG file; None if it cannot be shown.
    source: name of the image.
    true: name of its class.
    true_probability: probability of that class.
    predicted: name of the likeliest class.
    probability: its probability.
  """

  picture: bytes | None
  source: str
  true: str
  true_probability: float
  predicted: str
  probability: float


@dataclasses.dataclass(frozen=True)
class Content:
  """A report.

  Attributes:
    title: of the model.
    checkpoint: name of the reported checkpoint, and when it was made.
    facts: {name: value} about data, model and training.
    names: of the model's outputs.
    predictions: for the evaluation images.
    total: evaluation images in the data set; more than the predictions if they are a sample.
    curves: PNG file, or None.
    confusion: PNG file.
    calibration: PNG file.
    mistakes: the worst ones.
    augmented: PNG or JPEG file, or None.
    augmentation: describes it.
    exports: the exported files.
    hardware: where their speeds were measured.
    commands: commands that use the model.
  """

  title: str
  checkpoint: str
  facts: Mapping[str, Any]
  names: Sequence[str]
  predictions: Predictions
  total: int
  curves: bytes | None
  confusion: bytes
  calibration: bytes
  mistakes: Sequence[Mistake]
  augmented: bytes | None
  augmentation: str
  exports: Sequence[Exported]
  hardware: str
  commands: Sequence[Command]

  @property
  def num_mistakes(self) -> int:
    """Number of wrong predictions."""
    return int((~self.predictions.right).sum())

  @property
  def basis(self) -> str:
    """The images that the measures are of, as text."""
    count = len(self.predictions)
    if count < self.total:
      return f'a sample of {count:,} of the {self.total:,} evaluation images, evenly spread'
    return f'all {count:,} evaluation images'

  def numbers(self) -> list[tuple[str, str]]:
    """Returns (name, value) of the main results."""
    found = self.predictions
    rows = [('top-1 accuracy', percent(found.top_1))]
    if found.num_outputs > 5:
      rows.append(('top-5 accuracy', percent(found.top_5)))
    return [
      *rows,
      ('log loss', f'{found.log_loss:.3f}'),
      ('calibration error', percent(found.calibration_error)),
    ]

  def name(self, number: int) -> str:
    """Returns the name of an output on one line."""
    return shown(self.names[number])

  def shown_classes(self) -> list[ClassResult]:
    """Returns the classes to show, the worst first: 40 at most."""
    return worst_first(self.predictions.classes())[:MOST_CLASSES]

  @property
  def num_classes_met(self) -> int:
    """Number of classes that occur among labels and predictions."""
    return len(self.predictions.classes())

  def pairs(self) -> list[tuple[str, str, int, str]]:
    """Returns (true, predicted, images, share of the true class) of the most confused pairs."""
    images = {c.number: c.images for c in self.predictions.classes()}
    return [
      (self.name(true), self.name(predicted), count, percent(count / images[true]))
      for true, predicted, count in self.predictions.confused_pairs(MOST_PAIRS)
    ]

  def classes_table(self) -> str:
    """Returns all classes as CSV."""
    rows = [
      [self.name(c.number), c.images, c.right, _number(c.accuracy), c.guesses, _number(c.precision)]
      for c in self.predictions.classes()
    ]
    return _csv(['class', 'images', 'right', 'accuracy', 'predicted', 'precision'], rows)


def shown(name: str) -> str:
  """Returns a name of a class as the report shows it: on one line, ImageNet's short."""
  return class_names.short(name)


def percent(share: float | None) -> str:
  """Formats a share as a percentage with one decimal; a dash for None."""
  return '–' if share is None else f'{100 * share:.1f} %'


def size_text(size: int) -> str:
  """Formats a number of bytes in MB or kB."""
  return f'{size / 1e6:.1f} MB' if size >= 1e5 else f'{size / 1e3:.1f} kB'


def milliseconds_text(value: float | None) -> str:
  """Formats a time for a table; a dash for None."""
  return '–' if value is None else f'{value:.3g} ms' if value < 100 else f'{value:.0f} ms'


def speed_text(value: float | None) -> str:
  """Formats images per second for a table; a dash for None."""
  return '–' if value is None else f'{value:,.0f}' if value >= 10 else f'{value:.1f}'


def accuracy_text(exported: Exported) -> str:
  """Formats the accuracy of an export for a table; a dash if it was not measured."""
  if exported.accuracy is None:
    return '–'
  return f'{percent(exported.accuracy)} of {exported.images:,}'


def exports_text(report: Content) -> str:
  """Returns what to know about the numbers of the exports."""
  text = f'Speeds on {report.hardware}'
  if any(found.accuracy is not None for found in report.exports):
    text += '; accuracies of the files themselves, on evaluation images spread evenly over the set'
  return f'{text}.'


def mistakes_table(rows: Sequence[Sequence[Any]]) -> str:
  """Returns mistakes as CSV: image, true class, its probability, predicted class, its one."""
  return _csv(['image', 'true', 'true_probability', 'predicted', 'probability'], rows)


def _number(value):
  return '' if value is None else f'{value:.4f}'


def _csv(header, rows):
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(header)
  writer.writerows(rows)
  return text.getvalue()
