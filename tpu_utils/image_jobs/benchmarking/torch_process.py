"""Serves a classifier in torch to a benchmark: `infer BATCH` and `train BATCH`."""
from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from tpu_utils.benchmarking import peer_process
from tpu_utils.names import check_name

VARIANTS = ('eager', 'channels_last', 'compiled')


def serve(model: Any, variant: str, batch_sizes: Sequence[int], image_size: int) -> None:
  """Serves inference and steps of SGD with momentum until standard input ends.

  Args:
    model: `torch.nn.Module`, a classifier with logits as outputs.
    variant: 'eager', 'channels_last' or 'compiled' (with channels last, which is faster on CPUs).
    batch_sizes: for each a command of each kind.
    image_size: pixels a side.
  """
  import torch
  import torch._inductor.config

  check_name('variant', variant, VARIANTS)
  layout = torch.contiguous_format if variant == 'eager' else torch.channels_last
  model = model.to(memory_format=layout)
  optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9)
  run = model
  if variant == 'compiled':
    # Folds batch norm and lays weights out for oneDNN; without gradients only.
    torch._inductor.config.freezing = True
    run = torch.compile(model, dynamic=False)

  def batch(size):
    images = torch.rand(size, 3, image_size, image_size).to(memory_format=layout)
    return images, torch.arange(size) % 1000

  def infer(images):
    model.eval()
    with torch.no_grad():
      run(images)

  def train(images, labels):
    model.train()
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(run(images), labels).backward()
    optimizer.step()

  batches = {size: batch(size) for size in batch_sizes}
  commands: dict[str, Callable] = {}
  for size, (images, labels) in batches.items():
    commands[f'infer {size}'] = functools.partial(infer, images)
    commands[f'train {size}'] = functools.partial(train, images, labels)
  peer_process.serve(commands)
