"""Process in which `efficientnet.benchmark` times timm's network on torch.

Arguments: network, batch size, pixels a side.
"""
import sys

from tpu_utils.benchmarking import peer_process
from tpu_utils.command_line import helper_program

if __name__ == '__main__':
  helper_program.explain(__doc__)

import timm
import torch


def main(network: str, batch_size: int, image_size: int) -> None:
  """Runs inference of a timm network as often as the benchmark asks for it."""
  # This memory layout is faster on CPUs.
  model = timm.create_model(network).eval().to(memory_format=torch.channels_last)
  images = torch.rand(batch_size, 3, image_size, image_size)
  images = images.to(memory_format=torch.channels_last)

  @torch.inference_mode()
  def infer():
    model(images)

  peer_process.serve({'infer': infer})


if __name__ == '__main__':
  main(sys.argv[1], *map(int, sys.argv[2:]))
