"""Estimates the memory that training a network takes, and finds how much there is on this machine.

For TPUs, --mode=preflight asks the compiler instead.
"""
import dataclasses
import math
import os
import sys
from typing import TYPE_CHECKING

from tpu_utils import config, files

if TYPE_CHECKING:
  import keras

# A step keeps the outputs of the layers for the backward pass, and has some of their gradients and
# the images of the next batches at the same time.
_STEP_FACTOR = 1.3
_COPIES = 4  # Of each weight: itself, gradient, momentum, moving average.
_PROGRAM = 1.2e9  # Bytes of TensorFlow itself, with its graphs.
_SHARE = 0.8  # Of the free memory; the system and other programs need some.


@dataclasses.dataclass(frozen=True)
class Needs:
  """Bytes that training takes, estimated.

  Attributes:
    fixed: for the program, weights, gradients and momentum.
    per_image: for each image of a batch.
  """

  fixed: float
  per_image: float

  def of_batch(self, batch: int) -> float:
    """Returns the bytes for a batch of that many images."""
    return self.fixed + batch * self.per_image

  def largest_batch(self, room: float) -> int:
    """Returns the number of images that fit into `room` bytes; at least 1."""
    return max(1, int((_SHARE * room - self.fixed) / self.per_image))


def needs(model: 'keras.Model') -> Needs:
  """Estimates the memory of a training in float32 from the sizes of a model's layers.

  Args:
    model: a functional model; its weights need no values.
  """
  outputs = [tensor for layer in model.layers for tensor in _outputs(layer)]
  activations = sum(math.prod(tensor.shape[1:]) for tensor in outputs)
  weights = sum(math.prod(weight.shape) for weight in model.weights)
  return Needs(_PROGRAM + 4 * _COPIES * weights, 4 * _STEP_FACTOR * activations)


def check(model: 'keras.Model', data: config.DataConfig, accumulation_steps: int = 1) -> None:
  """Checks, before the first step on a CPU, that a batch fits into the memory that is free.

  Args:
    model: the network. Its replicas on a CPU share the memory.
    data: settings with the batch. One that the user gave is reported to standard error; others are
      refused.
    accumulation_steps: parts that the batch is divided into.

  Raises:
    ValueError: the batch is estimated to need more memory than there is.
  """
  import tensorflow as tf

  room = available()
  if room is None or tf.config.list_logical_devices('TPU'):
    return
  per_image = needs(model).per_image
  needed = data.train_batch_size / accumulation_steps * per_image
  if needed <= room:
    return
  fitting = 2 ** (max(1, int(_SHARE * room / per_image)).bit_length() - 1)
  message = (
    f'--train_batch_size={data.train_batch_size}: a step of {model.name} would take about '
    f'{needed / 1e9:.1f} GB of memory, and {room / 1e9:.1f} GB are free; --train_batch_size='
    f'{fitting} fits, or a smaller --input_image_size'
  )
  if 'train_batch_size' not in data.given:
    raise ValueError(f'{message}; give --train_batch_size={data.train_batch_size} to try it.')
  print(f'{message}.', file=sys.stderr)


def _outputs(layer):
  output = layer.output
  tensors = output.values() if isinstance(output, dict) else output
  return list(tensors) if isinstance(tensors, (list, tuple)) else [output]


def available() -> int | None:
  """Returns the bytes of memory that programs can still take, within the limit of a container.

  None where the system does not say (only Linux does), or a GPU is used: its memory is its own.
  """
  text = files.read_text('/proc/meminfo') if os.path.exists('/proc/meminfo') else None
  if text is None or os.path.exists('/proc/driver/nvidia/version'):
    return None
  free = [line.split()[1] for line in text.splitlines() if line.startswith('MemAvailable:')]
  if not free:
    return None
  room = 1024 * int(free[0])
  limit, used = (_number(f'/sys/fs/cgroup/memory.{name}') for name in ('max', 'current'))
  return room if limit is None or used is None else min(room, max(limit - used, 0))


def _number(path):
  try:
    return int((files.read_text(path) or '').strip())
  except (ValueError, OSError):  # 'max': no limit.
    return None
