"""Follows a job and writes its report."""
import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tpu_utils import config as configs
from tpu_utils import distribute, export, files
from tpu_utils.command_line.progress import Progress
from tpu_utils.errors import first_line, one_line, printable
from tpu_utils.export import model_card
from tpu_utils.image_jobs.reporting import (
  cards,
  commands,
  content,
  drawing,
  exports,
  html_page,
  markdown,
  pictures,
  tensorboard,
)
from tpu_utils.image_jobs.reporting.content import FOLDER, Content, Mistake
from tpu_utils.image_jobs.reporting.measures import Predictions
from tpu_utils.image_jobs.reporting.settings import ReportConfig
from tpu_utils.images.imagenet_input import ImageNetInput
from tpu_utils.images.sources.sample import Sample
from tpu_utils.images.spec import Augmentation
from tpu_utils.runner import Runner
from tpu_utils.trainer import Trainer

HTML, MARKDOWN = 'report.html', 'report.md'
_CLASSES = 'classes.csv'


class Reporter:
  """Keeps the predictions of a job's evaluations, and makes a report of the best one's.

  The evaluations of the job give the predictions; only if none of them was of the best checkpoint,
  as when a finished job is started again, is it evaluated once more.

  Args:
    config: settings of the report.
    job: settings of the job.
    dataset: the data set, from `data.open_data`.
    open_images: function(data set) -> `ImageNetInput` of the job.
    names: function(number of outputs) -> their names, or None.
    package: of the paper's scripts, such as 'efficientnet'.
    run_info: as in run.json.
  """

  def __init__(
    self,
    config: ReportConfig,
    job: configs.JobConfig,
    dataset: Any,
    open_images: Callable[[Any], ImageNetInput],
    names: Callable[[int], Sequence[str] | None],
    package: str,
    run_info: Mapping[str, Any],
  ):
    self._config, self._job = config, job
    self._dataset, self._open_images = dataset, open_images
    self._find_names, self._package, self._run_info = names, package, run_info
    self._trainer: Trainer | None = None
    self._kept: dict[int, Mapping[str, np.ndarray]] = {}  # {step: rows} of the best and the last.
    self._found: tuple[int, Predictions, ImageNetInput] | None = None
    self._samples: np.ndarray | None = None

  def follow(self, trainer: Trainer) -> None:
    """Takes note of the trainer whose evaluations call `summarize`."""
    self._trainer = trainer

  def summarize(self, rows: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Keeps the rows of an evaluation; see `task.Task.summarize`. Adds no metrics."""
    assert self._trainer is not None
    step = self._trainer.step
    self._kept[step] = rows
    most = max(map(_right, self._kept.values()))
    best = [s for s in self._kept if _right(self._kept[s]) == most]
    # Of equal ones the archive holds the first or the last, by the rounding of their results.
    self._kept = {s: self._kept[s] for s in (best[0], best[-1], step)}
    return {}

  def started(self, runner: Runner) -> None:
    """Writes the start of a training for TensorBoard; called on the chief."""
    if runner.trainer.step or self._job.skip_host_call:
      return
    self._samples = pictures.augmented(self._open_images(self._dataset))
    graph = _graph(runner.trainer.model) if self._config.summary_graph else None
    tensorboard.write_start(runner.summaries, self._run_info, self._samples, graph)

  def collect(self, runner: Runner) -> None:
    """Finds the predictions of the best checkpoint; called on every worker after the job.

    Raises:
      ValueError: an image cannot be read.
    """
    workers = distribute.Workers(runner.trainer.strategy)
    record = model_card.job_record(self._job.model_dir) if workers.is_chief else None
    step = None if record is None else record.step
    if workers.any(workers.is_chief and step is None):
      print('No report: there is no checkpoint to report on.', file=sys.stderr)
      return
    images = self._open_images(self._dataset)
    # Also makes the other workers wait until the chief has archived the best checkpoint.
    if workers.any(workers.is_chief and step not in self._kept):
      images = self._open_images(Sample(self._dataset, self._config.report_images))
      self._evaluate(runner, images)
      step = runner.trainer.step if workers.is_chief else None
    if step is not None:  # On the chief.
      num_outputs = runner.trainer.model.output_shape[-1]
      predictions = Predictions.from_rows(self._kept[step], num_outputs)
      self._found = step, predictions, images
      names = self._names(num_outputs)
      tensorboard.write_confusion(runner.summaries, runner.eval_folder, predictions, names, step)

  def _evaluate(self, runner, images):
    name = runner.restore_best()
    count = min(len(self._dataset.open('validation')), self._config.report_images)
    print(f'Report: predictions of {name} for {count:,} evaluation images.', flush=True)
    with Progress(images.num_eval_batches, 'report', unit='batch') as bar:
      try:
        runner.trainer.evaluate(images.eval_dataset, bar.update)
      except tf.errors.OpError as error:
        raise images.explain(error) or error from error

  def write(self) -> None:
    """Writes the report; called on the chief after `collect` and the export.

    A report that cannot be written is no reason to fail: the model is trained.
    """
    if self._found is None:
      return
    try:
      report = self._content(*self._found)
      self._write(report)
    except (OSError, ValueError, tf.errors.OpError) as error:
      reason = first_line(error) if isinstance(error, tf.errors.OpError) else one_line(error)
      print(f'No report: {reason}', file=sys.stderr)
    else:
      print(f'Report: {self._path(HTML)} and {MARKDOWN} beside it.')

  def _write(self, report):
    text, linked = markdown.render(report)
    mistakes = self._mistakes_table(report)

    def write_folder(staged):  # Pictures of an earlier report go.
      for name, picture in linked.items():
        files.write_bytes(os.path.join(staged, os.path.basename(name)), picture)
      files.write_text(os.path.join(staged, _CLASSES), report.classes_table())
      files.write_text(os.path.join(staged, 'mistakes.csv'), mistakes)

    files.replace_folder(self._path(FOLDER), write_folder, marker=_CLASSES)
    files.write_text(self._path(MARKDOWN), text)
    files.write_text(self._path(HTML), html_page.render(report))

  def _content(self, step, predictions, images):
    print('Report: pictures, speeds and accuracies of the exports ...', flush=True)
    names = self._names(predictions.num_outputs)
    curves = self._path('curves.png')
    record = model_card.job_record(self._job.model_dir)
    flags = self._run_info.get('flags', {})
    if self._job.mode == 'eval':  # Its own flags say nothing of the training.
      flags = record.flags if record else {}
    elif self._samples is None:
      self._samples = pictures.augmented(images)
    exported = self._exported(flags)
    found_exports = []
    if exported:
      found_exports = exports.measure(exported, self._evaluation(exported, images))
    model_name = flags.get('model_name') or self._package
    strategy = record.strategy if record else ''
    return Content(
      title=f'{model_name} on {self._data_name()}',
      checkpoint=f'The best checkpoint, of step {step:,}'
      if self._job.archive_ckpt else f'The newest checkpoint, of step {step:,}',
      facts={
        'model_dir': self._job.model_dir,
        **cards.training_facts(flags, step, strategy),
        'image size': images.spec.image_size,
        'versions': ', '.join(f'{k} {v}' for k, v in files.versions().items()),
      },
      names=names,
      predictions=predictions,
      total=len(self._dataset.open('validation')),
      curves=files.read_bytes(curves) if files.is_file(curves) else None,
      confusion=drawing.png(drawing.confusion(predictions.confusion(), names)),
      calibration=drawing.png(drawing.calibration(predictions.calibration())),
      mistakes=self._mistakes(predictions, images, names),
      augmented=None if self._samples is None else pictures.grid(self._samples),
      augmentation=_augmentation_text(images.augmentation),
      exports=found_exports,
      hardware=_hardware(),
      commands=commands.commands(
        self._package, str(self._job.model_dir), exported,
        any(found.name == exports.SAVED_MODEL for found in found_exports),
      ),
    )  # fmt: skip

  def _evaluation(self, exported, images):
    """Returns function() -> images and classes to measure exports on; None for other models."""
    info = exports.info_of(exported)
    own = json.loads(json.dumps(dataclasses.asdict(images.spec)))
    if info.get('preprocessing') != own or info.get('num_classes') != images.num_label_classes:
      return None
    sample = self._open_images(Sample(images.data, exports.MOST_IMAGES))

    def evaluation():
      for batch in sample.eval_dataset().as_numpy_iterator():
        real = batch['weights'] > 0
        pixels = batch['images'].astype(np.float32)
        pixels = np.moveaxis(pixels, -1, 0) if sample.transpose_input else pixels
        yield pixels[real], batch['labels'][real].argmax(-1)

    return evaluation

  def _mistakes(self, predictions, images, names):
    source = images.data.open('validation')
    numbers = pictures.usable_numbers(source, len(predictions))
    found = []
    for place in predictions.mistakes()[: content.MOST_MISTAKES].tolist():
      picture, where = None, ''
      if numbers is not None:
        where = printable(source.where(numbers[place]))
        # If it became unreadable since, the report says so in its place.
        with contextlib.suppress(ValueError, tf.errors.OpError):
          picture = pictures.original(source, numbers[place])
      found.append(
        Mistake(
          picture, where, content.shown(names[predictions.label[place]]),
          float(predictions.true_probability[place]),
          content.shown(names[predictions.predicted[place]]), float(predictions.probability[place]),
        )
      )  # fmt: skip
    return found

  def _mistakes_table(self, report):
    predictions = report.predictions
    assert self._found is not None
    source = self._found[2].data.open('validation')
    numbers = pictures.usable_numbers(source, len(predictions))
    rows = [
      [
        printable(source.where(numbers[place])) if numbers is not None else '',
        report.name(predictions.label[place]), f'{predictions.true_probability[place]:.4f}',
        report.name(predictions.predicted[place]), f'{predictions.probability[place]:.4f}',
      ]
      for place in predictions.mistakes().tolist()
    ]  # fmt: skip
    return content.mistakes_table(rows)

  def _exported(self, flags):
    """Returns the folder of the exported model, or None."""
    places = [self._job.export_dir, flags.get('export_dir')]
    if self._job.mode == 'eval':  # The last start need not be the one that exported.
      places.append(self._path('export'))
    marked = [p for p in places if p and files.is_file(os.path.join(p, export.EXPORT_INFO_FILE))]
    return marked[0] if marked else None

  def _names(self, num_outputs):
    names = self._find_names(num_outputs)
    return list(names) if names else [f'class {number}' for number in range(num_outputs)]

  def _data_name(self):
    flags = self._run_info.get('flags', {})
    name = flags.get('dataset') or os.path.basename(str(flags.get('data_dir') or '').rstrip('/'))
    return name or 'the handwritten digits'

  def _path(self, *names):
    return os.path.join(str(self._job.model_dir), *names)


def _right(rows):
  return int((np.asarray(rows['label']) == np.asarray(rows['predicted'])).sum())


def _graph(model):
  spec = tf.TensorSpec((1, *model.inputs[0].shape[1:]), tf.float32, 'images')
  function = tf.function(lambda images: model(images, training=False), autograph=False)
  return function.get_concrete_function(spec).graph


def _augmentation_text(augmentation: Augmentation) -> str:
  """Describes what training does to images."""
  parts = {
    'padded': f'random crops after padding by {augmentation.padding} pixels',
    'torch': "random crops of torchvision's kind",
  }
  low, high = augmentation.area_range
  parts_text = [
    parts.get(augmentation.random_crop, 'random crops')
    + (f' of {100 * low:.0f} to {100 * high:.0f} % of the area'
       if augmentation.random_crop != 'padded' else '')
  ]  # fmt: skip
  parts_text += ['mirroring'] if augmentation.flip else []
  parts_text += [augmentation.augment_name] if augmentation.augment_name else []
  parts_text += ['colour jitter'] if augmentation.color_jitter else []
  parts_text += ['lighting'] if augmentation.lighting else []
  parts_text += ['random erasing'] if augmentation.random_erasing_prob else []
  parts_text += ['mixup'] if augmentation.mixup_alpha else []
  parts_text += ['CutMix'] if augmentation.cutmix_alpha else []
  return (
    'Left, some training images as evaluation prepares them; then what training gets of them, at '
    f'every look another one: {", ".join(parts_text)}.'
  )


def _hardware():
  kinds = {'gpu': 'a GPU', 'tpu': 'a TPU'}
  (kind, *_) = sorted(distribute.device_types(), reverse=True)
  count = os.cpu_count()
  return kinds.get(kind, f'{count} processor core{"" if count == 1 else "s"}')
