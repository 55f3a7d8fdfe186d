"""Process of the benchmark that runs this project's input or the official order of operations.

Its argument is a JSON dict of the arguments of `batches`.
"""
import itertools
import json
import sys
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tpu_utils.command_line import helper_program
from tpu_utils.images import official_order
from tpu_utils.images.benchmarking.process import serve
from tpu_utils.images.fake_input import FakeInput
from tpu_utils.images.imagenet_input import ImageNetInput
from tpu_utils.images.sources import open_dataset
from tpu_utils.images.spec import Augmentation, PreprocessSpec

_AMPLE_GB = 1000.0  # Enough for all images; memory is allocated as images are decoded.
RANDAUGMENT = {'randaug_num_layers': 2, 'randaug_magnitude': 10}
# {augmentation: arguments of `Augmentation`}.
OURS: dict[str, dict[str, Any]] = {
  'none': {},
  'autoaugment': {'augment_name': 'autoaugment'},
  'randaugment': {'augment_name': 'randaugment', **RANDAUGMENT},
  'mixup': {'mixup_alpha': 0.2},
  'cutmix': {'cutmix_alpha': 1.0},
  'random_erasing': {'random_erasing_prob': 0.25},
}
# {augmentation: arguments of `official_order.train_dataset`}.
OFFICIAL: dict[str, dict[str, Any]] = {
  'none': {},
  'autoaugment': {'augment': official_order.autoaugment_v0},
  'randaugment': {
    'augment': lambda image: official_order.randaugment(image, *RANDAUGMENT.values())
  },
  'mixup': {'mixup_alpha': 0.2},
}


def batches(
  contestant: str,
  augmentation: str,
  data: dict[str, Any] | None,
  image_size: int,
  batch_size: int,
  use_bfloat16: bool,
  transpose_input: bool,
  num_parallel_calls: int,
  num_classes: int,
  num_cached_images: int = 0,
) -> Iterator[Any]:
  """Returns an iterator over the training batches of a contestant.

  Args:
    contestant: 'ours', 'official' or 'decode_resize', which only decodes and resizes.
    augmentation: key of `OURS` or `OFFICIAL`; 'none' for 'decode_resize'.
    data: arguments of `open_dataset`, with `data_dir` unless the contestant is 'ours'; None
      for the fake input.
    image_size: height and width of the images in pixels.
    batch_size: images in a batch.
    use_bfloat16: whether images are bfloat16 instead of float32.
    transpose_input: whether a batch is [height, width, 3, batch].
    num_parallel_calls: number of images prepared in parallel.
    num_classes: width of the one-hot labels.
    num_cached_images: for 'ours': number of images to decode into memory before the first batch.
  """
  if contestant in ('official', 'decode_resize'):
    resize_only = contestant == 'decode_resize'
    assert data is not None  # The official order cannot read the fake input.
    dataset = official_order.train_dataset(
      data['data_dir'], image_size, batch_size, use_bfloat16, transpose_input and not resize_only,
      parallel_calls=num_parallel_calls, resize_only=resize_only, **OFFICIAL[augmentation],
    )  # fmt: skip
    return iter(dataset)
  spec = PreprocessSpec(image_size)
  common: dict[str, Any] = {
    'train_batch_size': batch_size,
    'num_label_classes': num_classes,
    'use_bfloat16': use_bfloat16,
    'transpose_input': transpose_input,
  }
  if data is None:
    fake = FakeInput(spec, eval_batch_size=batch_size, num_eval_images=batch_size, **common)
    return iter(fake.train_dataset())
  images = ImageNetInput(
    open_dataset(**data),
    spec,
    augmentation=Augmentation(**OURS[augmentation]),
    num_parallel_calls=num_parallel_calls,
    decoded_cache_gb=_AMPLE_GB if num_cached_images else 0,
    **common,
  )
  num_skipped = -(-num_cached_images // batch_size)  # Taking these batches fills the cache.
  return itertools.islice(iter(images.train_dataset()), num_skipped, None)


if __name__ == '__main__':
  helper_program.explain(__doc__)
  # Idle threads that spin would count as processor time.
  tf.config.threading.set_intra_op_parallelism_threads(1)
  serve(batches(**json.loads(sys.argv[1])))
