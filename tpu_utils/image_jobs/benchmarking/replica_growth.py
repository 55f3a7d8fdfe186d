"""How the trainer's time grows with logical replicas that share the cores of one machine."""
from collections.abc import Callable, Sequence

from tpu_utils.benchmarking.growth import Curves
from tpu_utils.benchmarking.peer_process import PeerProcess

REPLICAS = (1, 2, 3, 4)
BATCH_SIZE = 24  # Divisible by each of them.
_STEPS = 2


def measure(
  module: str, arguments: Callable[[int], Sequence[str]], replicas: Sequence[int] = REPLICAS
) -> Curves:
  """Measures images/s of training on the same global batch, split over more and more replicas.

  Args:
    module: program that serves `train BATCH`.
    arguments: function(replicas) -> its arguments.
    replicas: their numbers.

  Raises:
    ValueError: the program failed.
  """
  speeds = {}
  for count in replicas:
    with PeerProcess(module, arguments(count), 'see --help') as process:
      command = f'train {BATCH_SIZE}'
      process.measure(command)
      speeds[count] = BATCH_SIZE / process.measure(command, _STEPS).wall
      print(f'{count} replicas: {speeds[count]:.1f} images/s', flush=True)
  note = (
    f'A global batch of {BATCH_SIZE}; the replicas share the cores, so that a level line is the '
    'best that there can be.'
  )
  return Curves('Training by replicas', 'logical replicas', 'images/s', {'trainer': speeds}, note)
