"""Tests that every kind of storage behaves alike, alone and under `ImageNetInput`."""
import collections
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.tpu_utils.images import small_sets
from tpu_utils.images.imagenet_input import ImageNetInput
from tpu_utils.images.sources import open_dataset
from tpu_utils.images.sources.shards import Shards
from tpu_utils.images.spec import Augmentation, PreprocessSpec

pytestmark = pytest.mark.slow

SPEC = PreprocessSpec(image_size=4, crop='whole')
TRAIN, EVAL = small_sets.COUNTS['train'], small_sets.COUNTS['validation']
KINDS = ('shards', 'image_folder', 'tfds_tfrecord', 'tfds_array_record')


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """{kind: arguments of `open_dataset`}; each set is written when it is first used."""

  def write(kind):
    folder = tmp_path_factory.mktemp(kind)
    if kind.startswith('tfds_'):
      return {
        'dataset': 'trees',
        'tfds_data_dir': small_sets.tfds_set(folder, kind.removeprefix('tfds_')),
      }
    return {'data_dir': getattr(small_sets, kind)(folder)}

  class Folders(collections.UserDict):
    def __missing__(self, kind):
      self[kind] = write(kind)
      return self[kind]

  return Folders()


@pytest.fixture(params=KINDS)
def data(request, folders):
  return open_dataset(**folders[request.param])


def make_input(data, **settings):
  settings = {
    'train_batch_size': 6,
    'eval_batch_size': 6,
    'num_label_classes': 3,
    'augmentation': Augmentation(flip=False),
  } | settings
  return ImageNetInput(data, SPEC, **settings)


def context(pipelines=1, pipeline=0, replicas=1):
  return tf.distribute.InputContext(pipelines, pipeline, replicas)


def take(dataset, count):
  return [{k: v.numpy() for k, v in batch.items()} for batch in dataset.take(count)]


def colours(batches):
  """Returns the colours of the images of weight 1, after checking their labels."""
  found = []
  for batch in batches:
    weights = batch.get('weights', np.ones(len(batch['images'])))
    for image, label, weight in zip(batch['images'], batch['labels'], weights, strict=True):
      if weight:
        found.append(int(round(float(image[0, 0, 0]))))
        assert label.argmax() == found[-1] % small_sets.NUM_CLASSES
  return found


def read(source, first, last):
  bounds = tf.data.Dataset.from_tensors((np.int64(first), np.int64(last)))
  return [(int(n), d.numpy()) for n, d in bounds.flat_map(source.read)]


class TestSource:
  def test_counts_and_classes(self, data):
    # Shards without a manifest do not contain their number of classes.
    assert data.num_classes == (None if isinstance(data, Shards) else 3)
    assert [len(data.open(split)) for split in ('train', 'validation')] == [TRAIN, EVAL]

  @pytest.mark.parametrize('first, last', [(0, TRAIN), (0, 1), (3, 11), (30, TRAIN), (4, 4)])
  def test_any_range_in_order(self, data, first, last):
    source = data.open('train')
    whole = [(n, source.read_one(n)) for n in range(TRAIN)]
    assert read(source, first, last) == whole[first:last]

  def test_parse(self, data):
    source = data.open('train')
    seen = []
    for n in range(len(source)):
      image, label = source.parse(n, source.read_one(n))
      colour = int(tf.io.decode_png(image)[0, 0, 0])
      assert int(label) == colour % 3 + source.lowest_label
      seen.append(colour)
    assert sorted(seen) == list(range(TRAIN))

  def test_each_example_has_a_name_of_its_own(self, data):
    source = data.open('validation')
    assert len({source.where(n) for n in range(len(source))}) == EVAL


class TestInput:
  def test_each_epoch_has_each_image_once(self, data):
    seen = colours(take(make_input(data, train_batch_size=TRAIN).train_dataset(), 3))
    epochs = [seen[i : i + TRAIN] for i in (0, TRAIN, 2 * TRAIN)]
    for epoch in epochs:
      assert sorted(epoch) == list(range(TRAIN))
    assert epochs[0] != epochs[1] != epochs[2]

  def test_is_a_function_of_the_seed_and_resumes_at_any_step(self, data):
    whole = take(make_input(data, seed=3).train_dataset(), 15)
    # The batch of step 6 spans two epochs. All kinds of storage share the code for the order.
    for start in (1, 6, 14) if isinstance(data, Shards) else (6,):
      resumed = take(make_input(data, seed=3).train_dataset(None, start * 6), 15 - start)
      for found, expected in zip(resumed, whole[start:], strict=True):
        np.testing.assert_array_equal(found['images'], expected['images'])
        np.testing.assert_array_equal(found['labels'], expected['labels'])
    if isinstance(data, Shards):
      other = take(make_input(data, seed=4).train_dataset(), 15)
      assert colours(other) != colours(whole)

  @pytest.mark.parametrize('hosts, replicas', [(1, 1), (1, 2), (2, 4)])
  def test_resumes_with_the_next_example_in_batches_of_another_size(self, data, hosts, replicas):
    if hosts == 1 and not isinstance(data, Shards):
      pytest.skip('All kinds of storage share the code for the order.')
    where = context(hosts, hosts - 1, replicas)

    def batches(size, start, count):
      images = make_input(data, train_batch_size=size, seed=3)
      return take(images.train_dataset(where, start), count * replicas // hosts)

    whole = batches(8, 0, 11)
    resumed = [*batches(8, 0, 3), *batches(12, 3 * 8, 4), *batches(16, 3 * 8 + 4 * 12, 1)]
    for name in ('images', 'labels'):
      joined = [np.concatenate([b[name] for b in some]) for some in (whole, resumed)]
      np.testing.assert_array_equal(*joined)

  @pytest.mark.parametrize('hosts', [2])
  def test_hosts_share_images_without_remainder(self, data, hosts):
    """In its own epoch each host sees each of its images once; together they see all images."""
    images = make_input(data, train_batch_size=hosts)
    shares = [TRAIN * (h + 1) // hosts - TRAIN * h // hosts for h in range(hosts)]
    seen = [
      colours(take(images.train_dataset(context(hosts, h, hosts)), share))
      for h, share in enumerate(shares)
    ]
    assert sorted(sum(seen, [])) == list(range(TRAIN))

  @pytest.mark.parametrize('hosts, replicas', [(1, 1), (2, 4), (3, 3)])
  def test_evaluation_sees_every_image_once(self, data, hosts, replicas):
    if hosts == 3 and not isinstance(data, Shards):
      pytest.skip('Hosts share alike in all kinds of storage.')
    images = make_input(data, eval_batch_size=12)
    batches = [take(images.eval_dataset(context(hosts, h, replicas)), -1) for h in range(hosts)]
    assert len({len(b) for b in batches}) == 1 and len(batches[0]) % (replicas // hosts) == 0
    assert sorted(colours(sum(batches, []))) == list(range(EVAL))


@pytest.mark.parametrize('kind', ['image_folder', 'tfds_tfrecord', 'tfds_array_record'])
def test_holdout_fraction(folders, kind):
  data = open_dataset(**folders[kind], holdout_fraction=0.2)
  counts = [len(data.open(split)) for split in ('train', 'validation')]
  assert counts == [30, 7]
  images = make_input(data, train_batch_size=counts[0])
  train, held_out = (
    colours(take(images.train_dataset(), 1)),
    colours(take(images.eval_dataset(), -1)),
  )
  assert sorted(train + held_out) == list(range(TRAIN))
  assert {c % 3 for c in held_out} == {0, 1, 2}
  again = make_input(open_dataset(**folders[kind], holdout_fraction=0.2))
  assert colours(take(again.eval_dataset(), -1)) == held_out


def test_the_cache_is_used_and_changes_nothing(tmp_path):
  folder = small_sets.image_folder(tmp_path)
  expected = take(make_input(folder).train_dataset(), 18)
  cached = make_input(folder, use_cache=True)
  first = take(cached.train_dataset(), 18)
  shutil.rmtree(tmp_path)
  for start in (0, 5):
    found = take(cached.train_dataset(None, start * 6), 18 - start)
    for a, b, c in zip(found, first[start:], expected[start:], strict=True):
      np.testing.assert_array_equal(a['images'], b['images'])
      np.testing.assert_array_equal(a['images'], c['images'])
