"""How the training input's speed grows with the cores that it may use."""
import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence

from tpu_utils.benchmarking.growth import Curves
from tpu_utils.images.benchmarking.process import InputProcess

CORES = (1, 2)


def measure(
  make_process: Callable[[str, int], InputProcess],
  augmentations: Sequence[str],
  batches: int,
  batch_size: int,
  cores: Sequence[int] = CORES,
) -> Curves:
  """Measures images/s of the input on one core and on more (Linux).

  Args:
    make_process: function(augmentation, cores) -> its process.
    augmentations: a curve for each.
    batches: in a turn; one turn comes first without a clock.
    batch_size: images in a batch.
    cores: numbers of cores; those that this machine lacks are left out.

  Raises:
    ValueError: a process failed.
  """
  series: dict[str, dict[int, float]] = {}
  for augmentation in augmentations:
    for count in cores:
      if count > len(os.sched_getaffinity(0)):
        continue
      with on_cores(count), make_process(augmentation, count) as process:
        process.run(batches)
        start = time.perf_counter()
        process.run(batches)
        speed = batches * batch_size / (time.perf_counter() - start)
      series.setdefault(augmentation, {})[count] = speed
      print(f'{augmentation}, {count} cores: {speed:.0f} images/s', flush=True)
  return Curves('Input by cores', 'cores', 'images/s', series, 'Elapsed time, not processor time.')


@contextlib.contextmanager
def on_cores(count: int) -> Iterator[None]:
  """Restricts this process and those that it starts to some of its cores, inside `with`."""
  cores = os.sched_getaffinity(0)
  os.sched_setaffinity(0, sorted(cores)[:count])
  try:
    yield
  finally:
    os.sched_setaffinity(0, cores)
