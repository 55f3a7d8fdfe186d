"""Reads the weights in the checkpoints of this project's own jobs (`tpu_utils.checkpoints`)."""
from collections.abc import Mapping

import tensorflow as tf

from tpu_utils import checkpoints
from tpu_utils.reading import reading
from tpu_utils.weights import tf1
from tpu_utils.weights.stored import StoredArray

_WEIGHTS, _AVERAGES = 'model/', 'ema/'


def matches(path: str) -> bool:
  """Returns whether `path` is a folder of such checkpoints, or the prefix or a file of one."""
  if not tf1.matches(path):
    return False
  try:
    with (
      reading(path, 'a checkpoint', foreign=True),
      checkpoints.literal(tf1.prefix_of(path)) as readable,
    ):
      return tf.compat.v1.train.NewCheckpointReader(readable).has_tensor(checkpoints.METADATA)
  except (ValueError, OSError):  # The TF1 reader, next in line, reports the error.
    return False


def read(path: str, use_ema: bool = True) -> Mapping[str, StoredArray]:
  """Reads the weights of a checkpoint.

  Args:
    path: a prefix; or `--model_dir` or its `archive` (the best checkpoint), for the newest there.
    use_ema: whether to read moving averages; a job that keeps none has only its weights.

  Returns:
    {variable.path: array}.

  Raises:
    FileNotFoundError: there is no checkpoint.
    ValueError: the checkpoint is cut off or damaged; a cut in the values shows when they are read.
  """
  values = tf1.stored_tensors(tf1.prefix_of(path), 'a checkpoint')
  weights = _under(_WEIGHTS, values)
  # Variables without an average, such as integers, keep their value.
  return {**weights, **_under(_AVERAGES, values)} if use_ema else weights


def _under(prefix, values):
  return {name[len(prefix) :]: value for name, value in values.items() if name.startswith(prefix)}
