"""A tiny image classifier for the tests of exports."""
import keras
import numpy as np
import tensorflow as tf

from tpu_utils import batch_norm

IMAGE_SIZE = 12
PREPROCESSING = {'image_size': IMAGE_SIZE, 'interpolation': 'bilinear'}


def preprocess(image_bytes):
  """Prepares images as no real model does, as an export must use the function it is given."""
  image = tf.io.decode_image(image_bytes, channels=3, expand_animations=False)
  return tf.image.resize(tf.cast(image, tf.float32), [IMAGE_SIZE, IMAGE_SIZE])


def images(count):
  """Returns random images, uint8 [count, height, width, 3]."""
  return np.random.default_rng(1).integers(0, 256, (count, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)


def build_model(dtype_policy='float32', name='tiny', num_classes=5):
  """Builds a classifier with the kinds of layers of the real ones."""
  inputs = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 3), name='images')
  x = keras.layers.Rescaling(1 / 64, offset=-2.0, name='normalize', dtype=dtype_policy)(inputs)
  x = keras.layers.Conv2D(8, 3, strides=2, name='conv2d', dtype=dtype_policy)(x)
  x = batch_norm.BatchNormalization(name='batch_normalization', dtype=dtype_policy)(x)
  x = keras.layers.GlobalAveragePooling2D(name='pool', dtype=dtype_policy)(x)
  x = keras.layers.Dropout(0.5, name='dropout', dtype=dtype_policy)(x)
  logits = keras.layers.Dense(num_classes, name='dense', dtype='float32')(x)
  model = keras.Model(inputs, logits, name=name)
  rng = np.random.default_rng(0)
  for variable in model.variables:
    if variable.dtype == 'float32':
      variable.assign(rng.uniform(0.5, 1.5, variable.shape))
  return model
