"""Writes a model in several formats and measures each on the same images."""
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tpu_utils import files
from tpu_utils.export import folder, measuring, model_card, tflite, tflite_metadata
from tpu_utils.export import formats as format_registry
from tpu_utils.images import preprocessing
from tpu_utils.images.imagenet_input import ImageNetInput
from tpu_utils.images.sources import interface, open_dataset
from tpu_utils.images.sources.sample import Sample
from tpu_utils.images.spec import PreprocessSpec
from tpu_utils.model_formats import DEFAULT_FORMATS, FORMATS

_EVAL_BATCH = 8
_POINT = 0.01  # Loss of accuracy from which a file is named.


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
    """Yields (images [n, height, width, 3], labels [n, classes]), up to `count` images in all.

    They are spread evenly over the split, which in folders is sorted by class.
    """
    for batch in self._batches(Sample(self._data, count), 'validation', _EVAL_BATCH, count):
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
    yield from self._batches(self._data, split, batch_size, count)

  def _batches(self, data, split, batch_size, count):
    images = ImageNetInput(_Split(data, split), eval_batch_size=batch_size, **self._settings)
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
  formats: Sequence[str] = DEFAULT_FORMATS,
) -> None:
  """Writes the files that the settings name, and prints a table of their accuracy and speed.

  Args:
    model: model from images to logits, or to the endpoint `config.endpoint_name`.
    spec: its preprocessing.
    images: None for no measurements; int8 is then impossible.
    config: `image_jobs.export.ExportConfig`.
    class_names: names of the classes in the order of the logits; None if they are unknown.
    card: function(results=, measured=, usage=) -> model card, all optional; None for no card beside
      TFLite files, and one that says only what the model is beside others.
    formats: files in `config.output_saved_model_dir`.

  Raises:
    ValueError: int8 has no images, a format cannot be written, or an image cannot be read; nothing
      is written then.
    OSError: a file cannot be written.
  """
  variants, endpoint = config.variants(), config.endpoint_name
  contents = _converted(model, spec, images, config, class_names)
  measurement = None
  if images and not endpoint:
    others = {name: tflite.Classifier(content).predict for name, content in contents.items()}
    measurement = Measurement(model, images, config.num_eval_images, others)

  def card_of(names, **facts):
    measured = measurement.facts(names) if measurement else {}
    return None if card is None else card(**measured, **facts)

  if config.output_saved_model_dir:
    folder.export(
      model,
      config.output_saved_model_dir,
      preprocessing.eval_function(spec),
      dataclasses.asdict(spec),
      class_names,
      to_tpu=config.export_to_tpu,
      formats=formats,
      measure=measurement,
      endpoint=endpoint,
      card=lambda: card_of(('model', *formats)),
    )
    titles = ', '.join(FORMATS[name].title for name in formats)
    print(f'{config.output_saved_model_dir}: {titles}')
  elif measurement:
    measurement()
  for variant, content in contents.items():
    files.write_bytes(variants[variant], content, parents=True)
    print(f'{variants[variant]}: TFLite, {tflite.VARIANTS[variant]}, {len(content):,} bytes')
  if variants and card:
    made = card_of(('model', *variants), usage=_tflite_usage(endpoint))
    path = model_card.write_beside(config.output_tflite, made, list(variants.values()))
    print(f'{path}: model card')
  if endpoint:
    print(f'Output: endpoint {endpoint}, {list(model.output_shape)}; no accuracy.')
  elif measurement is None:
    print('Accuracy not measured: no --data_dir and no --dataset.')
  else:
    print(measurement.text())


def _converted(model, spec, images, config, class_names):
  """Returns {variant: content of its TFLite file} of the settings."""
  endpoint = config.endpoint_name
  info = {
    'model_name': model.name,
    **({'endpoint_name': endpoint} if endpoint else {}),
    'preprocessing': dataclasses.asdict(spec),
  }
  contents = {}
  for variant in config.variants():
    representative = None
    if variant in tflite.IN_8_BITS and images:
      representative = images.training(config.num_steps)
    content = tflite.convert(model, variant, representative, config.batch_size, endpoint)
    contents[variant] = tflite_metadata.add(content, class_names, info)
  return contents


def _tflite_usage(endpoint):
  if endpoint:
    return f'TFLite: from `images`, pixels in [0, 255], to `output`, the endpoint {endpoint}.'
  return (
    'TFLite: from `images`, pixels in [0, 255], to `probabilities`; int8 files take and return '
    'uint8. The names of the classes are `labels.txt` inside the file (`unzip -p FILE labels.txt`).'
  )


class Measurement:
  """Measures the files of an export, when it is called with their folder.

  Args:
    model: model from images to logits.
    images: the images.
    count: greatest number of images.
    others: {name: function from images to probabilities} of files elsewhere.
  """

  def __init__(
    self,
    model: keras.Model,
    images: Images,
    count: int,
    others: Mapping[str, measuring.Predict] | None = None,
  ):
    self._model, self._images, self._count = model, images, count
    self._others = dict(others or {})
    self._results: dict[str, measuring.Result] = {}

  def __call__(self, folder: str | None = None, info: Mapping[str, Any] | None = None) -> dict:
    """Measures; returns JSON-able results, {file: {...}}.

    Args:
      folder: local folder with an export's files, measured if there are others than the default
        ones; None without one.
      info: the content of its export.json.

    Raises:
      ValueError: an image cannot be read.
    """
    programs = {}
    if folder and info and not set(info['formats']) <= set(DEFAULT_FORMATS):
      programs = format_registry.programs(folder, info)
    predict = {**{name: program.predict for name, program in programs.items()}, **self._others}
    batches = self._images.evaluation(self._count)
    self._results = measuring.measure(self._model, predict, batches)
    known = self._images.has_known_classes
    return {name: result.as_json(known) for name, result in self._results.items()}

  def facts(self, names: Iterable[str]) -> dict[str, Any]:
    """Returns the arguments `results` and `measured` of a model card; {} without accuracies.

    Args:
      names: 'model' and files; those that were not measured are left out.
    """
    if not self._results or not self._images.has_known_classes:
      return {}
    found = {name: self._results[name] for name in names if name in self._results}
    shown = {
      f'top-1 accuracy, {name}': f'{100 * result.right / result.images:.2f} %'
      for name, result in found.items()
    }
    count = self._results['model'].images
    where = f'On {count:,} evaluation images of the data, evenly spread, by the file.'
    return {'results': shown, 'measured': where}

  def text(self) -> str:
    """Returns the results as a table."""
    if not self._results:
      return 'Accuracy not measured: the data have no images to evaluate on.'
    known = self._images.has_known_classes
    notes = _loss_notes(self._results) if known else [
      'No top-1: the classes of the images are not those of the model.'
    ]  # fmt: skip
    return '\n'.join([measuring.table(self._results, known), *notes])


def _loss_notes(results):
  """Returns a line for each file that is over a point less accurate than the model."""
  notes = []
  for name, result in results.items():
    lost = (results['model'].right - result.right) / result.images
    if lost > _POINT:
      advice = '; float16 needs no ranges of activations' if name in tflite.IN_8_BITS else ''
      notes.append(f'{name} is {100 * lost:.1f} points less accurate than the model{advice}.')
  return notes
