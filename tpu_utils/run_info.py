"""The file `run.json` of a model_dir: time, command line, versions and settings of each start."""
import datetime
import os
import sys
from collections.abc import Mapping

import tensorflow as tf

from tpu_utils import files

_DAMAGED = (ValueError, TypeError, KeyError, AttributeError)


def write(model_dir: str, run_info: Mapping) -> None:
  """Appends a start of the job: time, command line, versions and `run_info`.

  A damaged file is reported and kept as `run.json.damaged`: training does not depend on it.

  Args:
    model_dir: folder of the job.
    run_info: JSON-able dict. 'start' holds the 'step' at which the job starts, and the number of
      'examples' that it trained on before.

  Raises:
    OSError: the file cannot be written.
  """
  path = _path(model_dir)
  text = files.read_text(path)
  starts: list = []
  try:
    starts = _starts(text)
  except _DAMAGED:
    tf.io.gfile.rename(path, f'{path}.damaged', overwrite=True)
    print(
      f'{path}: expected the starts of the job, found {(text or "")[:40]!r}; kept as '
      f'{path}.damaged, and a new file begins with this start.',
      file=sys.stderr,
    )
  now = datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
  start = {'time': now, 'argv': sys.argv, 'versions': files.versions(), **run_info}
  files.write_json(path, {'starts': [*starts, start]})


def examples_before(model_dir: str, step: int) -> tuple[int, int | None, str] | None:
  """Finds how many examples a job trained on before a checkpoint that does not say so.

  Earlier versions read on at example step * batch size, and recorded the batch size only here.

  Args:
    model_dir: folder of the job.
    step: step of the checkpoint.

  Returns:
    (number of examples, batch size or None if unknown, a description of the source); None if the
    file is missing, damaged or has no batch size.
  """
  path = _path(model_dir)
  try:
    for start in reversed(_starts(files.read_text(path))):
      if 'start' not in start:
        size = int(start['flags']['train_batch_size'])
        return step * size, size, f'{step} batches of {size} by {path}'
      if start['start']['step'] == step:  # It started here and was killed before it saved.
        return int(start['start']['examples']), None, f'by {path}'
  except _DAMAGED:
    pass
  return None


def _path(model_dir):
  return os.path.join(model_dir, 'run.json')


def _starts(text):
  """Returns the starts in the file's text, which is None if there is no file."""
  return [] if text is None else [*files.parse_json(text)['starts']]
