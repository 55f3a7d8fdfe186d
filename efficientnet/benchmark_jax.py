"""Our side of `python -m efficientnet.benchmark --backend=jax`: serves a model on JAX.

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

_SIZES = {'efficientnet-b0': 224, 'efficientnet-b4': 380}
SUITE = Suite(
  batch_sizes={'efficientnet-b0': 256, 'efficientnet-b4': 32},
  image_sizes=_SIZES,
  unit='images',
  program='efficientnet.benchmark_jax',
  peer_program='efficientnet.benchmark_jax_peer',
  peer='timm',
  variants={'compiled': ('compiled, channels last',), 'eager': ('eager, channels last', 'eager')},
  notes=(
    "Training: RMSProp, dropout and stochastic depth on; timm's network with the same rates.",
  ),
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


def main(stream: TextIO, task: dict[str, Any]) -> None:
  """Serves the model's programs, or reports how far values are from the references."""
  from tpu_utils.benchmarking import jax_timing

  jax_timing.use_jax()
  if task['work'] == 'check':
    values = jax_timing.compare(references(task['goldens']))
    device_process.serve(stream, {}, {'values': values})
    return
  import optax

  import efficientnet

  model = efficientnet.build_model(
    task['model'],
    image_size=task['image_size'],
    dtype_policy=jax_timing.POLICIES[task['dtype']],
  )
  optimizer = optax.rmsprop(1e-4, decay=0.9, eps=1e-3, momentum=0.9)
  programs = jax_timing.images_programs(
    model, optimizer, task['batch_size'], task['image_size']
  )
  device_process.serve(stream, jax_timing.works(programs), jax_timing.device_facts())


if __name__ == '__main__':
  main(device_process.protocol(), json.loads(sys.argv[1]))
