"""Process in which `efficientnet.finetune_comparison` fine-tunes as timm's train.py does.

Argument: the JSON file that describes the training. Source of the recipe: the defaults of train.py
in huggingface/pytorch-image-models at aa4b585: SGD with Nesterov momentum at 0.1 for batches of 256
(scaled linearly), weight decay, a cosine schedule after 5 epochs of warm-up, label smoothing,
random crops, flips and changes of colour. Epochs (300 there) and batch (128) are the comparison's.
"""
import sys

from tpu_utils.command_line import helper_program

if __name__ == '__main__':
  helper_program.explain(__doc__)

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2

from tpu_utils import files

RATE, RATE_BATCH = 0.1, 256
WEIGHT_DECAY, MOMENTUM = 2e-5, 0.9
WARMUP_EPOCHS, WARMUP_RATE = 5, 1e-5
SMOOTHING, COLOR_JITTER = 0.1, 0.4


class Pictures(torch.utils.data.Dataset):
  """Pictures of a list (path, class), transformed."""

  def __init__(
    self, pictures: Sequence[tuple[str, int]], transform: Callable[[Image.Image], torch.Tensor]
  ) -> None:
    self._pictures, self._transform = pictures, transform

  def __len__(self) -> int:
    """Returns the number of pictures."""
    return len(self._pictures)

  def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
    """Returns (float tensor [3, height, width], class)."""
    path, label = self._pictures[index]
    return self._transform(Image.open(path).convert('RGB')), label


def loader(job: Mapping[str, Any], part: str, model: Any) -> Any:
  """Returns batches of a part of the pictures, prepared as timm prepares them."""
  config = resolve_data_config({'img_size': job['image_size']}, model=model)
  training = part == 'train'
  transform = create_transform(
    config['input_size'],
    is_training=training,
    color_jitter=COLOR_JITTER,
    interpolation='random' if training else config['interpolation'],
    mean=config['mean'],
    std=config['std'],
    crop_pct=config['crop_pct'],
  )
  pictures = Pictures(job['pictures'][part], transform)
  return torch.utils.data.DataLoader(pictures, job['batch'], shuffle=training, drop_last=training)


def train(model: Any, batches: Any, epochs: int) -> None:
  """Trains a model by timm's defaults for a number of epochs."""
  criterion = LabelSmoothingCrossEntropy(SMOOTHING)
  optimizer = create_optimizer_v2(
    model,
    'sgd',
    lr=RATE * batches.batch_size / RATE_BATCH,
    weight_decay=WEIGHT_DECAY,
    momentum=MOMENTUM,
  )
  scheduler, epochs = create_scheduler_v2(
    optimizer, 'cosine', epochs, warmup_epochs=WARMUP_EPOCHS, warmup_lr=WARMUP_RATE, min_lr=0
  )
  for epoch in range(epochs):
    model.train()
    for images, labels in batches:
      optimizer.zero_grad()
      criterion(model(images.to(memory_format=torch.channels_last)), labels).backward()
      optimizer.step()
    scheduler.step(epoch + 1)


def accuracy(model: Any, batches: Any) -> float:
  """Returns the share of pictures that a model classifies rightly."""
  model.eval()
  with torch.inference_mode():
    right = sum((model(images).argmax(1) == labels).sum().item() for images, labels in batches)
  return right / len(batches.dataset)


def main(path: str) -> None:
  """Trains and evaluates a model.

  Args:
    path: JSON of the pictures, model, weights, seed, image size, epochs and output file.
  """
  with open(path, encoding='utf-8') as file:
    job = json.load(file)
  torch.manual_seed(job['seed'])
  name = f'tf_{job["model_name"].replace("-", "_")}'
  model = timm.create_model(name, checkpoint_path=job['weights'])
  model.reset_classifier(max(label for _, label in job['pictures']['train']) + 1)
  model = model.to(memory_format=torch.channels_last)
  train(model, loader(job, 'train', model), math.ceil(job['epochs']))
  found = accuracy(model, loader(job, 'validation', model))
  files.append_json_line(job['output'], {'top_1_accuracy': found})


if __name__ == '__main__':
  main(sys.argv[1])
