"""`python -m PACKAGE.predict`: the likeliest classes of many images, as a table or JSON lines.

It takes every model that `eval_ckpt_main` takes, and prepares images as the model's job did. One
image that cannot be read is reported and counted, and the others are done. TensorFlow is imported
only once the flags have been checked.
"""
from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tpu_utils import files
from tpu_utils.command_line import cli, settings
from tpu_utils.command_line.recipes import Recipe
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting
from tpu_utils.errors import printable
from tpu_utils.image_jobs import opening, script

if TYPE_CHECKING:
  from tpu_utils.image_jobs.predictor import Prediction, Predictor

ENDINGS = ('.csv', '.jsonl', '.ndjson')  # Of --output; they set its format.


@dataclasses.dataclass(frozen=True)
class PredictConfig(opening.CheckpointConfig):
  """The model, what runs it, and the output. Images, folders and patterns come after the flags."""

  output: str = setting(
    None,
    'File for the predictions: .csv has a row for each class, with image, rank, class, label, '
    'probability and error; .jsonl has an object for each image. Without it they are printed.',
    type=str,
  )
  top_k: int = setting(1, 'Classes for each image, the likeliest first.', at_least=1)
  labels_map_file: str = setting(
    None,
    'JSON file of {"0": "name of the first class", ...}; by default the names in the exported '
    "file, those that the job of the checkpoint kept, or ImageNet's.",
    type=str,
  )


@dataclasses.dataclass(frozen=True)
class Summary:
  """Result of a run.

  Attributes:
    images: number of images.
    failed: predictions of those that could not be read.
    output: file with the predictions, or None.
  """

  images: int
  failed: list[Prediction]
  output: str | None


@dataclasses.dataclass(frozen=True)
class Predicting:
  """The shared prediction script for one paper.

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
      groups=(PredictConfig, self.training.model_groups[0], opening.PreparationConfig),
      run=self.run,
      check=_check,
      words=True,
      module=module,
      recipes=recipes,
      uses_tensorflow=False,  # `run` imports it when it has looked at the files.
    )

  def load(self, path: str | os.PathLike[str], runtime: str, **flags: Any) -> Predictor:
    """Loads a classifier.

    Args:
      path: as --ckpt_dir: an export's folder or file, a job's model_dir, or a checkpoint.
      runtime: as --runtime.
      **flags: further flags of the script, such as model_name='efficientnet-b0'.

    Raises:
      ValueError, OSError: a setting is wrong, or the model cannot be read or run.
    """
    given = {'ckpt_dir': os.fspath(path), 'runtime': runtime, **flags}
    resolved = self.script('', '', {}).resolve(given)
    return self._open(opening.find(resolved, self.has_pretrained))

  def _open(self, source):
    source.announce()
    cli.import_tensorflow()
    from tpu_utils.image_jobs import predictor

    labels_map_file = source.resolved.get(PredictConfig).labels_map_file
    return predictor.Predictor(source.open(self.training, labels_map_file))

  def run(self, resolved: settings.Resolved, words: Sequence[str] = ()) -> Summary:
    """Predicts the classes of the images that the command line names.

    Args:
      resolved: the settings.
      words: files, folders and patterns.

    Raises:
      ValueError, OSError: a setting or the model is wrong or missing, or no image can be read.
    """
    if not words:
      raise ValueError('No images: name files, folders or patterns after the flags.')
    script.check_photographs(word for word in words if not set('*?[') & set(word))
    source = opening.find(resolved, self.has_pretrained)
    cli.import_tensorflow()
    from tpu_utils.command_line.progress import Progress
    from tpu_utils.image_jobs import image_paths, prediction_files

    paths, left_out = image_paths.find(words)
    others = f'; {left_out:,} other files are left out' if left_out else ''
    print(f'{len(paths):,} images{others}', file=sys.stderr)
    predictor = self._open(source)
    config = source.resolved.get(PredictConfig)
    output = None
    if config.output:
      output = prediction_files.PredictionFile(config.output, _job(source, predictor))
    done = output.done.intersection(paths) if output else set()
    if done:
      print(f'{len(done):,} of them are in {config.output}.partial already.', file=sys.stderr)
    rest = [path for path in paths if path not in done]
    failed: list[Prediction] = []
    with Progress(len(rest), 'predict', unit='image') as progress:
      for found in predictor.stream(rest, config.top_k, config.batch_size, progress):
        failed += [prediction for prediction in found if prediction.error]
        for prediction in found:
          _report(prediction, progress, output)
        if output:
          output.add(found)
    if len(failed) == len(paths):
      raise ValueError(
        f'None of the {len(paths):,} images can be read; the first: {_text(failed[0])}'
      )
    if output:
      output.finish(paths)
      print(f'{config.output}: predictions for {len(paths) - len(failed):,} images')
    if failed:
      print(f'{len(failed):,} of {len(paths):,} images cannot be read.', file=sys.stderr)
    return Summary(len(paths), failed, config.output)


def _check(resolved):
  output = resolved[0].output
  if output and not output.lower().endswith(ENDINGS):
    raise ValueError(
      f'--output={output} must end in {" or ".join(ENDINGS)}, which sets the format.'
    )


def _report(prediction, progress, output):
  """Prints an unreadable image, and the guesses for others where no file takes them."""
  if prediction.error:
    progress.say(_text(prediction))
  elif output is None:
    from tpu_utils.image_jobs import predictions

    print(predictions.guesses_text(prediction.image, prediction.guesses), flush=True)


def _text(prediction):
  return f'{printable(prediction.image)}: {prediction.error}.'


def _job(source, predictor):
  """Returns all that predictions depend on: settings, and the state of the model's files."""
  flags = {name: value for name, value in source.resolved.as_dict().items()
           if name not in ('output', 'batch_size')}  # fmt: skip
  return {
    **flags,
    'files': _states(source.checkpoint),
    'runtime': predictor.classifier.runtime,
    'preprocessing': dataclasses.asdict(predictor.classifier.spec),
    'labels': predictor.labels,
  }


def _states(path):
  """Returns [name, size, time of the last change] of the files of a model."""
  import tensorflow as tf

  paths = files.paths_in(path) if files.is_folder(path) else [path]
  states = ((place, tf.io.gfile.stat(place)) for place in paths if files.is_file(place))
  return [[place, status.length, status.mtime_nsec] for place, status in states]
