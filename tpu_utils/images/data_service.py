"""Starts the processes of a tf.data service, which prepare training images on other machines.

  python -m tpu_utils.images.data_service --role=dispatcher --port=5050 --workers=host1:5051,host2:5051
      On one machine. Then, on host1 and on host2, which must see the data under the same path:

  python -m tpu_utils.images.data_service --role=worker --dispatcher=host0:5050 --address=host1:5051

  python -m efficientnet.main --tf_data_service=grpc://host0:5050 ...
      Trains on what the workers prepare. The number of workers is part of the order of the images: a stopped
      job goes on exactly where it was if it finds as many as before.

Who can reach these ports can read what the service reads: keep them inside a trusted network.
"""
import dataclasses
import socket
import threading

from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting
from tpu_utils.errors import one_line


@dataclasses.dataclass(frozen=True)
class ServiceConfig(settings.Checked):
  """Which process this is."""

  role: str = setting(None, 'dispatcher or worker.', choices=('dispatcher', 'worker'), type=str)
  port: int = setting(5050, 'dispatcher: the port to listen on.', at_least=1)
  workers: str = setting('', 'dispatcher: the workers\' --address, separated by commas.')
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


def start_dispatcher(port, workers):
  """Starts a dispatcher in this process.

  Args:
    port: to listen on.
    workers: list of 'host:port', all workers that there will be.

  Returns:
    The server, which lives as long as it is referred to.
  """
  import tensorflow as tf

  service = tf.data.experimental.service
  config = service.DispatcherConfig(port=port, protocol='grpc', worker_addresses=workers)
  return _started(lambda: service.DispatchServer(config), '--port', port)


def start_worker(dispatcher, address):
  """Starts a worker in this process.

  Args:
    dispatcher: 'host:port'.
    address: 'host:port' of this worker, as the dispatcher was told.

  Returns:
    The server, which lives as long as it is referred to.
  """
  import tensorflow as tf

  service = tf.data.experimental.service
  _, port = _split_address('--address', address)
  config = service.WorkerConfig(
    dispatcher_address=dispatcher, worker_address=address, port=port, protocol='grpc'
  )
  return _started(lambda: service.WorkerServer(config), '--address', address)


def start_local():
  """Starts a dispatcher and one worker in this process, to try the service out.

  Returns:
    ('grpc://host:port', servers to refer to as long as it is needed).
  """
  port, worker = _free_port(), f'localhost:{_free_port()}'
  servers = [start_dispatcher(port, [worker]), start_worker(f'localhost:{port}', worker)]
  return f'grpc://localhost:{port}', servers


def _started(start, flag, value):
  import tensorflow as tf

  try:
    return start()
  except (tf.errors.OpError, RuntimeError) as e:
    raise ValueError(f'{flag}={value}: the server cannot start ({one_line(e)}).') from None


def _split_address(flag, address):
  host, _, port = (address or '').rpartition(':')
  if not host or not port.isdigit():
    raise ValueError(f'{flag}={address} must be host:port.')
  return host, int(port)


def _free_port():
  with socket.socket() as s:
    s.bind(('localhost', 0))
    return s.getsockname()[1]


def run(resolved: settings.Resolved):
  """Serves until the process is stopped."""
  (config,) = resolved
  if config.role == 'dispatcher':
    server = start_dispatcher(config.port, config.workers.split(','))
    print(f'tf.data service: dispatcher of {config.workers} at port {config.port}', flush=True)
  else:
    server = start_worker(config.dispatcher, config.address)
    print(f'tf.data service: worker {config.address} of {config.dispatcher}', flush=True)
  threading.Event().wait()  # Unlike the server's own join, this lets Ctrl-C through.
  del server


SCRIPT = Script(__doc__, (ServiceConfig,), run)


if __name__ == '__main__':
  SCRIPT.main()
