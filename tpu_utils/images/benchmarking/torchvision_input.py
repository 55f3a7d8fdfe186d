"""Process of the benchmark that runs torchvision's transforms and torch's DataLoader.

Its argument is a JSON dict of the arguments of `batches`. It uses one thread, because the benchmark
compares work per core.
"""
import json
import sys
from collections.abc import Iterator

from tpu_utils.command_line import helper_program
from tpu_utils.images.benchmarking.process import serve

if __name__ == '__main__':
  helper_program.explain(__doc__)

import torch
import torchvision
from torchvision.transforms import v2


def batches(
  augmentation: str, image_dir: str, image_size: int, batch_size: int, num_classes: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
  """Yields training batches without end.

  Args:
    augmentation: 'none', 'autoaugment', 'randaugment', 'mixup', 'cutmix' or 'random_erasing'.
    image_dir: folder of class folders.
    image_size: height and width of the images in pixels.
    batch_size: images in a batch.
    num_classes: width of the labels that mixup and cutmix return.

  Yields:
    (images float32 [batch, 3, height, width], labels). Labels are class indices, or
    [batch, num_classes] with mixup and cutmix.
  """
  transforms = torchvision.transforms
  # v1 transforms of PIL images; those of v2 are no faster on a single image.
  on_pil = {
    'autoaugment': [transforms.AutoAugment()],
    'randaugment': [transforms.RandAugment(num_ops=2, magnitude=10)],
  }
  on_tensor = {'random_erasing': [transforms.RandomErasing(0.25)]}
  mix = {'mixup': v2.MixUp, 'cutmix': v2.CutMix}.get(augmentation)
  bicubic = transforms.InterpolationMode.BICUBIC
  transform = transforms.Compose([
    transforms.RandomResizedCrop(image_size, interpolation=bicubic),
    transforms.RandomHorizontalFlip(),
    *on_pil.get(augmentation, []),
    transforms.ToTensor(),
    *on_tensor.get(augmentation, []),
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
