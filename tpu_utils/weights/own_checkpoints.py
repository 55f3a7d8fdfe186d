"""Reads the weights in the checkpoints of this project's own jobs (`tpu_utils.checkpoints`)."""

import tensorflow as tf

from tpu_utils import checkpoints
from tpu_utils.reading import reading
from tpu_utils.weights import tf1

_WEIGHTS, _AVERAGES = 'model/', 'ema/'


def matches(path):
  """Whether `path` is a folder of such checkpoints (`--model_dir`), or the prefix or a file of one."""
  if not tf1.matches(path):
    return False
  try:
    with reading(path, 'a checkpoint', foreign=True):
      return tf.train.load_checkpoint(tf1.prefix_of(path)).has_tensor(checkpoints.METADATA)
  except (ValueError, OSError):  # The reader of TF1's says what is wrong.
    return False


def read(path, use_ema=True):
  """The weights of a checkpoint; of a folder, of the newest.

  Args:
    path: `--model_dir`, its `archive` (the best checkpoint), or a prefix.
    use_ema: take the moving averages. A job without any has but its weights, and these are taken.

  Returns:
    {variable.path: array}.

  Raises:
    FileNotFoundError: no checkpoint there.
    ValueError: it is cut off or damaged.
  """
  prefix = tf1.prefix_of(path)
  values, _ = checkpoints.read(prefix, lambda name: name.startswith((_WEIGHTS, _AVERAGES)))
  weights = _under(_WEIGHTS, values)
  # What has no average (of integers there is none) is as it is.
  return {**weights, **_under(_AVERAGES, values)} if use_ema else weights


def _under(start, values):
  return {name[len(start) :]: value for name, value in values.items() if name.startswith(start)}
