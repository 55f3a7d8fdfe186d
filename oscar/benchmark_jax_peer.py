"""The side of transformers in `python -m oscar.benchmark --backend=jax`.

Argument: JSON as described in `tpu_utils.benchmarking.device_benchmark`.
"""
import json
import sys

from oscar.benchmark_jax import MASKED, SUITE, WORDS, random_batch
from oscar.config import OscarConfig
from tpu_utils.command_line import helper_program

if __name__ == '__main__':
  helper_program.explain(__doc__)

import torch
import transformers
from torch import nn

from oscar.benchmark_transformers import TransformersOscar
from tpu_utils.benchmarking import torch_timing


def _loss(outputs, targets):
  words, contrast = outputs
  loss = nn.functional.cross_entropy(words.flatten(0, 1).float(), targets['words'].flatten())
  return loss + nn.functional.cross_entropy(contrast.float(), targets['contrast'])


def main(task: dict) -> None:
  """Serves the model of the task's size, eager or compiled."""
  config = OscarConfig.from_name(task['model'])

  def tensors(masked):
    both = random_batch(config, task['batch_size'], masked)
    return [
      {
        name: torch.from_numpy(array).to(torch.float32 if array.dtype == 'float32' else torch.int64)
        for name, array in part.items()
      }
      for part in both
    ]

  inputs, _ = tensors(WORDS)
  training_inputs, targets = tensors(MASKED)
  peer = torch_timing.Peer(
    lambda: TransformersOscar(config),
    inputs,
    training_inputs,
    _loss,
    targets,
    lambda parameters: torch.optim.AdamW(
      parameters, 5e-5, eps=1e-8, weight_decay=0.05, fused=True
    ),
  )
  torch_timing.serve(task, peer, SUITE.variants, transformers=transformers.__version__)


if __name__ == '__main__':
  main(json.loads(sys.argv[1]))
