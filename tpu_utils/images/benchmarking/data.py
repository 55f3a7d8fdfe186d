"""The images that the benchmark reads, in each kind of storage."""
import os

import numpy as np
import tensorflow as tf

from tpu_utils.images.preparation import job
from tpu_utils.images.prepare import PrepareConfig

# ImageNet's photographs: most are 500 x 375, without chroma subsampling, about 110 KB.
_SIDES = (375, 500)
_QUALITY = 97
_PHOTOGRAPHS = ('astronaut', 'chelsea', 'coffee', 'rocket', 'retina', 'hubble_deep_field')
_TFDS_NAME = 'benchmark_images'


def photographs(count, seed=0):
  """JPEGs as ImageNet's: random crops of the photographs that scikit-image and scikit-learn carry.

  Args:
    count: how many.
    seed: of the crops.

  Yields:
    (bytes, class): the class is the photograph's number.

  Raises:
    ValueError: one of the two packages is not installed.
  """
  try:
    import skimage.data
    import sklearn.datasets
  except ImportError as e:
    raise ValueError(
      f'{e.name} is not installed, whose photographs are the images of this benchmark; pip install '
      'scikit-image scikit-learn, or give images of your own with --data_dir.'
    ) from None
  images = [getattr(skimage.data, name)() for name in _PHOTOGRAPHS]
  images = [_enlarged(image) for image in [*images, *sklearn.datasets.load_sample_images().images]]
  generator = np.random.default_rng(seed)
  for n in range(count):
    image = images[n % len(images)]
    sides = _SIDES if generator.random() < 0.75 else _SIDES[::-1]
    y, x = (generator.integers(0, have - side + 1) for have, side in zip(image.shape, sides, strict=False))
    crop = np.ascontiguousarray(image[y : y + sides[0], x : x + sides[1]])
    yield tf.io.encode_jpeg(crop, quality=_QUALITY, chroma_downsampling=False).numpy(), n % len(images)


def _enlarged(image):
  """The image, enlarged until any crop fits and there is some choice."""
  scale = 1.1 * max(_SIDES) / min(image.shape[:2])
  if scale <= 1:
    return image
  size = [round(scale * side) for side in image.shape[:2]]
  return tf.cast(tf.clip_by_value(tf.image.resize(image, size, 'bicubic'), 0, 255), tf.uint8).numpy()


def first_images(dataset, count):
  """Yields (bytes, class) of the first `count` training images of a data set (`sources.open_dataset`)."""
  source = dataset.open('train')
  for n in range(min(count, len(source))):
    image, label = source.parse(n, source.read_one(n))
    yield image.numpy(), int(label) - source.lowest_label


def write_folder(folder, images):
  """Writes images as folder/train/CLASS/NUMBER.jpg, and the first of each class for validation, too.

  Args:
    folder: a new one.
    images: (bytes, class) of each.

  Returns:
    How many images there are, and the bytes of all of them.
  """
  count = size = 0
  for count, (data, label) in enumerate(images, start=1):
    size += len(data)
    for split in ('train', 'validation'):
      of_class = os.path.join(folder, split, f'{label:04d}')
      os.makedirs(of_class, exist_ok=True)
      if split == 'train' or not os.listdir(of_class):
        with open(os.path.join(of_class, f'{count:06d}.jpg'), 'wb') as file:
          file.write(data)
  return count, size


def write_shards(folder, image_folder, num_processes=1):
  """Writes what `write_folder` wrote as official shards."""
  job.prepare(PrepareConfig(output_dir=folder, input_dir=image_folder, max_bad_images=0), num_processes)


def write_tfds(folder, image_folder):
  """Writes what `write_folder` wrote as a TFDS set; returns its name."""
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
    features=tfds.features.FeaturesDict(
      {'image': tfds.features.Image(encoding_format='jpeg'), 'label': tfds.features.ClassLabel(names=classes)}
    ),
    disable_shuffling=True,
  )
  return _TFDS_NAME
