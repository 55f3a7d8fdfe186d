"""Our side of `python -m efficientnet.benchmark --backend=jax`: serves a model on JAX.

Argument: JSON as described in `tpu_utils.benchmarking.device_benchmark`.
"""
import json
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from tpu_utils.benchmarking import device_benchmark
from tpu_utils.command_line import helper_program

if __name__ == '__main__':
  helper_program.explain(__doc__)

SUITE = device_benchmark.image_suite(
  'efficientnet',
  {'efficientnet-b0': (256, 224), 'efficientnet-b4': (32, 380)},
  ["Training: RMSProp, dropout and stochastic depth on; timm's network with the same rates."],
)


def references(goldens: str) -> list:
  """Returns the `jax_timing.Reference`s: logits of the official B0 and B1.

  There are no reference numbers of B4, which differs from these in width, depth and resolution.
  """
  import numpy as np

  import efficientnet
  from tpu_utils.benchmarking import jax_timing

  folder = pathlib.Path(goldens)
  weights = jax_timing.golden_weights(folder)

  def reference(name, size, tolerances):
    text = (folder / 'efficientnet' / f'variables_{name}.json').read_text(encoding='utf-8')

    def build(policy):
      model = efficientnet.build_model(name, image_size=size, dtype_policy=policy)
      for ours, official in zip(model.weights, json.loads(text)['variables'], strict=True):
        fan = official['fan_in'] if official.get('explicit_fan') else None
        ours.assign(weights.value(official['name'], official['shape'], fan=fan))
      return model

    images = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype(np.float32)
    want = np.load(folder / 'efficientnet' / f'logits_{name}_S{size}.npz')['logits']
    title = f'{name}, {size} pixels: logits of the official code'
    return jax_timing.Reference(title, build, images, jax_timing.logits, want, tolerances)

  full = {'float32, full precision': 2e-4}
  rounded = {'float32, as timed': 5e-2, 'bfloat16': 3e-1}
  return [
    reference('efficientnet-b0', 224, full | rounded),
    reference('efficientnet-b1', 64, full),
  ]


def programs(task: Mapping[str, Any]) -> dict:
  """Returns {kind: `jax_timing.Program`} of the task's model."""
  import optax

  import efficientnet
  from tpu_utils.benchmarking import jax_timing

  optimizer = optax.rmsprop(1e-4, decay=0.9, eps=1e-3, momentum=0.9)
  return jax_timing.task_programs(task, efficientnet.build_model, optimizer)


if __name__ == '__main__':
  from tpu_utils.benchmarking import jax_timing

  jax_timing.serve(json.loads(sys.argv[1]), references, programs)
