"""An evenly spread sample of the digits."""
import numpy as np

from tpu_utils.image_jobs.reporting import pictures
from tpu_utils.images import digits
from tpu_utils.images.imagenet_input import ImageNetInput
from tpu_utils.images.sources import open_dataset, sample
from tpu_utils.images.spec import PreprocessSpec

SPEC = PreprocessSpec(8, crop='whole')


def labels_of(data):
  images = ImageNetInput(data, SPEC, eval_batch_size=8, num_label_classes=10)
  found = []
  for batch in images.eval_dataset().as_numpy_iterator():
    found += batch['labels'][batch['weights'] > 0].argmax(-1).tolist()
  return found


def test_a_sample_has_every_nth_image():
  data = open_dataset(digits.DATA_DIR)
  whole = labels_of(data)
  part = sample.Sample(data, 20)
  assert labels_of(part) == [whole[n * len(whole) // 20] for n in range(20)]
  assert part.class_names == data.class_names and part.open('train') is data.open('train')
  source = part.open('validation')
  assert source.where(1) == data.open('validation').where(len(whole) // 20)
  assert pictures.original(source, 3).startswith(b'\x89PNG')


def test_small_sets_are_taken_whole():
  data = open_dataset(digits.DATA_DIR)
  assert sample.Sample(data, 5000).open('validation') is data.open('validation')


def test_augmentation_draws_anew_and_always_the_same():
  images = ImageNetInput(
    open_dataset(digits.DATA_DIR), SPEC, num_label_classes=10, augmentation=digits.AUGMENTATION
  )
  found = pictures.augmented(images, 2, 3)
  assert found.shape == (2, 4, 8, 8, 3) and found.dtype == np.uint8
  assert len({found[0, n].tobytes() for n in range(4)}) == 4
  np.testing.assert_array_equal(found, pictures.augmented(images, 2, 3))
  assert pictures.grid(found).startswith(b'\x89PNG')
