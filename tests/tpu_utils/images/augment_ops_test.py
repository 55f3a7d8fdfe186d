"""Parity of each operation with the official code, and its behaviour on arbitrary images."""
import json
import math
import pathlib

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tpu_utils.images import augment_ops, autoaugment, official_order

GOLDENS = pathlib.Path(__file__).parents[2] / 'goldens' / 'efficientnet'
RESULTS = np.load(GOLDENS / 'autoaugment_ops.npz')
FACTS = json.loads((GOLDENS / 'autoaugment_facts.json').read_text())
CENTER = FACTS['cutout_center_height_width']
CONSTANTS = {
  'autoaugment': autoaugment.AUTOAUGMENT_CONSTANTS,
  'randaugment': autoaugment.RANDAUGMENT_CONSTANTS,
  'small': {'cutout_const': 10, 'translate_const': 20},
}
OPS = autoaugment.RANDAUGMENT_OPS


def argument_of(key):
  """Returns the operation's argument for the key of a golden."""
  name, level, sign, *constants = key.split('/')
  constants = CONSTANTS[constants[0] if constants else 'randaugment']
  argument = autoaugment.level_to_argument(name, int(level), **constants)
  return -argument if sign == 'neg' else argument


def eagerly(image, function):
  return function(tf.constant(image)).numpy()


def in_a_dataset(image, function):
  """Applies `function` in a dataset of images with no static shape."""
  function = tf.autograph.experimental.do_not_convert(function)
  signature = tf.TensorSpec([None, None, 3], tf.uint8)
  dataset = tf.data.Dataset.from_generator(lambda: [image], output_signature=signature)
  return next(iter(dataset.map(function))).numpy()


def test_every_operation_has_goldens():
  assert {key.split('/')[0] for key in RESULTS.files} == {'image', *OPS}


@pytest.mark.parametrize('name', OPS)
def test_equals_the_official_operation(name):
  """At every level and sign, to the bit."""
  keys = [key for key in RESULTS.files if key.startswith(f'{name}/')]
  assert len(keys) >= 6
  for key in keys:
    got = augment(name, RESULTS['image'], np.float32(argument_of(key)))
    np.testing.assert_array_equal(got, RESULTS[key], err_msg=key)


def augment(name, image, argument, center=CENTER, run=eagerly):
  return run(image, lambda image: autoaugment.apply_operation(name, image, argument, center))


def test_equals_the_official_operations_in_a_dataset():
  keys = [f'{name}/8/pos' for name in OPS if f'{name}/8/pos' in RESULTS.files]
  keys += ['TranslateX/6/neg/small', 'TranslateY/6/neg/small', 'Cutout/6/pos/randaugment']
  assert {key.split('/')[0] for key in keys} == set(OPS)

  def all_of_them(image):
    return tf.stack(
      [
        autoaugment.apply_operation(key.split('/')[0], image, np.float32(argument_of(key)), CENTER)
        for key in keys
      ]
    )

  for key, result in zip(keys, in_a_dataset(RESULTS['image'], all_of_them), strict=True):
    np.testing.assert_array_equal(result, RESULTS[key], err_msg=key)


@pytest.mark.parametrize('name', OPS)
def test_levels_become_the_official_arguments(name):
  for key, arguments in FACTS['args'].items():
    if key.startswith(f'{name}/') and arguments:
      assert np.float32(argument_of(key)) == np.float32(arguments[0]), key


IMAGES = {
  'photo': lambda rng, shape: RESULTS['image'][: shape[0], : shape[1]],
  'noise': lambda rng, shape: rng.integers(0, 256, shape),
  'black and white': lambda rng, shape: rng.choice([0, 255], shape),
  'flat': lambda rng, shape: np.full(shape, rng.integers(0, 256)),
}


@pytest.mark.parametrize('name', OPS)
def test_equals_the_official_operation_on_other_images_and_levels(name):
  """Compares with a plain copy of the official operations; levels above 10 are RandAugment's."""
  rng = np.random.default_rng(0)
  for level, kind, (height, width) in [
    (0, 'noise', (3, 3)), (1, 'photo', (64, 48)), (3.5, 'flat', (5, 4)), (5, 'noise', (9, 31)),
    (7, 'black and white', (40, 3)), (9, 'photo', (33, 64)), (10, 'noise', (17, 17)),
    (15, 'photo', (64, 63)), (23, 'noise', (8, 21)), (28, 'photo', (50, 50)),
  ]:  # fmt: skip
    image = IMAGES[kind](rng, (height, width, 3)).astype(np.uint8)
    is_negated = name in autoaugment.NEGATED_OPS
    for sign in (1, -1) if is_negated else (1,):
      argument = autoaugment.level_to_argument(name, level, **CONSTANTS['randaugment'])
      center = [rng.integers(height), rng.integers(width)]
      settings = {'center': center} if name == 'Cutout' else {}
      # Negation makes it a float32 tensor; otherwise its sine would have another precision.
      plain_argument = tf.constant(sign * argument, tf.float32) if is_negated else argument
      expected = official_order.OPERATIONS[name](tf.constant(image), plain_argument, **settings)
      got = augment(name, image, np.float32(sign * argument), center)
      difference = np.abs(got.astype(int) - expected.numpy()).max()
      assert difference <= tolerance(name, argument), (level, kind, sign)


def tolerance(name, argument):
  """Returns the largest admissible difference in grey levels.

  oneDNN's convolution in the official Sharpness uses fused multiply-add. Near whole numbers it may
  therefore round down to the neighbouring grey level.
  """
  return math.ceil(abs(1 - argument)) if name == 'Sharpness' else 0


any_image = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
  lambda size: arrays.arrays(np.uint8, (*size, 3))
)


@pytest.mark.slow
@pytest.mark.parametrize('name', OPS)
@hypothesis.given(
  image=any_image, level=st.floats(0, 30), sign=st.sampled_from([1, -1]), data=st.data()
)
def test_any_image_of_any_size(name, image, level, sign, data):
  argument = autoaugment.level_to_argument(name, level, **CONSTANTS['randaugment'])
  sign = sign if name in autoaugment.NEGATED_OPS else 1
  center = [data.draw(st.integers(0, size - 1)) for size in image.shape[:2]]
  result = augment(name, image, np.float32(sign * argument), center)
  assert result.shape == image.shape and result.dtype == np.uint8
  if name in ('Rotate', 'ShearX', 'ShearY', 'TranslateX', 'TranslateY', 'Cutout'):
    known = {tuple(pixel) for pixel in image.reshape(-1, 3)} | {(augment_ops.REPLACE,) * 3}
    assert {tuple(pixel) for pixel in result.reshape(-1, 3)} <= known


@pytest.mark.parametrize('size', [(1, 1), (1, 5), (5, 1), (2, 2), (2, 7)])
def test_small_images_of_unknown_shape(size):
  image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)

  def all_of_them(image):
    arguments = [autoaugment.level_to_argument(name, 7, **CONSTANTS['small']) for name in OPS]
    return tf.stack(
      [
        autoaugment.apply_operation(name, image, argument, [0, 0])
        for name, argument in zip(OPS, arguments, strict=True)
      ]
    )

  np.testing.assert_array_equal(in_a_dataset(image, all_of_them), eagerly(image, all_of_them))


def test_blank_pixels_get_the_given_level():
  image = tf.zeros([4, 4, 3], tf.uint8)
  for result in (
    augment_ops.translate_x(image, 2, replace=7),
    augment_ops.translate_y(image, -2, replace=7),
    augment_ops.shear_x(image, 1.0, replace=7),
    augment_ops.rotate(image, 45.0, replace=7),
    augment_ops.cutout(image, 1, [2, 2], replace=7),
  ):
    assert set(np.unique(result)) == {0, 7}


def test_coordinates_are_rounded_as_c_does():
  half = np.float32(0.5)
  under_half = np.nextafter(half, np.float32(0))
  under_one_and_half = np.nextafter(np.float32(1.5), half)
  x = np.array(
    [-half, -under_half, under_half, half, 1.5, under_one_and_half, 2.5], np.float32
  )
  # `_nearest` counts pixels from 1; 0 is outside the image.
  assert (augment_ops._nearest(x, 9).numpy() - 1).tolist() == [-1, 0, 0, 1, 2, 1, 3]


def test_solarize_add_of_negative_numbers():
  image = tf.constant([[[3, 100, 200]]], tf.uint8)
  assert augment_ops.solarize_add(image, -50).numpy().tolist() == [[[0, 50, 200]]]
