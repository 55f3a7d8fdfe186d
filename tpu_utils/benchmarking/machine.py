"""Describes this machine and measures its limits, for the reports of benchmarks."""
import dataclasses
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Sequence

import numpy as np

_MATRIX = 2048  # Rows and columns: far more arithmetic than memory traffic.
_COPIED_BYTES = 2**28  # Much more than caches hold.


@dataclasses.dataclass(frozen=True)
class Limits:
  """Largest speeds measured on this machine.

  Attributes:
    multiply_adds: a second, of a large float32 matrix product on all cores.
    bytes: read and written a second, of a copy by one thread.
  """

  multiply_adds: float
  bytes: float

  @property
  def text(self) -> str:
    """The limits in words."""
    return (
      f'Limits measured now: {self.multiply_adds / 1e9:.0f} billion multiply-adds/s (float32 '
      f'matrix product), {self.bytes / 1e9:.1f} GB/s read and written (copy)'
    )


def measure_limits(seconds: float = 2.0, product: Callable | None = None) -> Limits:
  """Measures the limits: the best of repeated runs, as other work only slows them.

  Args:
    seconds: for each of the two.
    product: function(a, b) -> matrix product that is done; None for numpy's.
  """
  matrix = np.random.default_rng(0).standard_normal((_MATRIX, _MATRIX), np.float32)
  multiply = product or np.matmul
  multiply_adds = _MATRIX**3 / _best(lambda: multiply(matrix, matrix), seconds)
  source = np.ones(_COPIED_BYTES // 4, np.float32)
  target = np.empty_like(source)
  return Limits(
    multiply_adds, 2 * _COPIED_BYTES / _best(lambda: np.copyto(target, source), seconds)
  )


def _best(work, seconds):
  """Returns the time of the fastest of the runs that fit into some seconds; at least three."""
  times: list[float] = []
  end = time.perf_counter() + seconds
  while len(times) < 3 or time.perf_counter() < end:
    start = time.perf_counter()
    work()
    times.append(time.perf_counter() - start)
  return min(times)


def describe(packages: Sequence[str] = ()) -> str:
  """Returns processor, cores, memory, load and versions in a line.

  Args:
    packages: distributions to name with their versions, if they are installed.
  """
  cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
  parts = [f'{_processor()}, {cores} cores']
  if hasattr(os, 'sysconf'):
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    parts.append(f'{memory / 2**30:.0f} GB')
  parts.append(f'{platform.system()}, Python {platform.python_version()}')
  for name in packages:
    try:
      parts.append(f'{name} {importlib.metadata.version(name)}')
    except importlib.metadata.PackageNotFoundError:
      continue
  load = os.getloadavg()[0]
  return f'{"; ".join(parts)}; load {load:.1f} at the start; {time.strftime("%Y-%m-%d")}'


def _processor():
  try:
    with open('/proc/cpuinfo', encoding='utf-8') as file:
      lines = [line for line in file if line.startswith('model name')]
  except OSError:
    lines = []
  if lines:
    return lines[0].partition(':')[2].strip()
  return platform.processor() or 'unknown processor'
