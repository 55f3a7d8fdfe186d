"""Reads and writes TF1 checkpoints (`model.ckpt-N.index` and `.data-*`), without a TF1 session."""
import os
import re
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tpu_utils import checkpoints, files
from tpu_utils.reading import reading

_SHADOW = '/ExponentialMovingAverage'
_OBJECT_GRAPH = '_CHECKPOINTABLE_OBJECT_GRAPH'
# A file's part of a checkpoint: `.index` or `.data-00000-of-00001`.
_PART = re.compile(r'\.(index|data-\d{5}-of-\d{5})$')


def matches(path):
  """Whether `path` is a folder with a `checkpoint` file, a prefix, or one file of a checkpoint."""
  if tf.io.gfile.isdir(path):
    return tf.io.gfile.exists(os.path.join(path, 'checkpoint'))
  return bool(_PART.search(path)) or tf.io.gfile.exists(path + '.index')


def read(path, use_ema=True):
  """The model variables of a checkpoint.

  What belongs to training is left out: `global_step`, optimizer slots (their name is a variable's
  name and one more part), and with `use_ema` the raw values behind the moving averages.

  Args:
    path: a prefix, a folder with a `checkpoint` file (its latest checkpoint), or an `.index` file.
    use_ema: read each variable's moving average under the variable's own name.

  Returns:
    Mapping[variable name, array]; the arrays are read when asked for.

  Raises:
    FileNotFoundError: no checkpoint there.
    ValueError: it can't be read, is not a name-based TF1 checkpoint, or has no moving averages
      while `use_ema`.
  """
  prefix = prefix_of(path)
  with reading(prefix, 'a TF1 checkpoint', foreign=True):
    reader = tf.train.load_checkpoint(prefix)
    names = list(reader.get_variable_to_shape_map())
  if _OBJECT_GRAPH in names:
    raise ValueError(
      f'{prefix} is an object-based TF2 checkpoint; expected variables by name, as TF1 wrote them. '
      'Restore it with tf.train.Checkpoint.'
    )
  return _Tensors(reader, prefix, _source_names(names, prefix, use_ema))


def write(prefix, tensors, step):
  """Writes {name: array} with their moving averages (the same arrays), `global_step` and `checkpoint`."""
  shadows = {name + _SHADOW: value for name, value in tensors.items()}
  checkpoints.write_tensors(prefix, {**tensors, **shadows, 'global_step': np.asarray(step, np.int64)})
  folder, name = os.path.split(prefix)
  state = f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "{name}"\n'
  files.write_text(os.path.join(folder, 'checkpoint'), state)


def _source_names(names, prefix, use_ema):
  """{variable name: name to read it from}, training state left out."""
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
  # The raw value would not be an average: never take it in place of one.
  without = sorted(set(variables) - set(shadows))
  if without:
    raise ValueError(
      f'{prefix} holds no moving average of {", ".join(without)} ({len(without)} of '
      f'{len(variables)} variables); load the raw weights with use_ema=False.'
    )
  return dict(sorted(shadows.items()))


def _is_counter(name):
  """Whether this is a step or power that optimizers count in, at the top of the name space."""
  return name in ('global_step', 'beta1_power', 'beta2_power')


def prefix_of(path):
  """The prefix of a checkpoint that is given as a prefix, a folder, or one of its files."""
  if tf.io.gfile.isdir(path):
    # Not tf.train.latest_checkpoint, which logs an error of its own where the named one is missing.
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
    raise FileNotFoundError(f'{prefix}.index: not found; a TF1 checkpoint needs it and its .data files.')
  return prefix


class _Tensors(Mapping):
  """The wanted tensors of a checkpoint, read one at a time."""

  def __init__(self, reader, prefix, source_names):
    self._reader = reader
    self._prefix = prefix
    self._source_names = source_names

  def __getitem__(self, name):
    source_name = self._source_names[name]
    with reading(self._prefix, 'a TF1 checkpoint', foreign=True):
      return self._reader.get_tensor(source_name)

  def __contains__(self, name):
    return name in self._source_names

  def __iter__(self):
    return iter(self._source_names)

  def __len__(self):
    return len(self._source_names)
