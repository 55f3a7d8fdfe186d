"""torchvision's process of `resnext.benchmark`: runs one step for each line of standard input.

Arguments: network, batch size, image size.
"""
import sys

from tpu_utils.benchmarking import peer_process
from tpu_utils.command_line import helper_program

if __name__ == '__main__':
  helper_program.explain(__doc__)

import torch
import torchvision


def main(network: str, batch_size: int, image_size: int) -> None:
  """Serves the commands `train` (one step of SGD) and `infer` until standard input ends."""
  model = torchvision.models.get_model(network).to(memory_format=torch.channels_last)
  optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9)
  images = torch.rand(batch_size, 3, image_size, image_size)
  images = images.to(memory_format=torch.channels_last)
  labels = torch.arange(batch_size) % 1000

  def train():
    model.train()
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()

  @torch.no_grad()
  def infer():
    model.eval()
    model(images)

  peer_process.serve({'train': train, 'infer': infer})


if __name__ == '__main__':
  main(sys.argv[1], *map(int, sys.argv[2:]))
