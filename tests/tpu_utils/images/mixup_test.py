"""Parity of mixup with the official code; CutMix and random erasing against their definitions."""
import json
import pathlib

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from tpu_utils.images import mixup

GOLDEN = json.loads(
  (pathlib.Path(__file__).parents[2] / 'goldens' / 'efficientnet' / 'tables.json').read_text()
)['mixup']


def seed(number):
  return tf.constant([5, number], tf.int64)


def eagerly(function, batch):
  return [t.numpy() for t in function(*batch)]


def in_a_dataset(function, batch):
  function = tf.autograph.experimental.do_not_convert(function)
  return [t.numpy() for t in next(iter(tf.data.Dataset.from_tensors(batch).map(function)))]


def batch_of(size, height=6, width=8, classes=5):
  """Returns images of one value each, equal to the label, and one-hot labels."""
  values = np.arange(size, dtype=np.float32)
  images = np.broadcast_to(values[:, None, None, None], (size, height, width, 3)).copy()
  return images, np.eye(size, max(size, classes), dtype=np.float32)


@pytest.mark.parametrize('run', [eagerly, in_a_dataset])
def test_mix_equals_the_official_mixup(run):
  images = np.random.default_rng(11).uniform(0, 255, (4, 2, 2, 3)).astype(np.float32)
  labels = np.eye(GOLDEN['num_classes'], dtype=np.float32)[GOLDEN['labels_one_hot_of']]
  weight = np.array(GOLDEN['beta_samples'], np.float32)[:, np.newaxis]
  got_images, got_labels = run(lambda i, k: mixup.mix(i, k, weight), (images, labels))
  np.testing.assert_allclose(got_images, GOLDEN['mixed_images'], rtol=1e-6)
  np.testing.assert_allclose(got_labels, GOLDEN['mixed_labels'], rtol=1e-6)


def test_mix_in_bfloat16_keeps_the_labels_float32():
  images, labels = batch_of(4)
  mixed, mixed_labels = mixup.mixup(tf.cast(images, tf.bfloat16), tf.constant(labels), 0.2, seed(0))
  assert mixed.dtype == tf.bfloat16 and mixed_labels.dtype == tf.float32
  np.testing.assert_allclose(tf.reduce_sum(mixed_labels, 1), 1, rtol=1e-6)


@pytest.mark.parametrize('alpha', [0.01, 0.2, 1.0, 5.0])
def test_beta_variates_have_their_distribution(alpha):
  sample = mixup.sample_beta(alpha, [4000], seed(1)).numpy()
  assert np.isfinite(sample).all() and sample.min() >= 0 and sample.max() <= 1
  # With a small alpha nearly all mass lies within a rounding error of 0 and 1, hence the bins.
  edges = [-0.1, 1e-3, 0.1, 0.35, 0.65, 0.9, 0.999, 1.1]
  expected = np.diff(stats.beta(alpha, alpha).cdf(edges)) * len(sample)
  observed, _ = np.histogram(sample, edges)
  kept = expected > 5
  chi2 = ((observed - expected)[kept] ** 2 / expected[kept]).sum()
  assert stats.chi2(kept.sum() - 1).sf(chi2) > 1e-4


def test_beta_variates_are_independent():
  sample = mixup.sample_beta(1.0, [2000, 2], seed(2)).numpy()
  assert abs(np.corrcoef(sample.T)[0, 1]) < 0.1


METHODS = {
  'mixup': lambda images, labels, seed: mixup.mix_batch(images, labels, 0.4, 0.0, seed),
  'cutmix': lambda images, labels, seed: mixup.mix_batch(images, labels, 0.0, 1.0, seed),
  'both': lambda images, labels, seed: mixup.mix_batch(images, labels, 0.4, 1.0, seed),
}


@pytest.mark.parametrize('name', METHODS)
def test_labels_equal_the_shares_of_the_mixed_images(name):
  """Each image has one value, so the mean of a mixture reveals the shares."""
  images, labels = batch_of(10)
  for number in range(20):
    mixed, mixed_labels = METHODS[name](tf.constant(images), tf.constant(labels), seed(number))
    mean = tf.reduce_mean(mixed, [1, 2, 3])
    np.testing.assert_allclose(mean, mixed_labels.numpy() @ np.arange(10), atol=1e-4)
    np.testing.assert_allclose(tf.reduce_sum(mixed_labels, 1), 1, atol=1e-6)


@pytest.mark.parametrize('name', METHODS)
def test_mixing_is_a_function_of_the_seed(name):
  batch = batch_of(6)

  def mixed(number, run=eagerly):
    return run(lambda images, labels: METHODS[name](images, labels, seed(number)), batch)

  first = mixed(1)
  for other in (mixed(1), mixed(1, in_a_dataset)):
    for a, b in zip(first, other, strict=True):
      np.testing.assert_array_equal(a, b)
  assert np.abs(first[0] - mixed(2)[0]).max() > 0


def test_alphas_of_0_disable_mixing():
  images, labels = (tf.constant(x) for x in batch_of(3))
  assert mixup.mix_batch(images, labels, 0.0, 0.0, seed(0)) == (images, labels)


def is_cut(images):
  """Returns whether a mixed batch of `batch_of` holds only whole numbers, as after CutMix."""
  return bool(np.all(images == np.round(images)))


def test_mixup_and_cutmix_get_half_of_the_batches_each():
  images, labels = (tf.constant(x) for x in batch_of(6))
  share = np.mean([is_cut(METHODS['both'](images, labels, seed(i))[0].numpy()) for i in range(200)])
  assert 0.36 < share < 0.64


def test_cutmix_pastes_rectangles_of_the_images_shape():
  images, labels = batch_of(64, 40, 20)
  mixed, mixed_labels = (
    t.numpy() for t in mixup.cutmix(tf.constant(images), tf.constant(labels), 1.0, seed(3))
  )
  weights = []
  for i in range(64):
    pasted = mixed[i, :, :, 0] == 63 - i
    rows, columns = np.flatnonzero(pasted.any(1)), np.flatnonzero(pasted.any(0))
    assert pasted.sum() == len(rows) * len(columns)  # A rectangle.
    if len(rows):
      assert rows[-1] - rows[0] + 1 == len(rows) and columns[-1] - columns[0] + 1 == len(columns)
      inside = rows[0] > 0 and rows[-1] < 39 and columns[0] > 0 and columns[-1] < 19
      assert not inside or abs(len(rows) - 2 * len(columns)) <= 2
    assert mixed_labels[i, i] == pytest.approx(1 - pasted.sum() / 800, abs=1e-6)
    weights.append(mixed_labels[i, i])
  assert min(weights) < 0.4 and max(weights) > 0.9


def erased(number, size=(30, 40), probability=1.0):
  """Returns the mask of the covered pixels."""
  color = [1.0, 2.0, 3.0]
  image = mixup.random_erasing(tf.zeros([*size, 3]), probability, color, seed(number)).numpy()
  mask = image[:, :, 0] == 1
  np.testing.assert_array_equal(image, mask[:, :, np.newaxis] * np.array(color))
  return mask


def test_random_erasing_covers_one_rectangle_within_its_limits():
  shares, ratios, tops = [], [], []
  for number in range(200):
    mask = erased(number)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert mask.sum() == len(rows) * len(columns) > 0
    shares.append(mask.mean())
    ratios.append(len(rows) / len(columns))
    tops.append(rows[0])
  assert 0.015 < min(shares) < 0.05 and 0.28 < max(shares) < 0.36
  assert 0.22 < min(ratios) < 0.5 and 2.0 < max(ratios) < 4.4
  assert min(tops) == 0 and max(tops) > 20


def test_random_erasing_has_its_probability():
  assert 0.13 < np.mean([erased(i, probability=0.25).any() for i in range(300)]) < 0.37
  assert not any(erased(i, probability=0.0).any() for i in range(20))


def test_random_erasing_is_a_function_of_the_seed():
  np.testing.assert_array_equal(erased(3), erased(3))
  assert (erased(3) != erased(4)).any()

  def erase(image):
    return [mixup.random_erasing(image, 1.0, [1.0, 2.0, 3.0], seed(3))]

  (in_map,) = in_a_dataset(lambda image: tuple(erase(image)), np.zeros([30, 40, 3], np.float32))
  np.testing.assert_array_equal(in_map[:, :, 0] == 1, erased(3))


@pytest.mark.parametrize('size', [(1, 1), (1, 9), (2, 2), (7, 1)])
def test_random_erasing_of_tiny_images(size):
  for number in range(20):
    assert erased(number, size).shape == size


@hypothesis.given(
  images=st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: arrays.arrays(np.uint8, (*shape, 3))
  ),
  data=st.data(),
  classes=st.integers(1, 7),
  alphas=st.sampled_from([(0.2, 0.0), (0.0, 1.0), (0.4, 0.4)]),
  seed=st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**63 - 1)),
)
def test_any_images_and_any_labels(images, data, classes, alphas, seed):
  labels = [data.draw(st.integers(0, classes - 1)) for _ in images]
  seed = tf.constant(seed, tf.int64)
  images = tf.cast(images, tf.float32)
  mixed, weights = mixup.mix_batch(images, tf.one_hot(labels, classes), *alphas, seed)
  assert mixed.shape == images.shape
  partners = tf.maximum(images, images[::-1]), tf.minimum(images, images[::-1])
  assert (mixed <= partners[0] + 1e-3).numpy().all() and (mixed >= partners[1] - 1e-3).numpy().all()
  np.testing.assert_allclose(tf.reduce_sum(weights, axis=1), 1.0, rtol=1e-5)
  for row, first, second in zip(weights.numpy(), labels, labels[::-1], strict=True):
    assert set(np.flatnonzero(row)) <= {first, second}
  erased = mixup.random_erasing(images[0], 1.0, (7.0, 8.0, 9.0), seed)
  assert erased.shape == images[0].shape
  assert ((erased == images[0]) | (erased == [7.0, 8.0, 9.0])).numpy().all()
