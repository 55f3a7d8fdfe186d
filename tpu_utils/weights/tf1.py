"""Reads and writes TF1 checkpoints (`model.ckpt-N.index` and `.data-*`), without a TF1 session."""
import functools
import os
import re
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tpu_utils import checkpoints, files
from tpu_utils.reading import reading
from tpu_utils.weights.stored import StoredArray

_SHADOW = '/ExponentialMovingAverage'
_OBJECT_GRAPH = '_CHECKPOINTABLE_OBJECT_GRAPH'
# Suffix of a checkpoint's file: `.index` or `.data-00000-of-00001`.
_PART = re.compile(r'\.(index|data-\d{5}-of-\d{5})$')


def matches(path: str) -> bool:
  """Returns whether `path` is a folder with a `checkpoint` file, a prefix, or a file of one."""
  if _is_folder(path):
    return tf.io.gfile.exists(os.path.join(path, 'checkpoint'))
  return bool(_PART.search(path)) or tf.io.gfile.exists(path + '.index')


def _is_folder(path):
  """Returns whether a path is a folder; prefixes are none, although some file systems say so."""
  return tf.io.gfile.isdir(path) and not tf.io.gfile.exists(f'{path}.index')


def read(path: str, use_ema: bool = True) -> Mapping[str, StoredArray]:
  """Reads the model variables of a checkpoint.

  Training state is left out: `global_step`, optimizer slots (their name is a variable's name and
  one more part), and with `use_ema` the raw values of averaged variables.

  Args:
    path: a prefix, a folder with a `checkpoint` file (its latest checkpoint), or an `.index` file.
    use_ema: whether to read each variable's moving average under the variable's own name.

  Returns:
    {variable name: array}.

  Raises:
    FileNotFoundError: there is no checkpoint.
    ValueError: the checkpoint cannot be read, is not a name-based TF1 checkpoint, or lacks the
      moving averages that `use_ema` asks for.
  """
  prefix = prefix_of(path)
  tensors = stored_tensors(prefix, 'a TF1 checkpoint')
  if _OBJECT_GRAPH in tensors:
    raise ValueError(
      f'{prefix} is an object-based TF2 checkpoint; expected variables by name, as TF1 wrote them. '
      'Restore it with tf.train.Checkpoint.'
    )
  source_names = _source_names(list(tensors), prefix, use_ema)
  return {name: tensors[source_name] for name, source_name in source_names.items()}


def stored_tensors(prefix: str, kind: str) -> dict[str, StoredArray]:
  """Returns {name: array} of all tensors of a checkpoint.

  Args:
    prefix: of the files.
    kind: the format for messages, such as 'a TF1 checkpoint'.

  Raises:
    ValueError: the checkpoint cannot be read.
  """
  with reading(prefix, kind, foreign=True):
    opened = checkpoints.literal(prefix)
    reader = tf.compat.v1.train.NewCheckpointReader(opened.__enter__())
    dtypes = reader.get_variable_to_dtype_map()
    shapes = reader.get_variable_to_shape_map()

  def read_one(name, kept):
    del kept  # The reader opens data files late; with `opened` their copy would go.
    with reading(prefix, kind, foreign=True):
      return reader.get_tensor(name)

  return {
    name: StoredArray(
      tuple(shape),
      np.dtype(dtypes[name].as_numpy_dtype),
      functools.partial(read_one, name, opened),
    )
    for name, shape in shapes.items()
  }


def write(prefix: str, tensors: Mapping[str, np.ndarray], step: int) -> None:
  """Writes a checkpoint and the `checkpoint` file that names it.

  Args:
    prefix: of the files.
    tensors: {name: array}; each array is its moving average, too.
    step: value of `global_step`.

  Raises:
    OSError: a file cannot be written.
  """
  shadows = {name + _SHADOW: value for name, value in tensors.items()}
  global_step = np.asarray(step, np.int64)
  checkpoints.write_tensors(prefix, {**tensors, **shadows, 'global_step': global_step})
  folder, name = os.path.split(prefix)
  state = f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "{name}"\n'
  files.write_text(os.path.join(folder, 'checkpoint'), state)


def _source_names(names, prefix, use_ema):
  """Returns {variable name: name to read it from} without training state."""
  shadows = {name[: -len(_SHADOW)]: name for name in names if name.endswith(_SHADOW)}
  if use_ema and not shadows:
    raise ValueError(
      f'{prefix} holds no moving averages ({_SHADOW[1:]}); load its raw weights with use_ema=False.'
    )
  raw = set(names) - set(shadows.values())
  owners = raw | set(shadows)
  variables = [n for n in raw if n.rpartition('/')[0] not in owners and not _is_counter(n)]
  if not use_ema:
    return {name: name for name in sorted(variables)}
  # A raw value never replaces a missing average.
  without = sorted(set(variables) - set(shadows))
  if without:
    raise ValueError(
      f'{prefix} holds no moving average of {", ".join(without)} ({len(without)} of '
      f'{len(variables)} variables); load the raw weights with use_ema=False.'
    )
  return dict(sorted(shadows.items()))


def _is_counter(name):
  """Returns whether the name is that of a training counter without a variable's name."""
  return name in ('global_step', 'beta1_power', 'beta2_power')


def prefix_of(path: str) -> str:
  """Returns the prefix of a checkpoint.

  Args:
    path: the prefix, a folder with a `checkpoint` file, or one of the checkpoint's files.

  Raises:
    FileNotFoundError: there is no checkpoint.
    ValueError: the `checkpoint` file is damaged.
  """
  if _is_folder(path):
    # tf.train.latest_checkpoint would log an error if the named checkpoint is missing.
    with reading(os.path.join(path, 'checkpoint'), 'text', foreign=True):
      state = tf.train.get_checkpoint_state(path)
    prefix = state.model_checkpoint_path if state else ''
    if not tf.io.gfile.exists(prefix + '.index'):
      raise FileNotFoundError(
        f'{path}: no `checkpoint` file that names an existing checkpoint; give the prefix itself, '
        'such as .../model.ckpt-350000.'
      )
    return prefix
  prefix = _PART.sub('', path)
  if not tf.io.gfile.exists(prefix + '.index'):
    raise FileNotFoundError(
      f'{prefix}.index: not found; a TF1 checkpoint needs it and its .data files.'
    )
  return prefix
