"""Parity with the official evaluation preprocessing, and the properties of the random crop."""
import pathlib

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tpu_utils.images import preprocessing, spec

GOLDENS = pathlib.Path(__file__).parents[2] / 'goldens' / 'preprocessing'
TOLERANCE = 1e-3  # On the 0..255 scale.


def image_bytes(name):
  return (GOLDENS / f'{name}.jpg').read_bytes()


def eagerly(data, function):
  return function(tf.constant(data)).numpy()


def in_a_dataset(data, function):
  # AutoGraph would take half a minute to look for control flow in all called functions.
  function = tf.autograph.experimental.do_not_convert(function)
  return next(iter(tf.data.Dataset.from_tensors(data).map(function))).numpy()


@pytest.mark.parametrize('run', [eagerly, in_a_dataset])
@pytest.mark.parametrize('method', ['bicubic', 'bilinear'])
@pytest.mark.parametrize('size', [64, 224])
@pytest.mark.parametrize('name', ['chelsea', 'astronaut', 'coffee'])
def test_eval_equals_the_official_code(name, size, method, run):
  goldens = np.load(GOLDENS / 'preprocess_eval.npz')
  keys = ('row0', 'row_mid', 'mean', 'std', 'range')
  golden = {key: goldens[f'{name}/{size}/{method}/{key}'] for key in keys}
  image = run(
    image_bytes(name),
    lambda data: preprocessing.preprocess_image(data, image_size=size, resize_method=method),
  )
  assert image.shape == (size, size, 3) and image.dtype == np.float32
  np.testing.assert_allclose(image[0], golden['row0'], atol=TOLERANCE)
  np.testing.assert_allclose(image[size // 2], golden['row_mid'], atol=TOLERANCE)
  np.testing.assert_allclose(image.mean((0, 1), np.float64), golden['mean'], atol=TOLERANCE)
  np.testing.assert_allclose(image.std((0, 1), np.float64), golden['std'], atol=TOLERANCE)
  np.testing.assert_allclose([image.min(), image.max()], golden['range'], atol=TOLERANCE)
  if size == 64:
    np.testing.assert_allclose(image, goldens[f'{name}/64/{method}/image'], atol=TOLERANCE)


def test_default_interpolation_is_bicubic():
  data = image_bytes('coffee')
  np.testing.assert_array_equal(
    preprocessing.preprocess_image(data),
    preprocessing.preprocess_image(data, resize_method='bicubic'),
  )


@pytest.mark.parametrize(
  'crop, size, expected',
  [
    ('official', 224, [38, 88, 525, 525]),
    # round(600 / 7) = 86, and 600 / 686 is slightly below 0.875.
    ('official', 600, [38, 88, 524, 524]),
    ('size_plus_32', 224, [38, 88, 525, 525]),
    ('size_plus_32', 600, [16, 66, 569, 569]),
    ('whole', 224, [0, 50, 600, 600]),
    ('0.95', 224, [15, 65, 570, 570]),
    # timm's other way to say the same, and torchvision's second ImageNet weights.
    ('1.0', 224, [0, 50, 600, 600]),
    ('232/224', 224, [11, 61, 579, 579]),
  ],
)
def test_central_crops(crop, size, expected):
  window = preprocessing.center_crop_window(tf.constant([600, 700]), size, crop)
  assert window.numpy().tolist() == expected


def test_eval_function_applies_the_spec():
  settings = spec.PreprocessSpec(image_size=40, interpolation='bilinear', crop='size_plus_32')
  data = image_bytes('coffee')
  np.testing.assert_array_equal(
    preprocessing.eval_function(settings)(data),
    preprocessing.preprocess_for_eval(data, False, 40, 'bilinear', crop='size_plus_32'),
  )


def test_png_is_cropped_like_jpeg():
  """A decoded JPEG, saved as PNG, gives the JPEG's pixels."""
  data = image_bytes('chelsea')
  png = tf.io.encode_png(tf.io.decode_jpeg(data))
  size = tf.shape(tf.io.decode_jpeg(data))[:2]
  window = preprocessing.center_crop_window(size, 64)
  y, x, height, width = window.numpy()
  pixels = preprocessing.decode_and_crop(
    png, lambda shape: preprocessing.center_crop_window(shape, 64)
  )
  np.testing.assert_array_equal(pixels, tf.io.decode_jpeg(data)[y : y + height, x : x + width])


@pytest.mark.parametrize('shape', [(1, 1, 1), (1, 9, 3), (9, 1, 3), (2, 2, 4)])
def test_tiny_images(shape):
  data = tf.io.encode_png(tf.fill(shape, tf.constant(200, tf.uint8)))
  for settings in ({}, {'is_training': True, 'seed': [0, 1]}):
    image = preprocessing.preprocess_image(data, image_size=8, **settings).numpy()
    np.testing.assert_allclose(image, np.full((8, 8, 3), 200), atol=TOLERANCE)


def train(seed, data=None, **settings):
  data = image_bytes('chelsea') if data is None else data
  seed = tf.constant(seed, tf.int64)
  return preprocessing.preprocess_for_train(data, image_size=32, seed=seed, **settings)


def test_train_is_a_function_of_the_seed():
  np.testing.assert_array_equal(train([3, 4]), train([3, 4]))
  assert np.abs(train([3, 4]) - train([3, 5])).max() > 1
  assert np.abs(train([3, 4]) - train([4, 4])).max() > 1
  in_map = in_a_dataset(image_bytes('chelsea'), lambda data: train([3, 4], data))
  np.testing.assert_array_equal(train([3, 4]), in_map)


def test_random_crops_stay_within_their_ranges():
  shape = tf.constant([300, 451])
  seeds = [tf.constant([0, i], tf.int64) for i in range(300)]
  windows = np.array(
    [
      preprocessing.random_crop_window(shape, seed, (0.08, 1.0), (3 / 4, 4 / 3))
      for seed in seeds
    ]
  )
  y, x, height, width = windows.T
  assert (y >= 0).all() and (x >= 0).all()
  assert (y + height <= 300).all() and (x + width <= 451).all()
  whole = (height == 300) & (width == 451)
  assert whole.mean() < 0.05
  share = (height * width / (300 * 451))[~whole]
  assert share.min() > 0.07 and share.min() < 0.15 and share.max() > 0.6
  ratio = (width / height)[~whole]
  assert ratio.min() > 0.7 and ratio.max() < 1.36 and ratio.min() < 0.8 and ratio.max() > 1.25


def test_central_crop_when_no_random_one_fits():
  # No crop with an aspect ratio of at most 4/3 covers nine tenths of a strip.
  pixels = tf.random.stateless_uniform([4, 64, 3], [1, 2], 0, 256, tf.int32)
  strip = tf.io.encode_png(tf.cast(pixels, tf.uint8))
  image = train([0, 0], strip, area_range=(0.9, 1.0), flip=False)
  expected = preprocessing.preprocess_for_eval(strip, image_size=32)
  np.testing.assert_array_equal(image, expected)


def test_flip_has_probability_one_half_and_can_be_disabled():
  # Dark on the left and bright on the right, so the crop's halves reveal the mirroring.
  ramp = tf.tile(tf.cast(tf.range(256), tf.uint8)[tf.newaxis, :, tf.newaxis], [64, 1, 3])
  data = tf.io.encode_png(ramp)

  def mirrored(seed, **settings):
    image = train([0, seed], data, **settings)
    return bool(tf.reduce_mean(image[:, :16]) > tf.reduce_mean(image[:, 16:]))

  share = np.mean([mirrored(seed) for seed in range(200)])
  assert 0.38 < share < 0.62
  assert not any(mirrored(seed, flip=False) for seed in range(20))


def test_bfloat16_is_the_rounded_float32():
  data = image_bytes('coffee')
  exact = preprocessing.preprocess_image(data, image_size=32)
  rounded = preprocessing.preprocess_image(data, use_bfloat16=True, image_size=32)
  assert rounded.dtype == tf.bfloat16
  expected = tf.cast(exact, tf.bfloat16)
  np.testing.assert_array_equal(tf.cast(rounded, tf.float32), tf.cast(expected, tf.float32))


any_image = st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3])).flatmap(
  lambda shape: arrays.arrays(np.uint8, shape)
)


@hypothesis.given(
  image=any_image,
  encode=st.sampled_from([tf.io.encode_png, tf.io.encode_jpeg]),
  seed=st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**63 - 1)),
  crop=st.sampled_from(spec.CROPS),
  random_crop=st.sampled_from(spec.RANDOM_CROPS),
  augment_name=st.sampled_from([None, *spec.AUGMENTATIONS]),
)
def test_any_image_of_any_size(image, encode, seed, crop, random_crop, augment_name):
  data = encode(image)
  trained = train(seed, data, crop=crop, random_crop=random_crop, augment_name=augment_name)
  evaluated = preprocessing.preprocess_for_eval(data, image_size=32, crop=crop)
  for result in (trained, evaluated):
    assert result.shape == (32, 32, 3) and result.dtype == tf.float32
    assert np.isfinite(result).all()
  if augment_name:
    np.testing.assert_array_equal(trained, np.clip(np.floor(trained), 0, 255))
