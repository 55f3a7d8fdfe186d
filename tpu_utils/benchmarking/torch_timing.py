"""torch modules on a GPU (or the CPU): forward pass and training step, as people run them.

Float32 products are of TF32 where the device has them, as on JAX's side. With bfloat16 the forward
pass is a module in bfloat16, and training is float32 with autocast.
"""
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from tpu_utils.benchmarking import peer_process


@dataclasses.dataclass(frozen=True)
class Peer:
  """What a variant is made of.

  Attributes:
    build: function() -> a module with fresh weights.
    inputs: {argument of the module: tensor on the CPU} for the forward pass.
    training_inputs: the same for the training step.
    loss: function(outputs, targets) -> scalar.
    targets: tensors for `loss`, in a dict.
    optimizer: function(parameters) -> optimizer.
  """

  build: Callable[[], nn.Module]
  inputs: Mapping[str, torch.Tensor]
  training_inputs: Mapping[str, torch.Tensor]
  loss: Callable[[Any, Any], torch.Tensor]
  targets: Mapping[str, torch.Tensor]
  optimizer: Callable[[Any], torch.optim.Optimizer]


def device() -> str:
  """Returns 'cuda' or 'cpu', and sets the precision of float32 products."""
  torch.set_float32_matmul_precision('high')
  torch.backends.cudnn.allow_tf32 = True
  torch.backends.cudnn.benchmark = True
  return 'cuda' if torch.cuda.is_available() else 'cpu'


def works(
  peer: Peer, dtype: str, channels_last: bool = False, compiled: bool = False
) -> dict[str, Callable[[int], dict[str, float]]]:
  """Returns {kind: function(steps)} of a variant for `peer_process.serve_steps`.

  The modules are built at the first use. The functions return the peak of the allocated memory, in
  bytes, on a GPU.

  Args:
    peer: the peer.
    dtype: 'float32' or 'bfloat16'.
    channels_last: whether modules and images are in this layout.
    compiled: whether to use `torch.compile`.
  """
  place = device()
  make = {'forward': _forward, 'training step': _training_step}

  def work(kind):
    step: list[Callable] = []

    def run(steps):
      if not step:
        step.append(make[kind](peer, place, dtype, channels_last, compiled))
      if place == 'cuda':
        torch.cuda.reset_peak_memory_stats()
      for _ in range(steps):
        step[0]()
      if place == 'cpu':
        return {}
      torch.cuda.synchronize()
      return {'memory': torch.cuda.max_memory_allocated()}

    return run

  return {kind: work(kind) for kind in make}


def _forward(peer, place, dtype, channels_last, compiled):
  module = _placed(peer.build().eval(), place, channels_last).to(getattr(torch, dtype))
  inputs = _inputs(peer.inputs, place, channels_last, dtype)
  call = torch.compile(module) if compiled else module

  @torch.no_grad()
  def step():
    call(**inputs)

  return step


def _training_step(peer, place, dtype, channels_last, compiled):
  module = _placed(peer.build().train(), place, channels_last)
  inputs = _inputs(peer.training_inputs, place, channels_last)
  targets = {name: tensor.to(place) for name, tensor in peer.targets.items()}
  optimizer = peer.optimizer(module.parameters())
  call = torch.compile(module) if compiled else module

  def step():
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(place, torch.bfloat16, enabled=dtype == 'bfloat16'):
      value = peer.loss(call(**inputs), targets)
    value.backward()
    optimizer.step()

  return step


def _placed(module, place, channels_last):
  module = module.to(place)
  return module.to(memory_format=torch.channels_last) if channels_last else module


def _inputs(inputs, place, channels_last, dtype='float32'):
  def placed(tensor):
    tensor = tensor.to(place)
    if tensor.is_floating_point():
      tensor = tensor.to(getattr(torch, dtype))
    images = channels_last and tensor.ndim == 4
    return tensor.to(memory_format=torch.channels_last) if images else tensor

  return {name: placed(tensor) for name, tensor in inputs.items()}


def image_peer(
  build: Callable[[], nn.Module],
  optimizer: Callable[[Any], torch.optim.Optimizer],
  task: Mapping[str, Any],
) -> Peer:
  """Returns the `Peer` of an image classifier with 1000 classes, for random images and labels.

  Args:
    build: see `Peer`.
    optimizer: see `Peer`.
    task: the argument of the process; see `device_benchmark`.
  """
  batch_size, image_size = task['batch_size'], task['image_size']
  images = {'x': torch.rand(batch_size, 3, image_size, image_size)}
  return Peer(
    build,
    images,
    images,
    lambda logits, targets: nn.functional.cross_entropy(logits.float(), targets['labels']),
    {'labels': torch.arange(batch_size) % 1000},
    optimizer,
  )


def serve(
  task: Mapping[str, Any],
  peer: Peer,
  variants: Mapping[str, Mapping[str, Mapping[str, bool]]],
  **versions: str,
) -> None:
  """Serves the variants of a peer that a task names; compiled ones are compiled before that.

  Args:
    task: the argument of the process; see `device_benchmark`.
    peer: the peer.
    variants: of `device_benchmark.Suite`.
    **versions: {library: its version}.
  """
  found = {
    f'{variant}/{kind}': work
    for variant, options in variants[task['work']].items()
    for kind, work in works(peer, task['dtype'], **options).items()
  }
  if task['work'] == 'compiled':
    for work in found.values():
      work(1)
    if torch.cuda.is_available():
      torch.cuda.empty_cache()
  name = torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu'
  peer_process.serve_steps(found, {'torch': torch.__version__, 'device_kind': name, **versions})
