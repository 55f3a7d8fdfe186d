"""Training batches from a tf.data service, in an order that does not depend on who is faster.

By itself the service hands out what comes first, so no run is like another and none can go on where it
stopped. Here each of its workers makes the batches of a fixed share of the images, as a host of its own
would, and the batches are taken from the workers in turn. The order is therefore a function of the seed and
the number of workers: a stopped job goes on exactly if it finds as many workers as before. A worker
that was lost and came back begins anew; its batches are then not the expected ones, and the job stops.
"""
import functools
import re
import socket
import threading

import tensorflow as tf

from tpu_utils.errors import one_line
from tpu_utils.images import data_service

_SECONDS = 60
_FOREVER = 2**62

service = tf.data.experimental.service


class DataService:
  """The client's end of a tf.data service.

  Args:
    address: 'grpc://host:port' of the dispatcher, which must know its workers by name
      (`python -m tpu_utils.images.data_service`); 'local' starts one with a worker in this process.
  """

  def __init__(self, address):
    self._servers = []
    if address == 'local':
      address, self._servers = data_service.start_local()
    if not address.startswith('grpc://') or not address.rpartition(':')[2].isdigit():
      raise ValueError(f'--tf_data_service={address} must be grpc://host:port, or `local`.')
    self.address = address

  def check_portable(self, source, name):
    """Raises ValueError if the workers cannot read a source."""
    if not source.portable:
      raise ValueError(
        f'--tf_data_service: its workers cannot read {name} ({type(source).__name__}), which needs Python '
        'code or memory of this process; leave --use_cache out, or write the data to TFRecord shards '
        'with python -m tpu_utils.images.prepare.'
      )

  def round_robin(self, of_worker, start_batch):
    """The batches of all workers in turn.

    Args:
      of_worker: function(number of workers, worker, number of the first batch, distribute) -> dataset of
        that worker's batches from that one on; `distribute` is what makes a dataset the worker's task.
      start_batch: number, over all workers, of the first batch.
    """
    workers = self.num_workers()
    datasets = [
      # Of the batches before the start, every workers-th was this one's.
      of_worker(workers, worker, -(-(start_batch - worker) // workers) if start_batch > worker else 0,
                functools.partial(self._run_on, worker))
      for worker in range(workers)
    ]  # fmt: skip
    turns = tf.data.Dataset.range(start_batch, _FOREVER).map(lambda batch: batch % workers)
    return tf.data.Dataset.choose_from_datasets(datasets, turns)

  def num_workers(self):
    """How many workers the dispatcher was told of.

    Raises:
      ValueError: it does not answer, or was not told.
    """
    self._connect()
    numbers = tf.data.Dataset.range(_FOREVER)
    # A worker is given every n-th number: from its first two, n.
    probe = self._distribute(_sharded(numbers).batch(2).take(1))
    result = []

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
        f'--tf_data_service={self.address}: no worker answered within {_SECONDS} s; start them with '
        'python -m tpu_utils.images.data_service --role=worker.'
      )
    if isinstance(result[0], Exception):
      # Without the names of TensorFlow's nodes around it.
      cause = re.sub(r'\{\{.*?\}\} | \[Op:.*', '', one_line(result[0]))
      raise ValueError(
        f'--tf_data_service={self.address}: {cause} (start the dispatcher with python -m '
        'tpu_utils.images.data_service, which tells it the addresses of its workers).'
      )
    return int(result[0][1] - result[0][0])

  def _run_on(self, worker, dataset):
    """Has one of the workers make the elements of a dataset."""
    # Each worker gets the number that is its own; for all but one nothing follows from it.
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
        f'--tf_data_service={self.address}: no dispatcher answers there ({e.strerror or e}); start one with '
        'python -m tpu_utils.images.data_service --role=dispatcher.'
      ) from None


def _sharded(dataset):
  return dataset.shard(tf.data.experimental.SHARD_HINT, tf.data.experimental.SHARD_HINT)
