r"""Starts the dispatcher or a worker of a tf.data service, which prepares images on other machines.

  python -m tpu_utils.images.data_service --role=dispatcher --port=5050 \
      --workers=host1:5051,host2:5051
      On one machine. Then on host1 and host2, which must see the data under the same path:

  python -m tpu_utils.images.data_service --role=worker --dispatcher=host0:5050 --address=host1:5051

  python -m efficientnet.main --tf_data_service=grpc://host0:5050 ...
      Trains on the images that the workers prepare. Their order depends on the number of workers:
      a stopped job resumes exactly if there are as many workers as before.

These ports have no passwords, and are open on all networks of the machine. Whoever reaches one can
run anything as this user, and read and write this user's files: keep them in a trusted network.
"""
import dataclasses
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting
from tpu_utils.errors import one_line

if TYPE_CHECKING:
  import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class ServiceConfig(settings.Checked):
  """Role and addresses of one process of the service."""

  role: str = setting(None, 'dispatcher or worker.', choices=('dispatcher', 'worker'), type=str)
  port: int = setting(5050, 'dispatcher: the port to listen on.', at_least=1)
  workers: str = setting('', 'dispatcher: --address of each worker, separated by commas.')
  dispatcher: str = setting(None, 'worker: host:port of the dispatcher.', type=str)
  address: str = setting(None, 'worker: host:port under which others reach it.', type=str)

  def __post_init__(self):
    super().__post_init__()
    if self.role is None:
      raise ValueError('--role is missing: dispatcher or worker.')
    if self.role == 'dispatcher' and not self.workers:
      raise ValueError('--workers is missing: host:port of each worker, separated by commas.')
    if self.role == 'worker':
      for name in ('dispatcher', 'address'):
        _split_address(f'--{name}', getattr(self, name))
    for address in filter(None, self.workers.split(',')):
      _split_address('--workers', address)


def start_dispatcher(
  port: int, workers: Sequence[str]
) -> 'tf.data.experimental.service.DispatchServer':
  """Starts a dispatcher in this process.

  Args:
    port: the port to listen on.
    workers: 'host:port' of each worker that will be started.

  Returns:
    The server. It stops when the last reference to it is gone.

  Raises:
    ValueError: the server cannot start.
  """
  import tensorflow as tf

  service = tf.data.experimental.service
  config = service.DispatcherConfig(port=port, protocol='grpc', worker_addresses=workers)
  return _start(lambda: service.DispatchServer(config), '--port', port)


def start_worker(dispatcher: str, address: str) -> 'tf.data.experimental.service.WorkerServer':
  """Starts a worker in this process.

  Args:
    dispatcher: 'host:port' of the dispatcher.
    address: 'host:port' of this worker; one of the dispatcher's `workers`.

  Returns:
    The server. It stops when the last reference to it is gone.

  Raises:
    ValueError: the address is malformed or the server cannot start.
  """
  import tensorflow as tf

  service = tf.data.experimental.service
  _, port = _split_address('--address', address)
  config = service.WorkerConfig(
    dispatcher_address=dispatcher, worker_address=address, port=port, protocol='grpc'
  )
  return _start(lambda: service.WorkerServer(config), '--address', address)


def _start(make_server, flag, value):
  """Returns the started server; ValueError naming the flag if it cannot start."""
  import tensorflow as tf

  try:
    return make_server()
  except (tf.errors.OpError, RuntimeError) as e:
    raise ValueError(f'{flag}={value}: the server cannot start ({one_line(e)}).') from None


def _split_address(flag, address):
  host, _, port = (address or '').rpartition(':')
  if not host or not port.isdigit():
    raise ValueError(f'{flag}={address} must be host:port.')
  return host, int(port)


def run(resolved: settings.Resolved) -> None:
  """Runs the dispatcher or worker until the process is stopped."""
  (config,) = resolved
  if config.role == 'dispatcher':
    server = start_dispatcher(config.port, config.workers.split(','))
    print(f'tf.data service: dispatcher for {config.workers} on port {config.port}', flush=True)
  else:
    server = start_worker(config.dispatcher, config.address)
    print(f'tf.data service: worker {config.address} of {config.dispatcher}', flush=True)
  threading.Event().wait()  # Unlike the server's own join, this lets Ctrl-C interrupt.
  del server


SCRIPT = Script(__doc__, (ServiceConfig,), run)


if __name__ == '__main__':
  SCRIPT.main()
