"""Training batches from a tf.data service in a reproducible order.

By default the service delivers batches in the order in which workers finish them, so no run can be
repeated or resumed exactly. Here each worker makes the batches of a fixed share of the images, as a
host would, and batches are taken from the workers in turn. The order then depends only on the seed
and the number of workers: a stopped job resumes exactly if there are as many workers as before.
A restarted worker begins with its first batch again, not with the expected one, so the job stops.
"""
import functools
import re
import socket
import threading
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tpu_utils.errors import one_line

_LOCAL = 'local'
_SECONDS = 60  # Time limit for an answer of the service.
_FOREVER = 2**62  # More batches than any job takes.

service = tf.data.experimental.service


class DataService:
  """Client of a tf.data service.

  Args:
    address: 'grpc://host:port' of a dispatcher that was started with the addresses of its workers
      (`python -m tpu_utils.images.data_service`); 'local' prepares the same batches as a service
      of one worker in this process, without servers: TensorFlow's listen on all networks of the
      machine and run whatever they are sent.

  Raises:
    ValueError: the address is malformed.
  """

  def __init__(self, address: str):
    well_formed = address.startswith('grpc://') and address.rpartition(':')[2].isdigit()
    if not (well_formed or address == _LOCAL):
      raise ValueError(f'--tf_data_service={address} must be grpc://host:port, or `local`.')
    self.address = address

  @property
  def is_local(self) -> bool:
    """Whether this process prepares the batches itself."""
    return self.address == _LOCAL

  def check_portable(self, source: Any, name: str) -> None:
    """Checks that the workers can read a source.

    Args:
      source: `sources.interface.Source`.
      name: name of its data set, for the message.

    Raises:
      ValueError: only this process can read it.
    """
    if not source.portable:
      raise ValueError(
        f'--tf_data_service: its workers cannot read {name} ({type(source).__name__}), which needs '
        'Python code or memory of this process; leave --use_cache out, or write the data to '
        'TFRecord shards with python -m tpu_utils.images.prepare.'
      )

  def round_robin(
    self,
    make_dataset: Callable[[int, int, int, Callable[[tf.data.Dataset], tf.data.Dataset]],
                           tf.data.Dataset],
    start_batch: int,
  ) -> tf.data.Dataset:  # fmt: skip
    """Returns a dataset that takes batches from all workers in turn.

    Args:
      make_dataset: called as make_dataset(num_workers, worker, first_batch, distribute) for each
        worker. Returns the dataset of that worker's batches, beginning at its batch `first_batch`;
        distribute(dataset) has the worker compute a dataset.
      start_batch: index of the first batch, counted over all workers.

    Raises:
      ValueError: see `num_workers`.
    """
    workers = self.num_workers()
    datasets = []
    for worker in range(workers):
      # The number of batches n < start_batch with n % workers == worker.
      first_batch = max(-(-(start_batch - worker) // workers), 0)
      distribute = functools.partial(self._run_on, worker)
      datasets.append(make_dataset(workers, worker, first_batch, distribute))
    turns = tf.data.Dataset.range(start_batch, _FOREVER).map(lambda batch: batch % workers)
    return tf.data.Dataset.choose_from_datasets(datasets, turns)

  def num_workers(self) -> int:
    """Returns the number of workers that the dispatcher was started with.

    Raises:
      ValueError: no dispatcher or worker answers, or the dispatcher was started without the
        addresses of its workers.
    """
    if self.is_local:
      return 1
    self._connect()
    numbers = tf.data.Dataset.range(_FOREVER)
    # With n workers each gets every n-th number, so the first two differ by n.
    probe = self._distribute(_sharded(numbers).batch(2).take(1))
    result: list = []

    def ask():
      try:
        result.append(next(iter(probe)).numpy())
      except tf.errors.OpError as e:
        result.append(e)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_SECONDS)
    if not result:
      raise ValueError(
        f'--tf_data_service={self.address}: no worker answered within {_SECONDS} s; start them '
        'with python -m tpu_utils.images.data_service --role=worker.'
      )
    if isinstance(result[0], Exception):
      # Remove the names of graph nodes that TensorFlow adds.
      cause = re.sub(r'\{\{.*?\}\} | \[Op:.*', '', one_line(result[0]))
      raise ValueError(
        f'--tf_data_service={self.address}: {cause} (start the dispatcher with python -m '
        'tpu_utils.images.data_service, with the addresses of its workers in --workers).'
      )
    return int(result[0][1] - result[0][0])

  def _run_on(self, worker, dataset):
    """Returns a dataset that one worker computes; the other workers contribute nothing."""
    if self.is_local:
      return dataset
    # Each worker's first number is its own index; only the given worker passes the filter.
    mine = _sharded(tf.data.Dataset.range(_FOREVER)).take(1).filter(lambda number: number == worker)
    return self._distribute(mine.flat_map(lambda _: dataset))

  def _distribute(self, dataset):
    return dataset.apply(service.distribute(service.ShardingPolicy.HINT, self.address))

  def _connect(self):
    host, _, port = self.address.removeprefix('grpc://').rpartition(':')
    try:
      socket.create_connection((host, int(port)), timeout=_SECONDS).close()
    except OSError as e:
      raise ValueError(
        f'--tf_data_service={self.address}: no dispatcher answers there ({e.strerror or e}); start '
        'one with python -m tpu_utils.images.data_service --role=dispatcher.'
      ) from None


def _sharded(dataset):
  return dataset.shard(tf.data.experimental.SHARD_HINT, tf.data.experimental.SHARD_HINT)
