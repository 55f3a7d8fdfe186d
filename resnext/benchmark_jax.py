"""Our side of `python -m resnext.benchmark --backend=jax`: serves a model on JAX.

Argument: JSON as described in `tpu_utils.benchmarking.device_benchmark`.
"""
import json
import pathlib
import sys
from typing import Any, TextIO

from tpu_utils.benchmarking import device_process
from tpu_utils.benchmarking.device_benchmark import Suite
from tpu_utils.command_line import helper_program

if __name__ == '__main__':
  helper_program.explain(__doc__)

SUITE = Suite(
  batch_sizes={'resnext-50-32x4d': 128},
  image_sizes={'resnext-50-32x4d': 224},
  unit='images',
  program='resnext.benchmark_jax',
  peer_program='resnext.benchmark_jax_peer',
  peer='timm',
  variants={'compiled': ('compiled, channels last',), 'eager': ('eager, channels last', 'eager')},
  notes=('Training: SGD with Nesterov momentum and weight decay.',),
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


def main(stream: TextIO, task: dict[str, Any]) -> None:
  """Serves the model's programs, or reports how far values are from the references."""
  from tpu_utils.benchmarking import jax_timing

  jax_timing.use_jax()
  if task['work'] == 'check':
    values = jax_timing.compare(references(task['goldens']))
    device_process.serve(stream, {}, {'values': values})
    return
  import optax

  import resnext

  model = resnext.build_model(
    task['model'],
    image_size=task['image_size'],
    dtype_policy=jax_timing.POLICIES[task['dtype']],
  )
  optimizer = optax.chain(
    optax.add_decayed_weights(1e-4), optax.sgd(1e-4, momentum=0.9, nesterov=True)
  )
  programs = jax_timing.images_programs(
    model, optimizer, task['batch_size'], task['image_size']
  )
  device_process.serve(stream, jax_timing.works(programs), jax_timing.device_facts())


if __name__ == '__main__':
  main(device_process.protocol(), json.loads(sys.argv[1]))
