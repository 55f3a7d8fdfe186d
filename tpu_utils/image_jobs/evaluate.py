"""`python -m PACKAGE.eval_ckpt_main`: classifies photographs, or measures a checkpoint's accuracy.

Source of the flags: tensorflow/tpu, models/official/efficientnet/eval_ckpt_main.py and utils.py
(`EvalCkptDriver`). TensorFlow is imported only once the flags have been checked.
"""
from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tpu_utils import files
from tpu_utils.command_line import cli, settings
from tpu_utils.command_line.recipes import Recipe
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting
from tpu_utils.image_jobs import opening, script


@dataclasses.dataclass(frozen=True)
class EvalConfig(opening.CheckpointConfig):
  """Checkpoint to evaluate, and how."""

  runmode: str = setting(
    None,
    'examples: classify images. imagenet: measure top-1 and top-5 accuracy. By default the one '
    'that has images.',
    choices=('examples', 'imagenet'),
    type=str,
  )
  output_json: str = setting(None, 'File for the results, as JSON.', type=str)
  output_csv: str = setting(
    None,
    'File for the guesses, as CSV: a row for each, with image, rank, class, label and probability.',
    type=str,
  )
  export_ckpt: str = setting(
    None, 'Prefix to write the evaluated weights to, as an official TF1 checkpoint.', type=str
  )


@dataclasses.dataclass(frozen=True)
class ExamplesConfig(settings.Checked):
  """Photographs: IMAGE... after the flags."""

  example_img: str = setting(None, 'An image; the same as naming it after the flags.', type=str)
  labels_map_file: str = setting(
    None,
    'JSON file of {"0": "name of the first class", ...}; by default the names in the exported '
    "file, those that the job of the checkpoint kept, or ImageNet's.",
    type=str,
  )
  picture: str = setting(
    None, 'Picture to draw: each photograph with its five likeliest classes.', type=str
  )


@dataclasses.dataclass(frozen=True)
class DataConfig(opening.PreparationConfig):
  """Images with known classes, and their preprocessing."""

  imagenet_eval_glob: str = setting(
    None, "Pattern of ImageNet's validation images, such as '/imagenet/ILSVRC2012*.JPEG'; read in "
    'order of name.', type=str
  )  # fmt: skip
  imagenet_eval_label: str = setting(
    None, 'File with the class of each of them, from 0, one per line.', type=str
  )
  data_dir: str = setting(
    '', 'Instead: folder of TFRecord shards (validation-*), or of images with a folder per class: '
    "those in validation/; without it, those that the checkpoint's job held out, or else all."
  )  # fmt: skip
  dataset: str = setting(None, 'Instead: a set of TensorFlow Datasets.', type=str)
  tfds_data_dir: str = setting(None, 'Where --dataset was prepared.', type=str)
  eval_split: str = setting(None, '--dataset: the split to evaluate on.', type=str)
  num_images: int = setting(5000, 'Greatest number of images; -1 for all.', at_least=-1)

  def __post_init__(self):
    super().__post_init__()
    if bool(self.imagenet_eval_glob) != bool(self.imagenet_eval_label):
      raise ValueError(
        '--imagenet_eval_glob and --imagenet_eval_label go together: images, and their classes.'
      )
    if self.imagenet_eval_glob and (self.data_dir or self.dataset):
      raise ValueError(
        '--imagenet_eval_glob, --data_dir and --dataset name different images; give one.'
      )

  @property
  def has_images(self) -> bool:
    """Whether the user named images."""
    return bool(self.imagenet_eval_glob or self.data_dir or self.dataset)


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """The shared evaluation script for one paper.

  Attributes:
    training: the paper's `script.Training`, which knows the models.
    has_pretrained: function(model name) -> whether a package has weights for it.
  """

  training: script.Training
  has_pretrained: Callable[[str], bool] = lambda name: False

  def script(self, doc: str, module: str, recipes: Mapping[str, Recipe]) -> Script:
    """Makes the script; see `Script` for the arguments."""
    return Script(
      doc=doc,
      groups=(EvalConfig, ExamplesConfig, self.training.model_groups[0], DataConfig),
      run=self.evaluate,
      words=True,
      module=module,
      recipes=recipes,
      uses_tensorflow=False,  # `evaluate` imports it when it has looked at the files.
    )

  def evaluate(
    self, resolved: settings.Resolved, photographs: Sequence[str] = ()
  ) -> dict[str, Any]:
    """Classifies photographs, or measures accuracy.

    Args:
      resolved: the settings.
      photographs: paths of images that the command line names.

    Returns:
      The results, as in `--output_json`.

    Raises:
      ValueError, OSError: a setting, the checkpoint or an image is missing or wrong.
    """
    config, examples, _, _ = resolved
    photographs = [*photographs, *filter(None, [examples.example_img])]
    source = opening.find(resolved, self.has_pretrained)
    resolved, checkpoint = source.resolved, source.checkpoint
    *_, data = resolved
    mode = config.runmode or ('imagenet' if data.has_images and not photographs else 'examples')
    _check_images(mode, photographs, data, source.is_digits)
    if config.output_csv and mode != 'examples':
      raise ValueError('--output_csv holds guesses for images; accuracies go to --output_json.')
    script.check_data_folder(data)
    script.check_photographs(photographs)
    source.announce()

    cli.import_tensorflow()
    from tpu_utils.image_jobs import predictions

    opened = source.open(self.training, examples.labels_map_file, config.export_ckpt)
    classifier, background = opened.classifier, opened.background
    results: dict[str, Any] = {
      'model_name': resolved[2].model_name, 'ckpt_dir': checkpoint, 'enable_ema': config.enable_ema,
      'runtime': classifier.runtime,
    }  # fmt: skip
    if mode == 'examples':
      results['examples'] = predictions.classify_photographs(
        classifier, photographs, opened.labels, background, config.batch_size, examples.picture
      )
      if config.output_csv:
        _write_csv(config.output_csv, results['examples'])
    else:
      results |= predictions.measure_accuracy(
        classifier,
        data,
        background,
        config.batch_size,
        None if checkpoint == script.PRETRAINED else checkpoint,
      )
    if config.output_json:
      files.write_json(config.output_json, results)
    return results


def _check_images(mode, photographs, data, is_digits):
  if mode == 'examples' and not photographs:
    raise ValueError(
      'No images: name some after the flags, as in `... photo.jpg`; or for accuracies give '
      '--data_dir, --dataset, or --imagenet_eval_glob and --imagenet_eval_label.'
    )
  if mode == 'imagenet' and photographs:
    raise ValueError(
      f'{photographs[0]!r} has no known class; --runmode=imagenet takes its images from --data_dir.'
    )
  if mode == 'imagenet' and not data.has_images and not is_digits:
    raise ValueError(
      '--runmode=imagenet needs images with known classes: --data_dir, --dataset, or '
      '--imagenet_eval_glob and --imagenet_eval_label.'
    )


def _write_csv(path, examples):
  """Writes the guesses {image: list of guesses}; names with commas and line breaks are quoted."""
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(['image', 'rank', 'class', 'label', 'probability'])
  for image, guesses in examples.items():
    for rank, guess in enumerate(guesses, 1):
      writer.writerow([image, rank, guess['class'], guess['label'], guess['probability']])
  # `surrogateescape`: names of files need not be UTF-8.
  files.write_bytes(path, text.getvalue().encode('utf-8', 'surrogateescape'))
