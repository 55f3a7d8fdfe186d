"""Batches from TFRecord shards: order, resume, hosts, padding, and errors for bad data."""
import collections
import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.tpu_utils.images.small_sets import example, png, write_shards
from tpu_utils.images import digits, stream
from tpu_utils.images.imagenet_input import ImageNetInput
from tpu_utils.images.sources import open_dataset
from tpu_utils.images.spec import Augmentation, PreprocessSpec

pytestmark = pytest.mark.slow

SPEC = PreprocessSpec(image_size=8, crop='whole')
PLAIN = Augmentation(flip=False, area_range=(0.5, 1.0))


def digits_input(**settings):
  settings = {
    'train_batch_size': 32, 'eval_batch_size': 48, 'num_label_classes': 10, 'augmentation': PLAIN
  } | settings
  data, spec = settings.pop('data', digits.DATA_DIR), settings.pop('spec', SPEC)
  return ImageNetInput(data, spec, **settings)


def context(pipelines=1, pipeline=0, replicas=1):
  return tf.distribute.InputContext(pipelines, pipeline, replicas)


def take(dataset, count):
  return [{k: v.numpy() for k, v in batch.items()} for batch in dataset.take(count)]


def assert_equal(batches, others):
  assert len(batches) == len(others)
  for batch, other in zip(batches, others, strict=True):
    assert batch.keys() == other.keys()
    for key in batch:
      np.testing.assert_array_equal(batch[key], other[key])


def numbered_images(folder, split, counts):
  """Writes shards of single-colour images; each image has its own colour and label."""
  numbers = iter(range(sum(counts)))
  shards = [[example(png(n), n + 1) for n in itertools.islice(numbers, count)] for count in counts]
  write_shards(folder, split, shards)


def colours(batches):
  return [int(round(float(c))) for b in batches for c in b['images'][:, 0, 0, 0]]


class TestTraining:
  def test_shapes_and_types(self):
    spec = digits_input().train_dataset().element_spec
    assert spec == {
      'images': tf.TensorSpec([32, 8, 8, 3], tf.float32),
      'labels': tf.TensorSpec([32, 10], tf.float32),
    }

  def test_bfloat16_and_transposition(self):
    plain = take(digits_input().train_dataset(), 1)[0]['images']
    changed = digits_input(use_bfloat16=True, transpose_input=True).train_dataset()
    assert changed.element_spec['images'] == tf.TensorSpec([8, 8, 3, 32], tf.bfloat16)
    images = take(changed, 1)[0]['images'].astype(np.float32)
    rounded = tf.cast(tf.cast(plain, tf.bfloat16), tf.float32)
    np.testing.assert_array_equal(images.transpose(3, 0, 1, 2), rounded)

  def test_each_epoch_has_each_image_once_with_its_label(self, tmp_path):
    numbered_images(tmp_path, 'train', (7, 1, 52))
    pipeline = digits_input(data=str(tmp_path), train_batch_size=12, num_label_classes=60)
    batches = take(pipeline.train_dataset(), 15)
    seen = colours(batches)
    labels = [int(i) for b in batches for i in b['labels'].argmax(1)]
    assert labels == seen
    epochs = [seen[i : i + 60] for i in (0, 60, 120)]
    for epoch in epochs:
      assert sorted(epoch) == list(range(60))
    assert epochs[0] != epochs[1] != epochs[2]

  def test_is_a_function_of_the_seed(self):
    batches = take(digits_input().train_dataset(), 3)
    assert_equal(batches, take(digits_input().train_dataset(), 3))
    other = take(digits_input(seed=1).train_dataset(), 1)
    assert np.abs(other[0]['images'] - batches[0]['images']).max() > 1

  @pytest.mark.parametrize('replicas', [1, 2])
  def test_resumes_at_any_step(self, replicas):
    steps = 60  # More than an epoch of 1442 images.
    where = context(replicas=replicas)
    whole = take(digits_input().train_dataset(where), steps * replicas)
    for start in (1, 44, 46):
      resumed = digits_input().train_dataset(where, 32 * start)
      assert_equal(take(resumed, (steps - start) * replicas), whole[start * replicas :])

  def test_replicas_of_a_host_share_the_same_batches(self):
    one = np.concatenate([b['images'] for b in take(digits_input().train_dataset(), 2)])
    for replicas in (2, 4):
      dataset = digits_input().train_dataset(context(replicas=replicas))
      parts = [b['images'] for b in take(dataset, 2 * replicas)]
      np.testing.assert_array_equal(np.concatenate(parts), one)

  def test_resumes_within_and_after_a_window(self, tmp_path):
    """With more images than a window holds."""
    records = [example(png(n % 256), n % 256 + 1) for n in range(stream.WINDOW + 500)]
    write_shards(tmp_path, 'train', [records[:1000], records[1000:]])

    def dataset(start):
      pipeline = digits_input(data=str(tmp_path), train_batch_size=100, num_label_classes=256)
      return pipeline.train_dataset(None, 100 * start)

    whole = take(dataset(0), 30)
    counts = collections.Counter(int(i) for b in whole for i in b['labels'].argmax(1))
    assert sum(counts.values()) == 3000 and len(counts) == 256
    for start in (7, 20, 21, 26):
      assert_equal(take(dataset(start), 30 - start), whole[start:])

  def test_hosts_share_the_images(self, tmp_path):
    numbered_images(tmp_path, 'train', (10, 40, 10))
    settings = {'data': str(tmp_path), 'train_batch_size': 30, 'num_label_classes': 60}
    seen = [
      colours(take(digits_input(**settings).train_dataset(context(3, host, 3)), 2))
      for host in range(3)
    ]
    assert sorted(sum(seen, [])) == list(range(60))

  def test_each_use_of_an_image_has_another_crop(self):
    images = [b['images'] for b in take(digits_input(train_batch_size=1).train_dataset(), 2)]
    assert np.abs(images[0] - images[1]).max() > 1

  def test_holdout(self, tmp_path):
    numbered_images(tmp_path, 'train', (3, 4, 5))
    data = open_dataset(str(tmp_path), holdout_shards=1)
    pipeline = digits_input(data=data, train_batch_size=9, eval_batch_size=3, num_label_classes=12)
    assert sorted(colours(take(pipeline.train_dataset(), 1))) == list(range(3, 12))
    assert colours(take(pipeline.eval_dataset(), -1)) == [0, 1, 2]
    assert (pipeline.num_train_images, pipeline.num_eval_images) == (9, 3)
    with pytest.raises(ValueError, match='holdout_shards=3 must be between 1 and 2'):
      digits_input(data=open_dataset(str(tmp_path), holdout_shards=3)).train_dataset()

  def test_background_label(self, tmp_path):
    write_shards(tmp_path, 'train', [[example(png(9), 1000)]])
    for classes, expected in ((1000, 999), (1001, 1000)):
      pipeline = digits_input(data=str(tmp_path), train_batch_size=1, num_label_classes=classes)
      assert take(pipeline.train_dataset(), 1)[0]['labels'].argmax() == expected


class TestEvaluation:
  @pytest.mark.parametrize('hosts, replicas', [(1, 1), (1, 4), (2, 4), (3, 3)])
  def test_every_image_once_and_equal_hosts(self, hosts, replicas):
    counts, images = [], []
    for host in range(hosts):
      where = context(hosts, host, replicas)
      batches = take(digits_input(eval_batch_size=24).eval_dataset(where), -1)
      counts.append(len(batches))
      for batch in batches:
        assert batch['images'].shape == (24 // replicas, 8, 8, 3)
        assert set(batch['weights']) <= {0.0, 1.0}
        assert not batch['images'][batch['weights'] == 0].any()
        images.extend(batch['images'][batch['weights'] == 1])
    assert len(set(counts)) == 1 and counts[0] % (replicas // hosts) == 0
    assert counts[0] == digits_input(eval_batch_size=24).num_eval_batches * (replicas // hosts)
    assert len(images) == digits.NUM_EVAL_IMAGES
    assert len({i.tobytes() for i in images}) == digits.NUM_EVAL_IMAGES

  def test_in_file_order_without_randomness(self, tmp_path):
    numbered_images(tmp_path, 'validation', (33, 40))
    pipeline = digits_input(data=str(tmp_path), eval_batch_size=73, num_label_classes=73)
    assert colours(take(pipeline.eval_dataset(), -1)) == list(range(73))


class TestBadData:
  """Each error is one line that names the file and, for a bad record, its number."""

  def fails(self, tmp_path, records, match, split='train', **settings):
    """Asserts that the error for record 2 of `records`, the second of two shards, is `match`."""
    write_shards(tmp_path, split, [[example(png(1), 1)] * 40, records])
    settings = {'train_batch_size': 10, 'eval_batch_size': 10, 'data': str(tmp_path)} | settings
    pipeline = digits_input(**settings)
    dataset = pipeline.train_dataset() if split == 'train' else pipeline.eval_dataset()
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
      take(dataset, 10)
    error = pipeline.explain(caught.value)
    assert isinstance(error, ValueError) and '\n' not in str(error)
    assert str(error).startswith(f'{tmp_path}/{split}-00001-of-00002, record 2: ')
    assert match in str(error)

  good = example(png(1), 1)

  @pytest.mark.parametrize('split', ['train', 'validation'])
  @pytest.mark.parametrize(
    'bad, match',
    [
      (example(png(1), 11), 'image/class/label is 11, expected 1 to 10'),
      (example(png(1), 0), 'image/class/label is 0, expected 1 to 10'),
      (example(png(1), None), 'image/class/label is -1'),
      (example(b'no image', 1), 'its 8 bytes are no image that can be decoded'),
      (example(png(1)[:60], 1), 'its 60 bytes are no image that can be decoded'),
      (example(None, 1), 'its 0 bytes are no image that can be decoded'),
      (b'no example', 'not a valid tf.train.Example'),
      (b'\x80', 'not a valid tf.train.Example'),
    ],
  )
  def test_one_bad_record(self, tmp_path, bad, match, split):
    self.fails(tmp_path, [self.good] * 2 + [bad] + [self.good] * 2, match, split)

  def test_a_set_of_only_bad_records_fails_early(self, tmp_path):
    write_shards(tmp_path, 'train', [[example(png(1), 11)] * 3])
    with pytest.raises(ValueError, match='train-00000-of-00001, record 0: image/class/label is 11'):
      digits_input(data=str(tmp_path)).train_dataset()

  def test_checksum(self, tmp_path):
    write_shards(tmp_path, 'train', [[self.good] * 40])
    pipeline = digits_input(data=str(tmp_path), train_batch_size=10)
    dataset = pipeline.train_dataset()
    path = tmp_path / 'train-00000-of-00001'
    data = bytearray(path.read_bytes())
    data[len(data) // 40 * 5 + 20] ^= 1
    path.write_bytes(data)
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
      take(dataset, 10)
    error = pipeline.explain(caught.value)
    assert str(error).startswith(f'{path}, record 5: the data do not match')

  def test_does_not_explain_other_errors(self):
    assert digits_input().explain(tf.errors.InvalidArgumentError(None, None, 'NaN')) is None

  def test_more_hosts_than_records(self, tmp_path):
    write_shards(tmp_path, 'train', [[self.good] * 3])
    with pytest.raises(ValueError, match='3 records for 4 hosts'):
      digits_input(data=str(tmp_path)).train_dataset(context(4, 0, 4))


def test_two_replicas_draw_their_batches_in_turn():
  """One pipeline feeds both replicas of a strategy, as in the trainer."""
  strategy = tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])
  pipeline = digits_input()
  iterator = iter(strategy.distribute_datasets_from_function(pipeline.train_dataset))
  expected = take(digits_input().train_dataset(context(replicas=2)), 4)
  for step in range(2):
    values = strategy.experimental_local_results(next(iterator)['images'])
    for replica, images in enumerate(values):
      np.testing.assert_array_equal(images, expected[2 * step + replica]['images'])


MIXING = {'mixup_alpha': 0.4, 'cutmix_alpha': 1.0, 'random_erasing_prob': 0.5}


@pytest.mark.parametrize(
  'settings',
  [MIXING, {'augment_name': 'autoaugment'}, {'augment_name': 'randaugment', 'mixup_alpha': 0.2}],
)
def test_augmented_batches_resume_and_differ_from_plain_ones(settings):
  """Policies and mixing, like crops, are a function of seed and position."""

  def batches(start, count, **settings):
    augmentation = Augmentation(flip=False, **settings)
    dataset = digits_input(augmentation=augmentation).train_dataset(context(), 32 * start)
    return take(dataset, count)

  whole = batches(0, 3, **settings)
  resumed = batches(1, 2, **settings)
  assert_equal(resumed, whole[1:])
  plain = batches(0, 1)
  assert np.any(whole[0]['images'] != plain[0]['images'])
  mixed = any(np.any((batch['labels'] > 0) & (batch['labels'] < 1)) for batch in whole)
  assert mixed == ('mixup_alpha' in settings)
  for batch in whole:
    np.testing.assert_allclose(np.sum(batch['labels'], axis=1), 1.0, rtol=1e-5)
