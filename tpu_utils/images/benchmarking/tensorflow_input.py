"""The process in which this project's input, or the official order of operations, makes batches.

Its argument is a JSON dict; see `batches`.
"""
import itertools
import json
import sys

import tensorflow as tf

from tpu_utils.images import official_order
from tpu_utils.images.benchmarking.process import serve
from tpu_utils.images.fake_input import FakeInput
from tpu_utils.images.imagenet_input import ImageNetInput
from tpu_utils.images.sources import open_dataset
from tpu_utils.images.spec import Augmentation, PreprocessSpec

_AMPLE_GB = 1000.0  # Memory is taken for the images there are.
RANDAUGMENT = {'randaug_num_layers': 2, 'randaug_magnitude': 10}
OURS = {
  'none': {},
  'autoaugment': {'augment_name': 'autoaugment'},
  'randaugment': {'augment_name': 'randaugment', **RANDAUGMENT},
  'mixup': {'mixup_alpha': 0.2},
  'cutmix': {'cutmix_alpha': 1.0},
  'random_erasing': {'random_erasing_prob': 0.25},
}
OFFICIAL = {
  'none': {},
  'autoaugment': {'augment': official_order.autoaugment_v0},
  'randaugment': {'augment': lambda image: official_order.randaugment(image, *RANDAUGMENT.values())},
  'mixup': {'mixup_alpha': 0.2},
}


def batches(
  contestant, augmentation, data, image_size, batch_size, use_bfloat16, transpose_input, num_parallel_calls,
  num_classes, num_cached_images=0,
):  # fmt: skip
  """The training batches of a contestant: an iterator.

  Args:
    contestant: 'ours' or 'official'.
    augmentation: key of `OURS` or `OFFICIAL`.
    data: arguments of `open_dataset`; None for the fake input. The official order reads its `data_dir`.
    image_size: pixels a side.
    batch_size: images in a batch.
    use_bfloat16: images in bfloat16.
    transpose_input: images as [height, width, 3, batch].
    num_parallel_calls: images prepared side by side.
    num_classes: width of the one-hot labels.
    num_cached_images: how many images our input has decoded and in memory before the first batch.
  """
  if contestant == 'official':
    dataset = official_order.train_dataset(
      data['data_dir'], image_size, batch_size, use_bfloat16, transpose_input,
      parallel_calls=num_parallel_calls, **OFFICIAL[augmentation],
    )  # fmt: skip
    return iter(dataset)
  spec = PreprocessSpec(image_size)
  common = {
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
  made = iter(images.train_dataset())
  return itertools.islice(made, -(-num_cached_images // batch_size), None)


if __name__ == '__main__':
  tf.config.threading.set_intra_op_parallelism_threads(1)  # Threads that wait in loops would count as work.
  serve(batches(**json.loads(sys.argv[1])))
