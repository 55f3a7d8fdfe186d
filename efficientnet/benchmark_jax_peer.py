"""timm's side of `python -m efficientnet.benchmark --backend=jax`.

Argument: JSON as described in `tpu_utils.benchmarking.device_benchmark`.
"""
import json
import sys

from efficientnet.benchmark_jax import SUITE
from tpu_utils.command_line import helper_program

if __name__ == '__main__':
  helper_program.explain(__doc__)

import timm
import torch

from tpu_utils.benchmarking import torch_timing

# {model: (dropout, stochastic depth)}, as in our models.
_RATES = {'efficientnet_b0': (0.2, 0.2), 'efficientnet_b4': (0.4, 0.2)}


def main(task: dict) -> None:
  """Serves timm's network of the task's model, eager or compiled."""
  name = task['model'].replace('-', '_')
  dropout, drop_path = _RATES[name]
  peer = torch_timing.image_peer(
    lambda: timm.create_model(name, drop_rate=dropout, drop_path_rate=drop_path),
    lambda parameters: torch.optim.RMSprop(
      parameters, 1e-4, alpha=0.9, eps=1e-3, momentum=0.9, foreach=True
    ),
    task,
  )
  torch_timing.serve(task, peer, SUITE.variants, timm=timm.__version__)


if __name__ == '__main__':
  main(json.loads(sys.argv[1]))
