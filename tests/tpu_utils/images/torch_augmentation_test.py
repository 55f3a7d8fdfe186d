"""The augmentation of fb.resnet.torch against its formulas, ranges and distributions."""
import numpy as np
import pytest
import tensorflow as tf

from tpu_utils.images import digits, imagenet_input, preprocessing, torch_augmentation
from tpu_utils.images.spec import Augmentation, PreprocessSpec


def _seed(number):
  return tf.constant([7, number], tf.int64)


@pytest.fixture(scope='module')
def image():
  return np.random.default_rng(0).uniform(0, 255, (6, 5, 3)).astype(np.float32)


def _grey(image):
  return image @ np.float32([0.299, 0.587, 0.114])


def _blends(image, order, shares):
  for kind in order:
    other = {0: 0.0, 1: _grey(image).mean(), 2: _grey(image)[..., None]}[kind]
    image = shares[kind] * image + (1 - shares[kind]) * other
  return image


def test_color_jitter_is_one_of_the_six_orders_of_its_three_blends(image):
  orders = set()
  for number in range(30):
    draws = tf.random.stateless_uniform([6], _seed(number)).numpy()
    order = tuple(np.argsort(draws[3:]))
    orders.add(order)
    expected = _blends(image, order, 0.6 + 0.8 * draws[:3])
    got = torch_augmentation.color_jitter(tf.constant(image), 0.4, _seed(number))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-3)
  assert len(orders) == 6


def test_color_jitter_does_not_clip():
  white = tf.fill([2, 2, 3], 255.0)
  brightest = max(
    float(tf.reduce_max(torch_augmentation.color_jitter(white, 0.4, _seed(n)))) for n in range(20)
  )
  assert 300 < brightest <= 255 * 1.4 + 1e-3


def test_lighting_adds_one_color_with_the_covariance_of_its_components(image):
  function = tf.function(
    lambda seed: torch_augmentation.lighting(tf.constant(image), 0.1, seed) - image
  )
  added = np.stack([function(_seed(n)).numpy() for n in range(2000)])
  np.testing.assert_allclose(added, np.broadcast_to(added[:, :1, :1], added.shape), atol=1e-3)
  vectors = np.array([
    [-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203],
  ])
  covariance = vectors @ np.diag(np.square(25.5 * np.array([0.2175, 0.0188, 0.0045]))) @ vectors.T
  found = np.cov(added[:, 0, 0].T)
  np.testing.assert_allclose(found, covariance, atol=0.1 * np.abs(covariance).max())


def test_crops_have_areas_and_aspect_ratios_in_the_given_ranges():
  shape = tf.constant([300, 400])
  draw = tf.function(
    lambda seed: torch_augmentation.crop_window(shape, seed, (0.2, 0.5), (0.6, 0.8))
  )
  windows = []
  for number in range(300):
    window, fits = draw(_seed(number))
    assert fits
    windows.append(window.numpy())
  y, x, height, width = np.stack(windows).T
  assert (y >= 0).all() and (x >= 0).all()
  assert (y + height <= 300).all() and (x + width <= 400).all()
  share, ratio = height * width / 120000, width / height
  assert 0.195 < share.min() < 0.21 and 0.49 < share.max() < 0.505
  upright = ratio < 1
  assert 0.4 < upright.mean() < 0.7  # About half: some upright crops do not fit.
  assert ratio[upright].min() > 0.59 and ratio[upright].max() < 0.81
  assert ratio[~upright].min() > 1 / 0.81 and ratio[~upright].max() < 1 / 0.59


def test_reports_that_no_crop_fits():
  window, fits = torch_augmentation.crop_window(tf.constant([4, 400]), _seed(0), (0.9, 1.0))
  assert not fits
  assert window.shape == (4,)


def test_padded_crops_reach_every_offset_and_show_the_mean_color():
  color = (10.0, 20.0, 30.0)
  image = tf.reshape(tf.range(4 * 4 * 3, dtype=tf.float32) + 100, [4, 4, 3])
  padded = np.tile(np.float32(color), (8, 8, 1))
  padded[2:6, 2:6] = image
  crops = {
    padded[y : y + 4, x : x + 4].tobytes(): (y, x) for y in range(5) for x in range(5)
  }
  draw = tf.function(lambda seed: torch_augmentation.pad_and_crop(image, 2, color, seed))
  seen = {crops[draw(_seed(number)).numpy().tobytes()] for number in range(300)}
  assert len(seen) == 25


def test_padding_of_uint8_equals_the_clipped_padding_of_floats(image):
  color = (10.6, 120.2, 250.9)
  padded = torch_augmentation.pad_and_crop(tf.constant(image), 4, color, _seed(3))
  rounded = preprocessing.to_uint8(tf.constant(image))
  got = torch_augmentation.pad_and_crop(rounded, 4, color, _seed(3))
  assert got.dtype == tf.uint8
  assert (got == [10, 120, 250]).numpy().all(-1).any()
  np.testing.assert_array_equal(got, preprocessing.to_uint8(padded + 1e-3))


def _an_image():
  path, = tf.io.gfile.glob(f'{digits.DATA_DIR}/validation-00000-*')
  record = next(iter(tf.data.TFRecordDataset(path))).numpy()
  return tf.train.Example.FromString(record).features.feature['image/encoded'].bytes_list.value[0]


def test_pads_the_whole_image_after_the_resize():
  data = _an_image()
  whole = preprocessing.preprocess_for_eval(data, image_size=16, crop='whole').numpy()
  padded = np.pad(whole - 9.0, ((4, 4), (4, 4), (0, 0))) + 9.0
  got = preprocessing.preprocess_for_train(
    data,
    image_size=16,
    seed=_seed(1),
    random_crop='padded',
    padding=4,
    padding_color=(9.0,) * 3,
    flip=False,
  ).numpy()
  distances = [
    np.abs(padded[y : y + 16, x : x + 16] - got).max() for y in range(9) for x in range(9)
  ]
  assert min(distances) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
  'augmentation',
  [
    Augmentation(random_crop='torch', color_jitter=0.4, lighting=0.1),
    Augmentation(random_crop='padded', padding=2, color_jitter=0.4),
  ],
)
def test_augmentation_depends_on_the_position_alone(augmentation):
  def batches(start):
    images = imagenet_input.ImageNetInput(
      digits.DATA_DIR,
      PreprocessSpec(16),
      train_batch_size=4,
      num_label_classes=10,
      augmentation=augmentation,
    )
    return [b['images'].numpy() for b in images.train_dataset(None, 4 * start).take(4 - start)]

  from_start, resumed = batches(0), batches(2)
  np.testing.assert_array_equal(from_start[2:], resumed)
  plain = Augmentation(flip=False, area_range=(1.0, 1.0), aspect_ratio_range=(1.0, 1.0))
  assert augmentation != plain
  assert len({batch.tobytes() for batch in from_start}) == 4


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'random_crop': 'torche'}, "random_crop='torche' is unknown"),
    ({'color_jitter': -0.1}, 'color_jitter=-0.1 must be zero or more'),
    ({'padding': -1}, 'padding=-1'),
  ],
)
def test_settings_out_of_range(settings, message):
  with pytest.raises(ValueError, match=message):
    Augmentation(**settings)
