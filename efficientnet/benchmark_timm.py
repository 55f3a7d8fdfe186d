"""The other process of `efficientnet.benchmark`: timm's network on torch.

Arguments: network, batch size, image size.
"""
import sys

import timm
import torch

from tpu_utils.benchmarking import peer_process


def main(network, batch_size, image_size):
  # The memory layout that is faster on CPUs.
  model = timm.create_model(network).eval().to(memory_format=torch.channels_last)
  images = torch.rand(batch_size, 3, image_size, image_size)
  images = images.to(memory_format=torch.channels_last)

  @torch.inference_mode()
  def infer():
    model(images)

  peer_process.serve({'infer': infer})


if __name__ == '__main__':
  main(sys.argv[1], *map(int, sys.argv[2:]))
