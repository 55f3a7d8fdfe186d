"""TFLite files: probabilities within the rounding of their number formats."""
import keras
import numpy as np
import pytest
import tensorflow as tf

import efficientnet
import resnext
from tests.tpu_utils.export import tiny
from tests.tpu_utils.export.folding_test import SMALL, with_random_statistics
from tpu_utils import export

# Largest error of a probability, from rounding to 32, 16 and 8 bits.
TOLERANCES = {
  'float32': 1e-5, 'float16': 2e-3, 'dynamic_range': 0.03, 'int8': 0.04, 'full_int8': 0.04
}  # fmt: skip


def expected(model, images):
  return tf.nn.softmax(model(images.astype(np.float32), training=False)).numpy()


def check(model, variant, batch_size=1):
  shape = model.inputs[0].shape[1:]
  images = np.random.default_rng(1).uniform(0, 255, (5, *shape)).astype(np.float32)
  content = export.tflite.convert(model, variant, list(images), batch_size)
  got = export.tflite.Classifier(content).predict(images)
  np.testing.assert_allclose(got, expected(model, images), rtol=0, atol=TOLERANCES[variant])
  assert export.tflite.Classifier(content).predict(images[:0]).shape == (0, got.shape[1])
  return content


@pytest.mark.parametrize('variant', export.tflite.VARIANTS)
@pytest.mark.parametrize('name', ['efficientnet-lite0', 'efficientnet-edgetpu-S'])
def test_variants(name, variant):
  keras.utils.set_random_seed(1)  # Some draws of the weights round worse than others.
  check(with_random_statistics(efficientnet.build_model(name, **SMALL)), variant)


@pytest.mark.parametrize(
  'name', ['efficientnet-b0', 'efficientnet-condconv-b0-4e', 'efficientnet-x-b0']
)
def test_float_files_of_the_other_families(name):
  check(with_random_statistics(efficientnet.build_model(name, **SMALL)), 'float32')


@pytest.mark.parametrize('settings', [{}, {'preactivation': True}])
def test_grouped_convolutions(settings):
  model = resnext.build_model(
    'resnext-20-2x32d', num_classes=7, image_size=16, width=8, stem_width=8, **settings
  )
  check(with_random_statistics(model), 'float32')


@pytest.mark.slow
def test_sizes_follow_the_bits():
  model = efficientnet.build_model('efficientnet-lite0', **SMALL)
  images = list(tiny_images(model))
  variants = export.tflite.VARIANTS
  sizes = {variant: len(export.tflite.convert(model, variant, images)) for variant in variants}
  assert sizes['float16'] < 0.6 * sizes['float32']
  assert max(sizes['int8'], sizes['dynamic_range']) < 0.4 * sizes['float32']


def tiny_images(model):
  shape = (2, *model.inputs[0].shape[1:])
  return np.random.default_rng(2).uniform(0, 255, shape).astype(np.float32)


def test_int8_files_take_uint8_pixels():
  images = list(tiny.images(4).astype(np.float32))
  content = export.tflite.convert(tiny.build_model(), 'int8', images)
  interpreter = tf.lite.Interpreter(model_content=content)
  (details,) = interpreter.get_input_details()
  scale, zero = details['quantization']
  assert details['dtype'] == np.uint8 and zero == 0
  assert abs(scale - 1) < 1e-4


def test_calibration_does_not_change_the_images():
  images = tiny.images(2).astype(np.float32)
  before = images.copy()
  export.tflite.convert(tiny.build_model(), 'int8', list(images))
  np.testing.assert_array_equal(images, before)


def test_several_images_at_a_time():
  check(tiny.build_model(), 'float32', batch_size=2)
  check(tiny.build_model(), 'int8', batch_size=2)


@pytest.mark.parametrize('images', [None, []])
def test_int8_without_images(images):
  message = 'int8 needs representative images.*there are none; give some'
  with pytest.raises(ValueError, match=message):
    export.tflite.convert(tiny.build_model(), 'int8', images)


def test_unknown_variant():
  with pytest.raises(ValueError, match="Unknown TFLite variant 'float61': did you mean float16"):
    export.tflite.convert(tiny.build_model(), 'float61')
