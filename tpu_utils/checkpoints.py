"""Checkpoints as maps from readable names to arrays, written whole or not at all.

A checkpoint is a TensorFlow tensor bundle, `model.ckpt-<step>.index` and `.data-*`, keyed by names
such as `model/stem_conv2d/kernel` or `ema/head_dense/bias`: `tf.train.load_checkpoint` and other
tools for TensorFlow checkpoints read it. Each tensor has a checksum, so damage is detected.
"""
from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tpu_utils import assignment, files, variable_groups
from tpu_utils.errors import first_line

METADATA = '_metadata'  # Key of a JSON string that describes the job.
_PREFIX = 'model.ckpt-'
# Suffix of a checkpoint's file.
_PART = re.compile(r'\.(index|data-\d{5}-of-\d{5})')
_STATE = re.compile(r'^model_checkpoint_path: "(.+)"$', re.MULTILINE)
_GLOB_CHARACTERS = re.compile(r'[\[\]*?\\]')
_ARCHIVE = 'archive'
_SET_ASIDE = 'set_aside'
_BEST_EVAL = 'best_eval.txt'
_BEST_OBJECTIVE = 'best_objective.txt'


class CheckpointError(ValueError):
  """A checkpoint that cannot be read, or that does not fit the model and optimizer."""


def write(prefix: str, values: Mapping[str, Any], metadata: Mapping | None = None) -> None:
  """Writes a checkpoint of arrays and JSON metadata, first to a scratch folder, then renamed.

  The index is renamed last: a checkpoint exists exactly when its index does.

  Args:
    prefix: path of the checkpoint's files without their endings.
    values: {name: array}.
    metadata: anything that JSON can hold.

  Raises:
    OSError: the files cannot be written.
  """
  write_tensors(prefix, {**values, METADATA: json.dumps(metadata or {}).encode()})


def write_tensors(prefix: str, values: Mapping[str, Any]) -> None:
  """Writes a tensor bundle of `values` {name: array or bytes}, as `write` does.

  Raises:
    OSError: the files cannot be written.
  """
  folder, name = os.path.split(prefix)
  names = sorted(values)
  try:
    with files.scratch_folder(os.path.join(folder, f'.writing-{name}')) as scratch:
      tf.raw_ops.SaveV2(
        prefix=os.path.join(scratch, name),
        tensor_names=names,
        shape_and_slices=[''] * len(names),
        tensors=[tf.convert_to_tensor(values[n]) for n in names],
      )
      for path in _parts(os.path.join(scratch, name)):
        files.sync(path)  # A resume after a power cut depends on it.
        target = os.path.join(folder, os.path.basename(path))
        tf.io.gfile.rename(path, target, overwrite=True)
      files.sync(folder or '.')
  except (tf.errors.OpError, OSError) as e:
    raise OSError(f'{prefix}: the checkpoint cannot be written: {first_line(e)}') from e


def _parts(prefix):
  """Returns the paths of a checkpoint's files, the index last."""
  folder, name = os.path.split(prefix)
  paths = files.paths_in(folder, f'{name}.')
  parts = [p for p in paths if _PART.fullmatch(os.path.basename(p).removeprefix(name))]
  return sorted(parts, key=lambda path: path.endswith('.index'))


def read(
  prefix: str, wanted: Callable[[str], bool] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Reads a checkpoint: ({name: array}, metadata).

  Args:
    prefix: path of the checkpoint's files without their endings.
    wanted: function(name) -> whether to read that array; None reads all.

  Raises:
    CheckpointError: the checkpoint does not exist, is cut off or damaged.
  """
  try:
    with literal(prefix) as readable:
      reader = tf.compat.v1.train.NewCheckpointReader(readable)
      names = reader.get_variable_to_shape_map()
      if wanted is not None:
        names = [name for name in names if name == METADATA or wanted(name)]
      values = {name: reader.get_tensor(name) for name in names}
  except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as e:
    raise CheckpointError(f'{prefix}: not a whole checkpoint: {first_line(e)}') from e
  return values, _metadata(prefix, values.pop(METADATA, b'{}'))


def _metadata(prefix, text):
  try:
    metadata = files.parse_json(text)
  except (ValueError, TypeError) as e:
    raise CheckpointError(f'{prefix}: not a whole checkpoint: its metadata: {first_line(e)}') from e
  if not isinstance(metadata, dict):
    raise CheckpointError(f'{prefix}: not a whole checkpoint: its metadata are no JSON object')
  return metadata


@contextlib.contextmanager
def literal(prefix: str) -> Iterator[str]:
  """Yields a prefix by which TensorFlow reads the checkpoint `prefix`.

  TensorFlow takes prefixes for glob patterns, and does not always undo an escape: the files of a
  prefix with special characters are copied to a temporary folder.
  """
  if not _GLOB_CHARACTERS.search(prefix):
    yield prefix
    return
  name = os.path.basename(prefix)
  with tempfile.TemporaryDirectory() as scratch:
    for path in _parts(prefix):
      tf.io.gfile.copy(path, os.path.join(scratch, os.path.basename(path)))
    yield os.path.join(scratch, name)


def assign(
  variables: Mapping[str, tf.Variable],
  values: Mapping[str, np.ndarray],
  source: str,
  exact: bool = False,
) -> None:
  """Assigns a checkpoint's values to the variables of a job: to all of them or none.

  Args:
    variables: {name: variable}.
    values: {name: array}.
    source: path of the checkpoint, for the error.
    exact: whether values that no variable takes are an error, too.

  Raises:
    CheckpointError: values are missing, unexpected or have wrong shapes. No variable has been
      changed.
  """
  unexpected = sorted(values.keys() - variables.keys()) if exact else ()
  shapes = {name: value.shape for name, value in values.items()}
  mismatch = assignment.compare(variables, shapes, unexpected=unexpected)
  if mismatch:
    raise CheckpointError(
      f'{source} does not fit this model and optimizer: {mismatch.text(most=4)}. Give the flags '
      'that it was trained with.'
    )
  variable_groups.assign(variables, values)


class CheckpointManager:
  """The checkpoints of one model_dir: the newest ones, and the best in `archive/`.

  Args:
    directory: the model_dir.
    keep: number of newest checkpoints to keep.
    writes: False in processes that only read (all workers but the chief, mode=eval).
    asynchronous: write on a thread while training continues. `wait` joins it, and so does the end
      of a `with` block; its error is raised by the next call of `save`, `wait`, `check` and all
      methods that read checkpoints. A kill during the write leaves the checkpoint before it.
    objective: name of the objective among the results of `archive`, to restore a damaged
      `best_objective.txt` from `best_eval.txt`.
  """

  def __init__(
    self,
    directory: str,
    keep: int = 5,
    *,
    writes: bool = True,
    asynchronous: bool = False,
    objective: str = '',
  ):
    self.directory = directory
    self._keep = keep
    self._writes = writes
    self._objective = objective
    self._executor = concurrent.futures.ThreadPoolExecutor(1) if asynchronous else None
    self._pending: concurrent.futures.Future | None = None
    self._reader: variable_groups.VariableReader | None = None

  def __enter__(self) -> CheckpointManager:
    return self

  def __exit__(self, kind, *_) -> None:
    """Waits for an asynchronous write; its error never hides the one that ends the block."""
    try:
      self.wait()
    except OSError as e:
      if kind is None:
        raise
      print(e, file=sys.stderr)

  def steps(self) -> list[int]:
    """Returns the steps of the existing checkpoints, ascending."""
    if not tf.io.gfile.exists(self.directory):
      return []
    pattern = re.compile(re.escape(_PREFIX) + r'(\d+)\.index$')
    matches = [pattern.match(name) for name in tf.io.gfile.listdir(self.directory)]
    return sorted(int(match.group(1)) for match in matches if match)

  def prefix(self, step: int) -> str:
    """Returns the path of a step's checkpoint without the endings of its files."""
    return os.path.join(self.directory, f'{_PREFIX}{step}')

  def save(
    self, step: int, variables: Mapping[str, tf.Variable], metadata: Mapping | None = None
  ) -> None:
    """Saves the current values of `variables` {name: variable}, and deletes the oldest checkpoints.

    Raises:
      OSError: this checkpoint, or the one before it if asynchronous, cannot be written.
    """
    self.wait()
    if not self._writes:
      return
    if self._reader is None or not self._reader.reads(variables):
      self._reader = variable_groups.VariableReader(variables)
    values = self._reader.read()
    if self._executor:
      self._pending = self._executor.submit(self._write, step, values, metadata)
    else:
      self._write(step, values, metadata)

  def wait(self) -> None:
    """Waits for an asynchronous write.

    Raises:
      OSError: the write failed.
    """
    pending, self._pending = self._pending, None
    if pending:
      pending.result()

  def check(self) -> None:
    """Raises the error of an asynchronous write that has failed, without waiting for one.

    Raises:
      OSError: the write failed.
    """
    if self._pending and self._pending.done():
      self.wait()

  def restore_newest(self) -> tuple[int, dict[str, np.ndarray], dict[str, Any]] | None:
    """Returns (step, values, metadata) of the newest whole checkpoint; None if there are none.

    A checkpoint that is cut off or damaged is reported, and the one before it used.

    Raises:
      CheckpointError: there are checkpoints, but all are damaged.
    """
    self.wait()
    steps = self.steps()
    for step in reversed(steps):
      try:
        return step, *read(self.prefix(step))
      except CheckpointError as e:
        print(f'Skipping a damaged checkpoint. {e}', file=sys.stderr)
    if steps:
      raise CheckpointError(
        f'{self.directory}: none of its {len(steps)} checkpoints is whole; remove them to start '
        'from the beginning.'
      )
    return None

  def restore_step(self, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads the checkpoint of a step, which may be the archived best one: (values, metadata).

    Raises:
      CheckpointError: there is none, or it is damaged.
    """
    self.wait()
    if step in self.steps():
      return read(self.prefix(step))
    best = self.best()
    if best is not None and os.path.basename(best) == f'{_PREFIX}{step}':
      return read(best)
    raise CheckpointError(
      f'{self.directory} holds no checkpoint of step {step}; it holds {self.described()}.'
    )

  def set_aside(self, after: int) -> list[int]:
    """Moves the checkpoints after a step to `set_aside/`; returns their steps.

    Raises:
      OSError: the files cannot be moved.
    """
    newer = [step for step in self.steps() if step > after]
    folder = self._in_directory(_SET_ASIDE)
    for step in newer:
      tf.io.gfile.makedirs(folder)
      # The index first: without it the remaining files do not count as a checkpoint.
      for path in reversed(_parts(self.prefix(step))):
        tf.io.gfile.rename(path, os.path.join(folder, os.path.basename(path)), overwrite=True)
    kept = self.steps()
    if newer and kept:
      files.write_text(self._in_directory('checkpoint'), _state_text(kept))
    return newer

  def described(self) -> str:
    """Describes the checkpoints for a message: their steps, and their losses if known."""
    prefixes = [self.prefix(step) for step in self.steps()]
    with contextlib.suppress(CheckpointError):
      best = self.best()
      if best and os.path.basename(best) not in map(os.path.basename, prefixes):
        prefixes.append(best)
    texts = []
    for prefix in prefixes:
      text = f'step {prefix.rpartition("-")[2]}'
      try:
        _, metadata = read(prefix, lambda name: False)
      except CheckpointError:
        continue
      notes = [f'loss {metadata["loss"]:.4g}'] if 'loss' in metadata else []
      notes += ['the archived best'] if prefix.startswith(self._in_directory(_ARCHIVE)) else []
      texts.append(f'{text} ({", ".join(notes)})' if notes else text)
    return ', '.join(texts) or 'none'

  def best_objective(self) -> float:
    """Returns the objective of the archived checkpoint; -inf if there is none.

    A damaged file is reported, and the value taken from `best_eval.txt`, or else -inf.
    """
    path = self._in_directory(_BEST_OBJECTIVE)
    text = files.read_text(path)
    if text is None:
      return float('-inf')
    try:
      return float(text)
    except ValueError:
      value, remedy = self._archived_objective()
      print(f'{path}: expected a number, found {text[:40]!r}; {remedy}.', file=sys.stderr)
      return value

  def _archived_objective(self):
    """Returns the objective in `best_eval.txt` and where it comes from; -inf if it is damaged."""
    path = os.path.join(self._in_directory(_ARCHIVE), _BEST_EVAL)
    try:
      results = files.parse_json(files.read_text(path) or '')
      return float(results[self._objective]), f'taken from {path}'
    except (ValueError, TypeError, KeyError):
      return float('-inf'), 'the next evaluation counts as the best'

  def archive(self, step: int, objective: float, results: Mapping[str, Any]) -> bool:
    """Copies checkpoint `step` to `archive/` unless an earlier one was better.

    Follows the official `archive_ckpt` (efficientnet/utils.py): `best_eval.txt` next to the copy
    holds the results, `best_objective.txt` the objective to six decimals; an objective equal to
    the latter counts as better.

    Returns:
      Whether this checkpoint is now the best. False, with a message, if it no longer exists: the
      training job may delete it during a long evaluation in another process.

    Raises:
      OSError: the files cannot be written.
    """
    self.wait()
    if self.best_objective() > objective or not self._writes:
      return False
    archive, name = self._in_directory(_ARCHIVE), f'{_PREFIX}{step}'
    tf.io.gfile.makedirs(archive)
    try:
      data = [path for path in _parts(self.prefix(step)) if not path.endswith('.index')]
      for path in [*data, f'{self.prefix(step)}.index']:  # Fails if the index is gone.
        target = os.path.join(archive, os.path.basename(path))
        tf.io.gfile.copy(path, target, overwrite=True)
        files.sync(target)
    except tf.errors.NotFoundError:
      print(
        f'{self.prefix(step)} was deleted before it could be archived as the best.',
        file=sys.stderr,
      )
      return False
    # From here on the new one is the best: `checkpoint` names it.
    files.write_text(os.path.join(archive, 'checkpoint'), _state_text([step]))
    files.write_text(os.path.join(archive, _BEST_EVAL), json.dumps(results))
    files.write_text(self._in_directory(_BEST_OBJECTIVE), f'{objective:f}')
    for path in files.paths_in(archive, _PREFIX):
      if not os.path.basename(path).startswith(f'{name}.'):
        tf.io.gfile.remove(path)
    return True

  def best(self) -> str | None:
    """Returns the prefix of the archived best checkpoint; None if there is none.

    Raises:
      CheckpointError: the file `checkpoint` that names it is damaged.
    """
    path = os.path.join(self._in_directory(_ARCHIVE), 'checkpoint')
    text = files.read_text(path)
    if text is None:
      return None
    named = _STATE.search(text)
    if not named:
      raise CheckpointError(
        f'{path}: expected the name of the best checkpoint (model_checkpoint_path: "..."), found '
        f'{text[:40]!r}; write that line, or remove the file to use the newest checkpoint.'
      )
    return os.path.join(self._in_directory(_ARCHIVE), named.group(1))

  def _write(self, step, values, metadata):
    try:
      self._remove_remains()
      write(self.prefix(step), values, metadata)
      steps = self.steps()
      for old in steps[: -self._keep]:
        # The index first: without it the remaining files do not count as a checkpoint.
        for path in reversed(_parts(self.prefix(old))):
          tf.io.gfile.remove(path)
    except tf.errors.OpError as e:
      raise OSError(
        f'{self.directory}: files of old checkpoints cannot be deleted: {first_line(e)}'
      ) from e
    files.write_text(self._in_directory('checkpoint'), _state_text(steps[-self._keep :]))

  def _remove_remains(self):
    """Removes the files that killed writes and deletions left: scratch, and data without index."""
    for scratch in files.paths_in(self.directory, f'.writing-{_PREFIX}'):
      tf.io.gfile.rmtree(scratch)
    whole = {f'{_PREFIX}{step}' for step in self.steps()}
    for path in files.paths_in(self.directory, _PREFIX):
      name, dot, ending = os.path.basename(path).partition('.data-')
      if name not in whole and _PART.fullmatch(dot + ending):
        tf.io.gfile.remove(path)

  def _in_directory(self, name):
    return os.path.join(self.directory, name)


def best_of(path: str) -> str:
  """Returns the folder of a job's best checkpoint, given its model_dir; other paths unchanged."""
  archive = os.path.join(path, _ARCHIVE)
  return archive if tf.io.gfile.exists(os.path.join(archive, 'checkpoint')) else path


def _state_text(steps):
  """Returns the text of TensorFlow's `checkpoint` file, which names the newest checkpoint."""
  lines = [f'model_checkpoint_path: "{_PREFIX}{steps[-1]}"']
  lines += [f'all_model_checkpoint_paths: "{_PREFIX}{step}"' for step in steps]
  return '\n'.join(lines) + '\n'
