"""Images for the benchmark, and functions that store them in each kind of storage."""
import os
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from tpu_utils.images.preparation import job
from tpu_utils.images.prepare import PrepareConfig
from tpu_utils.images.sources.interface import DataSet

# Like ImageNet's photographs: most are 500 x 375, without chroma subsampling, about 110 KB.
_SIDES = (375, 500)
_QUALITY = 97
_PHOTOGRAPHS = ('astronaut', 'chelsea', 'coffee', 'rocket', 'retina', 'hubble_deep_field')
_TFDS_NAME = 'benchmark_images'


def photographs(count: int, seed: int = 0) -> Iterator[tuple[bytes, int]]:
  """Makes JPEGs like ImageNet's: random crops of the photographs in scikit-image and scikit-learn.

  Args:
    count: number of images.
    seed: seed for the crops.

  Yields:
    (encoded image, class): the class is the index of the photograph.

  Raises:
    ValueError: one of the two packages is not installed.
  """
  try:
    import skimage.data
    import sklearn.datasets
  except ImportError as e:
    raise ValueError(
      f'{e.name} is not installed, and this benchmark uses its photographs; pip install '
      'scikit-image scikit-learn, or give your own images with --data_dir.'
    ) from None
  images = [getattr(skimage.data, name)() for name in _PHOTOGRAPHS]
  images += sklearn.datasets.load_sample_images().images
  images = [_enlarge(image) for image in images]
  generator = np.random.default_rng(seed)
  for n in range(count):
    image = images[n % len(images)]
    sides = _SIDES if generator.random() < 0.75 else _SIDES[::-1]
    y, x = (generator.integers(0, image.shape[i] - sides[i] + 1) for i in range(2))
    crop = np.ascontiguousarray(image[y : y + sides[0], x : x + sides[1]])
    encoded = tf.io.encode_jpeg(crop, quality=_QUALITY, chroma_downsampling=False)
    yield encoded.numpy(), n % len(images)


def _enlarge(image):
  """Enlarges a uint8 image if crops of both orientations would not fit with room to vary."""
  scale = 1.1 * max(_SIDES) / min(image.shape[:2])
  if scale <= 1:
    return image
  size = [round(scale * side) for side in image.shape[:2]]
  enlarged = tf.clip_by_value(tf.image.resize(image, size, 'bicubic'), 0, 255)
  return tf.cast(enlarged, tf.uint8).numpy()


def first_images(dataset: DataSet, count: int) -> Iterator[tuple[bytes, int]]:
  """Yields (encoded image, class index) for the first `count` training images of a data set."""
  source = dataset.open('train')
  for n in range(min(count, len(source))):
    image, label = source.parse(n, source.read_one(n))
    yield image.numpy(), int(label) - source.lowest_label


def write_folder(folder: str, images: Iterable[tuple[bytes, int]]) -> tuple[int, int]:
  """Writes images as folder/train/CLASS/NUMBER.jpg, and the first of each class for validation.

  Args:
    folder: a new folder.
    images: (encoded image, class index) of each.

  Returns:
    (number of images, total bytes).
  """
  count = size = 0
  for count, (data, label) in enumerate(images, start=1):
    size += len(data)
    for split in ('train', 'validation'):
      class_folder = os.path.join(folder, split, f'{label:04d}')
      os.makedirs(class_folder, exist_ok=True)
      if split == 'train' or not os.listdir(class_folder):
        with open(os.path.join(class_folder, f'{count:06d}.jpg'), 'wb') as file:
          file.write(data)
  return count, size


def write_shards(folder: str, image_folder: str, num_processes: int = 1) -> None:
  """Converts the output of `write_folder` to official shards."""
  config = PrepareConfig(output_dir=folder, input_dir=image_folder, max_bad_images=0)
  job.prepare(config, num_processes)


def write_tfds(folder: str, image_folder: str) -> str:
  """Converts the output of `write_folder` to a TFDS set; returns its name."""
  import tensorflow_datasets as tfds

  classes = sorted(os.listdir(os.path.join(image_folder, 'train')))

  def examples(split):
    root = os.path.join(image_folder, split)
    for name in classes:
      for file in sorted(os.listdir(os.path.join(root, name))):
        yield f'{name}/{file}', {'image': os.path.join(root, name, file), 'label': name}

  tfds.disable_progress_bar()
  tfds.dataset_builders.store_as_tfds_dataset(
    _TFDS_NAME,
    version='1.0.0',
    data_dir=folder,
    split_datasets={split: examples(split) for split in ('train', 'validation')},
    features=tfds.features.FeaturesDict({
      'image': tfds.features.Image(encoding_format='jpeg'),
      'label': tfds.features.ClassLabel(names=classes),
    }),
    disable_shuffling=True,
  )
  return _TFDS_NAME
