"""Our side of `python -m resnext.benchmark --backend=jax`: serves a model on JAX.

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
  'resnext',
  {'resnext-50-32x4d': (128, 224)},
  ['Training: SGD with Nesterov momentum and weight decay.'],
)


def references(goldens: str) -> list:
  """Returns the `jax_timing.Reference`s: torchvision's logits of ResNeXt-50."""
  import numpy as np

  import resnext
  from resnext import checkpoint_names
  from tpu_utils.benchmarking import jax_timing

  weights = jax_timing.golden_weights(goldens)
  arrays = np.load(pathlib.Path(goldens) / 'resnext' / 'tv_resnext50_32x4d_s64.npz')

  def build(policy):
    model = resnext.build_model(
      'resnext-50-32x4d',
      image_size=64,
      dtype_policy=policy,
      mean_rgb=(0.0, 0.0, 0.0),  # The reference's images are normalised.
      stddev_rgb=(1.0, 1.0, 1.0),
    )
    for variable in model.weights:
      # Axes of torch: reversed for convolutions and the classifier, with the spatial ones in order.
      order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(variable.shape), (0,))
      shape = tuple(variable.shape[axis] for axis in order)
      value = weights.value(checkpoint_names.torch_name(variable.path), shape, layout='torch')
      variable.assign(value.transpose(np.argsort(order)))
    return model

  return [
    jax_timing.Reference(
      "resnext-50-32x4d, 64 pixels: torchvision's logits",
      build,
      arrays['input'],
      jax_timing.logits,
      arrays['logits'],
      {'float32, full precision': 2e-4, 'float32, as timed': 5e-2, 'bfloat16': 3e-1},
    )
  ]


def programs(task: Mapping[str, Any]) -> dict:
  """Returns {kind: `jax_timing.Program`} of the task's network."""
  import optax

  import resnext
  from tpu_utils.benchmarking import jax_timing

  optimizer = optax.chain(
    optax.add_decayed_weights(1e-4), optax.sgd(1e-4, momentum=0.9, nesterov=True)
  )
  return jax_timing.task_programs(task, resnext.build_model, optimizer)


if __name__ == '__main__':
  from tpu_utils.benchmarking import jax_timing

  jax_timing.serve(json.loads(sys.argv[1]), references, programs)
