"""timm's side of `python -m resnext.benchmark --backend=jax`.

Argument: JSON as described in `tpu_utils.benchmarking.device_benchmark`.
"""
import json
import sys

from tpu_utils.benchmarking import device_process
from tpu_utils.command_line import helper_program

if __name__ == '__main__':
  helper_program.explain(__doc__)

STREAM = device_process.protocol()

import timm  # noqa: E402 - after the stream is kept for answers.
import torch  # noqa: E402

from tpu_utils.benchmarking import torch_timing  # noqa: E402

_VARIANTS = {
  'eager': {'eager': {}, 'eager, channels last': {'channels_last': True}},
  'compiled': {'compiled, channels last': {'channels_last': True, 'compiled': True}},
}
_NETWORKS = {'resnext-50-32x4d': 'resnext50_32x4d'}


def main(task: dict) -> None:
  """Serves timm's network of the task's model, eager or compiled."""
  peer = torch_timing.image_peer(
    lambda: timm.create_model(_NETWORKS[task['model']]),
    lambda parameters: torch.optim.SGD(
      parameters, 1e-4, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True
    ),
    task['batch_size'],
    task['image_size'],
  )
  works = torch_timing.named_works(
    peer, task['dtype'], _VARIANTS[task['work']], warm=task['work'] == 'compiled'
  )
  device_process.serve(STREAM, works, torch_timing.facts() | {'timm': timm.__version__})


if __name__ == '__main__':
  main(json.loads(sys.argv[1]))
