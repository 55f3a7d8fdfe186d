"""TensorBoard summaries of a job; if they cannot be written, the job continues without them."""
import os
import sys
from collections.abc import Callable, Mapping

import tensorflow as tf

from tpu_utils.errors import first_line


class Summaries:
  """Writes summaries into the folders of a model_dir.

  Args:
    model_dir: folder of the job.
  """

  def __init__(self, model_dir: str):
    self._model_dir = model_dir
    self._writers: dict[str, tf.summary.SummaryWriter] = {}
    self._failed: set[str] = set()

  def write(self, folder: str, numbers: Mapping[str, float], step: int) -> None:
    """Writes scalars of a step; see `record`.

    Args:
      folder: folder in model_dir, '' for model_dir itself.
      numbers: {tag: value}.
      step: the step.
    """

    def write():
      for name, value in numbers.items():
        tf.summary.scalar(name, value, step=step)

    self.record(folder, write)

  def record(self, folder: str, write: Callable[[], object]) -> None:
    """Calls a function that writes summaries; reports a folder's first failure, then skips it.

    Args:
      folder: folder in model_dir, '' for model_dir itself.
      write: calls functions of `tf.summary`.
    """
    if folder in self._failed:
      return
    path = os.path.join(self._model_dir, folder)
    try:
      if folder not in self._writers:
        self._writers[folder] = tf.summary.create_file_writer(path)
      with self._writers[folder].as_default():
        write()
      self._writers[folder].flush()
    except (tf.errors.OpError, OSError) as e:
      self._failed.add(folder)
      print(
        f'{path}: summaries cannot be written; training continues without them until it is '
        f'started again. ({first_line(e)})',
        file=sys.stderr,
      )
