"""Checkpoints as maps from readable names to arrays, written whole or not at all.

A checkpoint is a TensorFlow tensor bundle `model.ckpt-<step>.index` + `.data-*` whose keys are names
such as `model/stem_conv2d/kernel` or `ema/head_dense/bias`: `tf.train.load_checkpoint` and every tool
for TensorFlow checkpoints reads it. Each tensor carries a checksum, so a damaged file is noticed.
"""
import concurrent.futures
import json
import os
import re
import sys
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tpu_utils import assignment

METADATA = '_metadata'  # Key of a JSON string: what made the checkpoint.
_PREFIX = 'model.ckpt-'
_ARCHIVE = 'archive'
_BEST_OBJECTIVE = 'best_objective.txt'


class CheckpointError(ValueError):
  """A checkpoint that cannot be read, or that belongs to something else."""


def write(prefix, values, metadata=None):
  """Writes `values` {name: array} under `prefix`: beside its place first, then renamed.

  The index is renamed last: a checkpoint exists exactly when its index does.
  """
  write_tensors(prefix, {**values, METADATA: json.dumps(metadata or {}).encode()})


def write_tensors(prefix, values):
  """Writes a tensor bundle of `values` {name: array or bytes}, as `write` does."""
  folder, name = os.path.split(prefix)
  scratch = os.path.join(folder, f'.writing-{name}')
  names = sorted(values)
  try:
    tf.io.gfile.makedirs(scratch)
    tf.raw_ops.SaveV2(
      prefix=os.path.join(scratch, name),
      tensor_names=names,
      shape_and_slices=[''] * len(names),
      tensors=[tf.convert_to_tensor(values[n]) for n in names],
    )
    for file in sorted(tf.io.gfile.listdir(scratch), key=lambda f: f.endswith('.index')):
      tf.io.gfile.rename(os.path.join(scratch, file), os.path.join(folder, file), overwrite=True)
  except tf.errors.OpError as e:
    raise OSError(f'{prefix}: the checkpoint could not be written: {_first_line(e)}') from e
  finally:
    if tf.io.gfile.exists(scratch):
      tf.io.gfile.rmtree(scratch)


def read(prefix, wanted=None):
  """Returns ({name: array}, metadata) of the checkpoint `prefix`.

  Args:
    prefix: of the checkpoint's files.
    wanted: function(name) -> whether to read it; None for all.

  Raises:
    CheckpointError: it does not exist, is cut off or damaged.
  """
  try:
    reader = tf.compat.v1.train.NewCheckpointReader(prefix)
    names = reader.get_variable_to_shape_map()
    if wanted is not None:
      names = [name for name in names if name == METADATA or wanted(name)]
    values = {name: reader.get_tensor(name) for name in names}
  except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as e:
    raise CheckpointError(f'{prefix}: not a whole checkpoint: {_first_line(e)}') from e
  metadata = values.pop(METADATA, None)
  return values, json.loads(metadata) if metadata is not None else {}


def assign(
  variables: Mapping[str, tf.Variable],
  values: Mapping[str, np.ndarray],
  source: str,
  exact: bool = False,
) -> None:
  """Sets the variables of a job from the values of a checkpoint; all of them or none.

  Args:
    variables: {name: variable}.
    values: {name: array}.
    source: the checkpoint, for the error.
    exact: whether values that no variable takes are an error, too.

  Raises:
    CheckpointError: names are missing from `values`, unexpected, or of wrong shapes; one line. No
      variable has been changed.
  """

  def error(mismatch):
    return CheckpointError(
      f'{source} does not fit this model and optimizer: {mismatch.text(most=4)}. Give the flags it '
      'was trained with.'
    )

  unexpected = sorted(values.keys() - variables.keys()) if exact else ()
  assignment.assign(variables, values, error, unexpected=unexpected)


class CheckpointManager:
  """The checkpoints of one model_dir: the newest `keep`, and the best in `archive/`.

  Args:
    directory: the model_dir.
    keep: how many of the newest checkpoints to keep.
    writes: False in processes that only follow (all workers but the chief, mode=eval).
    asynchronous: write on a thread while training goes on; `wait` joins it.
  """

  def __init__(self, directory, keep=5, *, writes=True, asynchronous=False):
    self.directory = directory
    self._keep = keep
    self._writes = writes
    self._executor = concurrent.futures.ThreadPoolExecutor(1) if asynchronous else None
    self._pending = None

  def steps(self):
    """Steps of the checkpoints that exist, ascending."""
    if not tf.io.gfile.exists(self.directory):
      return []
    pattern = re.compile(re.escape(_PREFIX) + r'(\d+)\.index$')
    found = [pattern.match(name) for name in tf.io.gfile.listdir(self.directory)]
    return sorted(int(match.group(1)) for match in found if match)

  def prefix(self, step):
    return os.path.join(self.directory, f'{_PREFIX}{step}')

  def save(self, step, variables, metadata=None):
    """Saves `variables` {name: tf.Variable}; their values are taken before this returns."""
    self.wait()
    if not self._writes:
      return
    values = {name: variable.numpy() for name, variable in variables.items()}
    if self._executor:
      self._pending = self._executor.submit(self._write, step, values, metadata)
    else:
      self._write(step, values, metadata)

  def wait(self):
    """Waits for an asynchronous write and raises what went wrong in it."""
    pending, self._pending = self._pending, None
    if pending:
      pending.result()

  def restore_newest(self):
    """Returns (step, values, metadata) of the newest whole checkpoint, or None without any.

    A newest checkpoint that is cut off or damaged is passed over for the one before, and said so.

    Raises:
      CheckpointError: there are checkpoints and none is whole.
    """
    self.wait()
    steps = self.steps()
    for step in reversed(steps):
      try:
        return step, *read(self.prefix(step))
      except CheckpointError as e:
        print(f'Passing over a damaged checkpoint. {e}', file=sys.stderr)
    if steps:
      raise CheckpointError(
        f'{self.directory}: none of its {len(steps)} checkpoints is whole; remove them to start anew.'
      )
    return None

  def best_objective(self):
    """The best objective so far, -inf before the first."""
    path = os.path.join(self.directory, _BEST_OBJECTIVE)
    if not tf.io.gfile.exists(path):
      return float('-inf')
    with tf.io.gfile.GFile(path) as f:
      return float(f.read())

  def archive(self, step, objective, results):
    """Copies checkpoint `step` to `archive/` unless an earlier one was better.

    As the official `archive_ckpt` (efficientnet/utils.py): `best_eval.txt` beside the copy holds the
    results, `best_objective.txt` the objective to six decimals, and what is not below those is better.

    Returns:
      Whether this checkpoint is the best now. False, and said so, if it is gone by now: a long
      evaluation follows a job that goes on and removes its old checkpoints.
    """
    self.wait()
    if self.best_objective() > objective or not self._writes:
      return False
    archive, name = self._in_directory(_ARCHIVE), f'{_PREFIX}{step}'
    tf.io.gfile.makedirs(archive)
    try:
      paths = tf.io.gfile.glob(f'{self.prefix(step)}.data-*') + [f'{self.prefix(step)}.index']
      for path in paths:
        tf.io.gfile.copy(path, os.path.join(archive, os.path.basename(path)), overwrite=True)
    except tf.errors.NotFoundError:
      print(f'{self.prefix(step)} is gone before it could be archived as the best.', file=sys.stderr)
      return False
    # From here on the new one is the best: `checkpoint` says which files count.
    write_text(os.path.join(archive, 'checkpoint'), _state_text([step]))
    write_text(os.path.join(archive, 'best_eval.txt'), json.dumps(results))
    write_text(self._in_directory(_BEST_OBJECTIVE), f'{objective:f}')
    for path in tf.io.gfile.glob(os.path.join(archive, f'{_PREFIX}*')):
      if not os.path.basename(path).startswith(f'{name}.'):
        tf.io.gfile.remove(path)
    return True

  def best(self):
    """Prefix of the archived best checkpoint, or None."""
    state = tf.train.get_checkpoint_state(self._in_directory(_ARCHIVE))
    return state.model_checkpoint_path if state else None

  def _write(self, step, values, metadata):
    write(self.prefix(step), values, metadata)
    steps = self.steps()
    for old in steps[: -self._keep]:
      # The index first: what is half deleted is no checkpoint any more.
      for path in sorted(tf.io.gfile.glob(f'{self.prefix(old)}.*'), key=lambda p: '.data' in p):
        tf.io.gfile.remove(path)
    write_text(self._in_directory('checkpoint'), _state_text(steps[-self._keep :]))

  def _in_directory(self, name):
    return os.path.join(self.directory, name)


def best_of(path):
  """The folder of the best checkpoint of a job that keeps one, given its model_dir; any other path as it is."""
  archive = os.path.join(path, _ARCHIVE)
  return archive if tf.io.gfile.exists(os.path.join(archive, 'checkpoint')) else path


def _state_text(steps):
  """The text of TensorFlow's `checkpoint` file, which names the newest checkpoint."""
  lines = [f'model_checkpoint_path: "{_PREFIX}{steps[-1]}"']
  lines += [f'all_model_checkpoint_paths: "{_PREFIX}{step}"' for step in steps]
  return '\n'.join(lines) + '\n'


def write_text(path, text):
  """Writes a small text file whole or not at all."""
  scratch = f'{path}.writing'
  with tf.io.gfile.GFile(scratch, 'w') as f:
    f.write(text)
  tf.io.gfile.rename(scratch, path, overwrite=True)


def _first_line(error):
  lines = str(error).splitlines()
  return lines[0] if lines else type(error).__name__
