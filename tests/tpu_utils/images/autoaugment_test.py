"""Policies equal the official ones; draws depend on the seed alone and have their probabilities."""
import collections
import json
import pathlib

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tpu_utils.images import autoaugment

GOLDENS = pathlib.Path(__file__).parents[2] / 'goldens' / 'efficientnet'
IMAGE = np.load(GOLDENS / 'autoaugment_ops.npz')['image']
FACTS = json.loads((GOLDENS / 'autoaugment_facts.json').read_text())


def as_lists(policy):
  return [[list(operation) for operation in sub_policy] for sub_policy in policy]


def test_policies_and_constants_are_the_official_ones():
  policies = {name: as_lists(policy) for name, policy in autoaugment.POLICIES.items()}
  assert policies == FACTS['policies']
  assert list(autoaugment.RANDAUGMENT_OPS) == FACTS['randaugment_ops']
  assert FACTS['autoaugment_hparams'] == autoaugment.AUTOAUGMENT_CONSTANTS
  assert FACTS['randaugment_hparams'] == autoaugment.RANDAUGMENT_CONSTANTS
  assert FACTS['max_level'] == autoaugment.MAX_LEVEL


def test_negated_operations_equal_those_of_the_goldens():
  negated = {key.split('/')[0] for key in FACTS['args'] if '/neg' in key}
  assert negated == set(autoaugment.NEGATED_OPS)


@pytest.fixture
def applied(monkeypatch):
  """Records each call as (operation, argument, center) in a list; leaves images unchanged."""
  calls = []

  def record(name, image, argument, center):
    calls.append((name, float(argument), tuple(int(c) for c in center)))
    return image

  monkeypatch.setattr(autoaugment, 'apply_operation', record)
  return calls


def outcomes(applied, distort, count):
  """Counts the outcomes of `count` seeds; an outcome is a tuple of (operation, argument)."""
  counter = collections.Counter()
  for i in range(count):
    applied.clear()
    distort(tf.constant(IMAGE), seed=tf.constant([7, i], tf.int64))
    counter[tuple(call[:2] for call in applied)] += 1
  return counter


def argument(name, level, constants):
  return float(np.float32(autoaugment.level_to_argument(name, level, **constants)))


def probabilities_of_v0():
  """Computes {outcome: probability} from the policy; see `outcomes`."""
  expected = collections.Counter()
  for sub_policy in autoaugment.POLICIES['v0']:
    ends = {(): 1 / len(autoaugment.POLICIES['v0'])}
    for name, probability, level in sub_policy:
      value = argument(name, level, autoaugment.AUTOAUGMENT_CONSTANTS)
      values = (value, -value) if name in autoaugment.NEGATED_OPS else (value,)
      longer = collections.Counter()
      for end, p in ends.items():
        longer[end] += p * (1 - probability)
        for value in values:
          longer[*end, (name, value)] += p * probability / len(values)
      ends = longer
    expected.update(ends)
  return {outcome: p for outcome, p in expected.items() if p > 0}


def assert_drawn_with(counter, probabilities):
  """Asserts counts within 4.5 standard deviations of the expectation, and no other outcome."""
  total = sum(counter.values())
  assert set(counter) <= set(probabilities)
  for outcome, p in probabilities.items():
    assert abs(counter[outcome] - total * p) <= 4.5 * max(np.sqrt(total * p * (1 - p)), 1), outcome


@pytest.mark.slow
def test_autoaugment_draws_with_the_probabilities_of_the_policy(applied):
  counter = outcomes(applied, autoaugment.distort_image_with_autoaugment, 900)
  assert_drawn_with(counter, probabilities_of_v0())


@pytest.mark.slow
def test_randaugment_draws_all_operations_equally_often(applied):
  def distort(image, seed):
    return autoaugment.distort_image_with_randaugment(image, 2, 17, seed=seed)

  counter = outcomes(applied, distort, 900)
  assert {len(outcome) for outcome in counter} == {2}
  singles = collections.Counter(
    operation for outcome in counter.elements() for operation in outcome
  )
  expected = {}
  for name in autoaugment.RANDAUGMENT_OPS:
    value = argument(name, 17, autoaugment.RANDAUGMENT_CONSTANTS)
    values = (value, -value) if name in autoaugment.NEGATED_OPS else (value,)
    expected |= {(name, v): 1 / len(autoaugment.RANDAUGMENT_OPS) / len(values) for v in values}
  assert_drawn_with(singles, expected)
  assert len(counter) > 220  # Of 441 pairs, because the layers are drawn independently.


def test_cutout_is_centred_anywhere_in_the_image(applied):
  image = tf.zeros([3, 5, 3], tf.uint8)
  for i in range(600):
    autoaugment.distort_image_with_randaugment(image, 1, 5, seed=[0, i])
  centers = collections.Counter(center for _, _, center in applied)
  assert_drawn_with(centers, {(y, x): 1 / 15 for y in range(3) for x in range(5)})


DISTORTIONS = {
  'v0': lambda image, seed: autoaugment.distort_image_with_autoaugment(image, 'v0', seed=seed),
  'test': lambda image, seed: autoaugment.distort_image_with_autoaugment(image, 'test', seed=seed),
  'randaugment': lambda image, seed: autoaugment.distort_image_with_randaugment(
    image, 2, 10, seed=seed
  ),
}


LARGE = np.tile(IMAGE, [2, 3, 1])[:, :130]


@pytest.mark.slow
@pytest.mark.parametrize('image', [IMAGE, LARGE], ids=['square', 'large'])
@pytest.mark.parametrize('name', DISTORTIONS)
def test_a_dataset_equals_eager_calls(name, image):
  """To the bit, although TensorFlow rewrites a graph's arithmetic."""
  distort = tf.autograph.experimental.do_not_convert(
    lambda seed: DISTORTIONS[name](tf.constant(image), seed)
  )
  seeds = np.stack([np.full(120, 3), np.arange(120)], 1)
  dataset = tf.data.Dataset.from_tensor_slices(seeds).map(distort, 2, deterministic=True)
  assert dataset.element_spec == tf.TensorSpec(image.shape, tf.uint8)
  images = [image.numpy() for image in dataset]
  for seed, got in zip(seeds, images, strict=True):
    np.testing.assert_array_equal(got, distort(seed), err_msg=str(seed))
  # The policy `test` moves the content by 100 pixels, out of the small image.
  expected = (1 if image is IMAGE else 2) if name == 'test' else 40
  assert len({image.tobytes() for image in images}) >= expected


def test_the_test_policy_moves_and_equalizes():
  translated = [autoaugment.apply_operation('TranslateX', IMAGE, x) for x in (100.0, -100.0)]
  moved = [autoaugment.apply_operation('Equalize', image, 0.0) for image in translated]
  got = autoaugment.distort_image_with_autoaugment(tf.constant(IMAGE), 'test', seed=[0, 0]).numpy()
  assert any((got == image.numpy()).all() for image in moved)


@hypothesis.given(
  image=st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda size: arrays.arrays(np.uint8, (*size, 3))
  ),
  seed=st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**63 - 1)),
  layers=st.integers(1, 4),
  magnitude=st.integers(0, 30),
)
def test_any_image_any_seed(image, seed, layers, magnitude):
  seed = tf.constant(seed, tf.int64)
  for result in (
    autoaugment.distort_image_with_autoaugment(tf.constant(image), 'v0', seed=seed),
    autoaugment.distort_image_with_randaugment(tf.constant(image), layers, magnitude, seed=seed),
  ):
    assert result.shape == image.shape and result.dtype == tf.uint8


def test_errors_for_unknown_names_suggest_the_nearest():
  with pytest.raises(ValueError, match="Unknown AutoAugment policy 'v1': did you mean v0"):
    autoaugment.distort_image_with_autoaugment(tf.constant(IMAGE), 'v1', seed=[0, 0])
  with pytest.raises(ValueError, match="Unknown operation 'Sharpen': did you mean Sharpness"):
    autoaugment.apply_operation('Sharpen', tf.constant(IMAGE), 1.0)
