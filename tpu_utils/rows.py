"""Collects rows of predictions from replicas and hosts, in the order of the data set."""
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

_KEEP = '_keep'  # 0 for rows that pad the last batch.
# Types that collectives accept.
_GATHERED = (tf.float16, tf.float32, tf.float64, tf.int32, tf.int64)
# Steps whose rows stay on the device before they are read: reading after each one would leave the
# device idle.
_STEPS_PER_READ = 16


class RowCollector:
  """Rows that the replicas predict in one pass over a data set.

  Each input pipeline (host) reads one contiguous share of the data set and gives its batches to its
  replicas in turn. Sorting by pipeline, then step, then replica restores the order of the data set.

  Args:
    strategy: the `tf.distribute.Strategy`.
  """

  def __init__(self, strategy: tf.distribute.Strategy):
    self._strategy = strategy
    self._pipelines = 1
    self._sizes: list[int] = []  # Batches of each data set, negative if unknown.
    self._unread: list[Mapping] = []
    self._chunks: list[list[dict[str, np.ndarray]]] = []  # [step][replica]: {name: rows}

  def watch(self, dataset_fn: Callable) -> Callable:
    """Returns a `dataset_fn` that also records the number of input pipelines and of batches."""

    def watched(context):
      self._pipelines = context.num_input_pipelines
      dataset = dataset_fn(context)
      self._sizes.append(int(dataset.cardinality()))
      return dataset

    return watched

  @property
  def num_steps(self) -> int | None:
    """Steps of the pass, if the data sets know their batches and all replicas get equally many."""
    replicas = self._strategy.num_replicas_in_sync // self._pipelines
    if any(size < 0 or size % replicas for size in self._sizes) or len(set(self._sizes)) != 1:
      return None
    return self._sizes[0] // replicas

  def add(self, rows: Mapping) -> None:
    """Adds the rows of one step: the result of `strategy.run` with `replica_rows`."""
    self._unread.append(rows)
    if len(self._unread) == _STEPS_PER_READ:
      self._read()

  def _read(self):
    for rows in self._unread:
      self._chunks.append(self._chunk(rows))
    self._unread = []

  def _chunk(self, rows):
    """Returns [{name: rows of a replica}] of one step."""
    local = {
      name: [np.asarray(v) for v in self._strategy.experimental_local_results(value)]
      for name, value in rows.items()
    }
    if across_processes(self._strategy):  # Each process has the rows of all replicas.
      replicas = self._strategy.num_replicas_in_sync
      local = {name: np.split(values[0], replicas) for name, values in local.items()}
    columns = zip(*local.values(), strict=True)
    return [dict(zip(local, column, strict=True)) for column in columns]

  def rows(self) -> dict[str, np.ndarray]:
    """Returns {name: [rows, ...]} without the rows that pad batches."""
    self._read()
    ordered = []
    replicas = len(self._chunks[0]) if self._chunks else 0
    each = replicas // self._pipelines
    for pipeline in range(self._pipelines):
      for step in self._chunks:
        ordered += step[pipeline * each : (pipeline + 1) * each]
    kept = [chunk[_KEEP] > 0 for chunk in ordered]
    names = [name for name in (ordered[0] if ordered else ()) if name != _KEEP]
    return {
      name: np.concatenate([c[name][keep] for c, keep in zip(ordered, kept, strict=True)])
      for name in names
    }


def across_processes(strategy: tf.distribute.Strategy) -> bool:
  """Returns whether the strategy's replicas belong to several processes."""
  return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def replica_rows(
  strategy: tf.distribute.Strategy, rows: Mapping, weights: tf.Tensor | None
) -> dict[str, tf.Tensor]:
  """Returns the rows of this replica; of all replicas if there are several processes.

  Call it in replica context. A process of a multi-worker job can read the values of its own
  replicas only, so they are gathered here; with other strategies the process reads all replicas'
  values.

  Args:
    strategy: the `tf.distribute.Strategy`.
    rows: {name: [batch, ...]}.
    weights: [batch], 0 for rows that pad the batch; None if there are no such rows.

  Raises:
    ValueError: there are no columns, or text from several processes.
  """
  if not rows:
    raise ValueError('Task.predict returned no columns; it must return {name: [batch, ...]}.')
  rows = {name: tf.convert_to_tensor(value) for name, value in rows.items()}
  if weights is None:
    weights = tf.ones(tf.shape(next(iter(rows.values())))[:1])
  rows[_KEEP] = tf.cast(weights > 0, tf.int32)
  if not across_processes(strategy):
    return rows
  return {name: _gathered(_collective(name, value)) for name, value in rows.items()}


def _gathered(value):
  """Concatenates the values of all replicas: [replicas * batch, ...]."""
  # `all_gather` fails where every worker has a single replica ("destinations can not be empty").
  context = tf.distribute.get_replica_context()
  place = tf.reshape(context.replica_id_in_sync_group, [1, 1])
  shape = tf.concat([[context.num_replicas_in_sync], tf.shape(value)], axis=0)
  own = tf.scatter_nd(place, value[tf.newaxis], shape)  # Zeros elsewhere.
  together = context.all_reduce(tf.distribute.ReduceOp.SUM, own)
  return tf.reshape(together, tf.concat([[-1], tf.shape(value)[1:]], axis=0))


def _collective(name, value):
  """Casts the value to a type that collectives accept."""
  if value.dtype in _GATHERED:
    return value
  if value.dtype == tf.string:
    raise ValueError(f'Task.predict: {name} is text, which workers cannot gather; return numbers.')
  return tf.cast(value, tf.float32 if value.dtype.is_floating else tf.int32)
