"""The cache of decoded images: same batches, one decoding per image, within the given memory."""
import numpy as np
import pytest
import skimage.data
import tensorflow as tf

from tests.tpu_utils.images import small_sets
from tpu_utils.images import preprocessing
from tpu_utils.images.decoded_cache import DecodedCache
from tpu_utils.images.imagenet_input import ImageNetInput
from tpu_utils.images.sources import open_dataset
from tpu_utils.images.spec import Augmentation, PreprocessSpec

pytestmark = pytest.mark.slow

COUNT = 12
SIZE = 60 * 80 * 3  # Bytes of a decoded image.


def photographs(folder, chroma_downsampling):
  """Writes shards of JPEGs, which are parts of one photograph."""
  photograph = skimage.data.chelsea()
  records = []
  for n in range(COUNT):
    part = photograph[20 * n : 20 * n + 60, 10 * n : 10 * n + 80]
    encoded = tf.io.encode_jpeg(part, quality=95, chroma_downsampling=chroma_downsampling).numpy()
    records.append(small_sets.example(encoded, n % 3 + 1))
  for split in ('train', 'validation'):
    small_sets.write_shards(folder, split, [records[:5], records[5:]])
  return str(folder)


@pytest.fixture(params=[False, True], ids=['full_chroma', 'half_chroma'])
def folder(request, tmp_path):
  return photographs(tmp_path, request.param)


def make_input(folder, gigabytes, **settings):
  settings = {
    'train_batch_size': 4, 'eval_batch_size': 4, 'num_label_classes': 3, 'seed': 1
  } | settings
  return ImageNetInput(folder, PreprocessSpec(32), decoded_cache_gb=gigabytes, **settings)


def take(dataset, count):
  return [{k: v.numpy() for k, v in batch.items()} for batch in dataset.take(count)]


def assert_equal(batches, others):
  for batch, other in zip(batches, others, strict=True):
    for key in batch:
      np.testing.assert_array_equal(batch[key], other[key])


def test_changes_no_number(tmp_path):
  folder = photographs(tmp_path, chroma_downsampling=False)
  for augmentation in (Augmentation(), Augmentation(augment_name='randaugment', mixup_alpha=0.2)):
    plain, cached = (make_input(folder, size, augmentation=augmentation) for size in (0, 1))
    assert_equal(take(cached.train_dataset(), 9), take(plain.train_dataset(), 9))
  assert_equal(take(cached.eval_dataset(), -1), take(plain.eval_dataset(), -1))


def test_halved_chroma_differs_only_in_the_outer_columns_of_a_window(tmp_path):
  source = open_dataset(photographs(tmp_path, chroma_downsampling=True)).open('train')
  for number in range(COUNT):
    encoded, _ = source.parse(number, source.read_one(number))
    window = np.random.default_rng(number).integers([0, 0, 10, 10], [40, 60, 20, 20])
    part, whole = (
      preprocessing.decode_and_crop(image, lambda _, window=window: tf.constant(window, tf.int32))
      for image in (encoded, preprocessing.decode(encoded))
    )
    np.testing.assert_array_equal(part[:, 1:-1], whole[:, 1:-1])


def test_batches_do_not_depend_on_the_cached_images(folder):
  """Neither after a resume, with an empty cache, nor with room for some of the images."""
  whole = take(make_input(folder, 1).train_dataset(), 9)
  for kept in (0, 5, COUNT):
    part = make_input(folder, (kept + 0.5) * SIZE / 1e9, num_parallel_calls=3)
    assert_equal(take(part.train_dataset(), 9), whole)
    assert part._decoded_cache.capacity == kept
    in_work = 2  # In addition to the one that takes the last place.
    assert kept <= len(part._decoded_cache) <= (kept and kept + in_work)
  assert_equal(take(make_input(folder, 1).train_dataset(None, 16), 5), whole[4:])


def test_an_image_is_decoded_once(folder, monkeypatch):
  cached = make_input(folder, 1)
  calls = []
  decode = preprocessing.decode

  def counted(image_bytes):
    count = tf.numpy_function(lambda: np.int64(calls.append(1) or 0), [], tf.int64)
    with tf.control_dependencies([count]):
      return decode(image_bytes)

  monkeypatch.setattr(preprocessing, 'decode', counted)
  take(cached.train_dataset(), 9)
  # An epoch is so short that an image may be decoded twice at the same time.
  assert len(calls) >= COUNT
  calls.clear()
  take(cached.train_dataset(), 9)
  assert not calls


def test_reports_how_many_images_fit(folder, capsys):
  make_input(folder, 3.5 * SIZE / 1e9).train_dataset()
  assert '3 of 12 decoded training images fit' in capsys.readouterr().err


def test_images_that_cannot_be_decoded_do_not_count(tmp_path):
  good, bad = small_sets.example(small_sets.png(1), 1), small_sets.example(b'no image', 1)
  small_sets.write_shards(tmp_path, 'train', [[good, bad, good]])
  source = open_dataset(str(tmp_path)).open('train')
  assert DecodedCache(source, 2.5 * 4 * 4 * 3 / 1e9).capacity == 2


def test_bad_records_are_skipped_as_without_the_cache(tmp_path):
  records = [small_sets.example(small_sets.png(n), 1) for n in range(7)]
  records[3] = small_sets.example(b'no image', 1)
  small_sets.write_shards(tmp_path, 'train', [records])
  plain, cached = (make_input(str(tmp_path), size, max_bad_records=9) for size in (0, 1))
  assert_equal(take(cached.train_dataset(), 4), take(plain.train_dataset(), 4))
