"""The process in which torchvision's transforms and torch's DataLoader make batches.

Its argument is a JSON dict; see `batches`. One process and one thread do all: what counts is work per core.
"""
import json
import sys

import torch
import torchvision
from torchvision.transforms import v2

from tpu_utils.images.benchmarking.process import serve


def batches(augmentation, image_dir, image_size, batch_size, num_classes):
  """Endless iterator over training batches.

  Args:
    augmentation: 'none', 'autoaugment', 'randaugment', 'mixup', 'cutmix' or 'random_erasing'.
    image_dir: folder of class folders.
    image_size: pixels a side.
    batch_size: images in a batch.
    num_classes: width of the mixed labels.
  """
  transforms = torchvision.transforms
  # Those that work on PIL images; v2's are for tensors, too, and no faster on one image.
  of_pil = {
    'autoaugment': [transforms.AutoAugment()],
    'randaugment': [transforms.RandAugment(num_ops=2, magnitude=10)],
  }
  of_tensor = {'random_erasing': [transforms.RandomErasing(0.25)]}
  mix = {'mixup': v2.MixUp, 'cutmix': v2.CutMix}.get(augmentation)
  bicubic = transforms.InterpolationMode.BICUBIC
  transform = transforms.Compose([
    transforms.RandomResizedCrop(image_size, interpolation=bicubic),
    transforms.RandomHorizontalFlip(),
    *of_pil.get(augmentation, []),
    transforms.ToTensor(),
    *of_tensor.get(augmentation, []),
  ])
  data = torchvision.datasets.ImageFolder(image_dir, transform)
  loader = torch.utils.data.DataLoader(data, batch_size, shuffle=True, drop_last=True)
  mix = mix(alpha=0.2 if augmentation == 'mixup' else 1.0, num_classes=num_classes) if mix else None
  while True:
    for images, labels in loader:
      yield mix(images, labels) if mix else (images, labels)


if __name__ == '__main__':
  torch.set_num_threads(1)
  serve(batches(**json.loads(sys.argv[1])))
