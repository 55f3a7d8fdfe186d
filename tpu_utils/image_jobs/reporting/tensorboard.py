"""Pictures and texts of a job for TensorBoard."""
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tpu_utils.image_jobs.reporting import drawing
from tpu_utils.image_jobs.reporting.measures import Predictions
from tpu_utils.summaries import Summaries


def write_start(
  summaries: Summaries,
  run_info: Mapping[str, Any],
  samples: np.ndarray | None,
  graph: tf.Graph | None = None,
) -> None:
  """Writes the settings of a run, its hyper-parameters and training images, at step 0.

  Args:
    summaries: of the job.
    run_info: as in run.json, with the 'flags'.
    samples: from `pictures.augmented`; None for no pictures.
    graph: of the network; None for none.
  """
  flags = run_info.get('flags', {})

  def write():
    tf.summary.text('run', _text(run_info), step=0)
    _write_hparams(flags)
    if samples is not None:
      whole, drawn = samples[:, 0], samples[:, 1:].reshape(-1, *samples.shape[2:])
      tf.summary.image('images/prepared_as_in_evaluation', whole, step=0, max_outputs=len(whole))
      tf.summary.image('images/augmented', drawn, step=0, max_outputs=len(drawn))
    if graph is not None:
      tf.summary.graph(graph)

  summaries.record('', write)


def write_confusion(
  summaries: Summaries, folder: str, predictions: Predictions, names: list[str], step: int
) -> None:
  """Writes the confusion matrix as a picture.

  Args:
    summaries: of the job.
    folder: of its evaluation.
    predictions: of the evaluation.
    names: of the outputs.
    step: of the evaluation.
  """
  content = drawing.png(drawing.confusion(predictions.confusion(), names))
  picture = tf.io.decode_png(content, channels=3)[tf.newaxis]
  summaries.record(folder, lambda: tf.summary.image('confusion_matrix', picture, step=step))


def _write_hparams(flags):
  from tensorboard.plugins.hparams import api

  kinds = (bool, int, float, str)
  api.hparams({name: value for name, value in flags.items() if isinstance(value, kinds)})


def _text(run_info):
  """Returns the run's settings as Markdown."""
  rows = [f'| {name} | {json.dumps(value)} |' for name, value in run_info.get('flags', {}).items()]
  others = {name: value for name, value in run_info.items() if name != 'flags'}
  content = json.dumps(others, indent=2, default=str)
  return '\n'.join(['| flag | value |', '|---|---|', *rows, '', '```json', content, '```'])
