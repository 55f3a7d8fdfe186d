"""timm's side of `python -m resnext.benchmark --backend=jax`.

Argument: JSON as described in `tpu_utils.benchmarking.device_benchmark`.
"""
import json
import sys

from resnext.benchmark_jax import SUITE
from tpu_utils.command_line import helper_program

if __name__ == '__main__':
  helper_program.explain(__doc__)

import timm
import torch

from tpu_utils.benchmarking import torch_timing

_NETWORKS = {'resnext-50-32x4d': 'resnext50_32x4d'}


def main(task: dict) -> None:
  """Serves timm's network of the task's model, eager or compiled."""
  peer = torch_timing.image_peer(
    lambda: timm.create_model(_NETWORKS[task['model']]),
    lambda parameters: torch.optim.SGD(
      parameters, 1e-4, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True
    ),
    task,
  )
  torch_timing.serve(task, peer, SUITE.variants, timm=timm.__version__)


if __name__ == '__main__':
  main(json.loads(sys.argv[1]))
