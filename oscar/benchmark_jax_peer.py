"""The side of transformers in `python -m oscar.benchmark --backend=jax`.

Argument: JSON as described in `tpu_utils.benchmarking.device_benchmark`.
"""
import json
import sys

from tpu_utils.benchmarking import device_process
from tpu_utils.command_line import helper_program

if __name__ == '__main__':
  helper_program.explain(__doc__)

STREAM = device_process.protocol()

import torch  # noqa: E402 - after the stream is kept for answers.
import transformers  # noqa: E402
from torch import nn  # noqa: E402

from oscar.benchmark_jax import MASKED, WORDS, random_batch  # noqa: E402
from oscar.benchmark_transformers import TransformersOscar  # noqa: E402
from oscar.config import OscarConfig  # noqa: E402
from tpu_utils.benchmarking import torch_timing  # noqa: E402


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
  compiled = task['work'] == 'compiled'
  works = torch_timing.named_works(
    peer, task['dtype'], {task['work']: {'compiled': compiled}}, warm=compiled
  )
  facts = torch_timing.facts() | {'transformers': transformers.__version__}
  device_process.serve(STREAM, works, facts)


if __name__ == '__main__':
  main(json.loads(sys.argv[1]))
