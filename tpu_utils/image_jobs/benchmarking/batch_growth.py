"""How time and memory of inference and training grow with the batch."""
from collections.abc import Iterator, Sequence

from tpu_utils.benchmarking.growth import Curves
from tpu_utils.benchmarking.peer_process import PeerProcess

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
_KINDS = {'infer': 'inference', 'train': 'training step'}


def measure(
  module: str, arguments: Sequence[str], batch_sizes: Sequence[int] = BATCH_SIZES
) -> Iterator[Curves]:
  """Measures speed, then memory.

  Args:
    module: program that serves `infer BATCH` and `train BATCH` of a model.
    arguments: its arguments.
    batch_sizes: in rising order: the most memory that a process has used belongs to its last one.

  Yields:
    `Curves` of images/s, and of gigabytes.

  Raises:
    ValueError: the program failed.
  """
  speeds: dict[str, dict[int, float]] = {}
  memory: dict[str, dict[int, float]] = {}
  for kind, name in _KINDS.items():  # A process each: the one's memory is not the other's.
    with PeerProcess(module, arguments, 'see --help') as process:
      for size in batch_sizes:
        command = f'{kind} {size}'
        process.measure(command)
        cost = process.measure(command, repeat=max(1, 8 // size))
        speeds.setdefault(name, {})[size] = size / cost.wall
        memory.setdefault(name, {})[size] = cost.memory / 2**30
        print(f'{command}: {size / cost.wall:.1f} images/s', flush=True)
  yield Curves('Speed by batch', 'images in a batch', 'images/s', speeds)
  note = 'The most that the process has used, with TensorFlow itself and the weights.'
  yield Curves('Memory by batch', 'images in a batch', 'GB', memory, note)
