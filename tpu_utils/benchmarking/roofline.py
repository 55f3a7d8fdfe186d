"""The limits of a device: dense peaks of its data sheet, and rates measured on the spot.

    python -m tpu_utils.benchmarking.roofline '{}'  # A program for `peer_process`.

A large matrix product shows what multiply-adds the device really does, a copy what bytes it moves.
"""
import dataclasses

from tpu_utils.benchmarking import peer_process
from tpu_utils.command_line import helper_program

if __name__ == '__main__':
  helper_program.explain(__doc__)


@dataclasses.dataclass(frozen=True)
class Peaks:
  """Of a data sheet: dense multiply-adds a second by type of the factors, and bytes a second."""

  bfloat16: float
  float32: float  # Of TF32 factors.
  memory: float


# {prefix of JAX's `device_kind`: peaks}; the makers count a multiply-add as two operations.
PEAKS = {
  'NVIDIA H100 80GB HBM3': Peaks(989.4e12 / 2, 494.7e12 / 2, 3.35e12),
  'NVIDIA H200': Peaks(989.4e12 / 2, 494.7e12 / 2, 4.8e12),
  'NVIDIA A100-SXM4-80GB': Peaks(312e12 / 2, 156e12 / 2, 2.039e12),
  'NVIDIA A100-SXM4-40GB': Peaks(312e12 / 2, 156e12 / 2, 1.555e12),
}


def peaks(device_kind: str) -> Peaks | None:
  """Returns the peaks of a device; None if they are not listed here."""
  return next((p for name, p in PEAKS.items() if device_kind.startswith(name)), None)


def main() -> None:
  """Serves 'product/float32', 'product/bfloat16' and 'copy'; the facts say how much a step does."""
  from tpu_utils.benchmarking import jax_timing

  jax_timing.use_jax()
  import jax
  from jax import numpy as jnp

  facts = jax_timing.device_facts()
  on_cpu = facts['platform'] == 'cpu'
  side, numbers = (1024, 2**24) if on_cpu else (8192, 2**30)

  def repeated(function, *arguments):
    compiled = jax.jit(function).lower(*arguments).compile()

    def run(steps):
      results = None
      for _ in range(steps):
        results = compiled(*arguments)
      jax.block_until_ready(results)

    return run

  works = {}
  with jax.default_matmul_precision(jax_timing.TIMED_PRECISION):
    for dtype in jax_timing.POLICIES:
      # Random numbers: products of zeros take less power, and so are faster.
      factor = jax.random.normal(jax.random.key(0), (side, side), jnp.float32).astype(dtype)
      works[f'product/{dtype}'] = repeated(jnp.matmul, factor, factor)
  works['copy'] = repeated(lambda x: -x, jnp.ones(numbers, jnp.bfloat16))
  peer_process.serve_steps(works, facts | {'multiply_adds': side**3, 'bytes': 4 * numbers})


if __name__ == '__main__':
  main()
