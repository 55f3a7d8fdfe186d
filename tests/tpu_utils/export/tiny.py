"""A classifier of a few pixels with all that the real ones have, for the exporters' tests."""
import keras
import numpy as np
import tensorflow as tf

from tpu_utils import batch_norm

IMAGE_SIZE = 12
PREPROCESSING = {'image_size': IMAGE_SIZE, 'interpolation': 'bilinear'}


def preprocess(image_bytes):
  """Stands in for a model's own preprocessing: the export must use what it is given."""
  image = tf.io.decode_image(image_bytes, channels=3, expand_animations=False)
  return tf.image.resize(tf.cast(image, tf.float32), [IMAGE_SIZE, IMAGE_SIZE])


def images(count):
  """uint8 [count, height, width, 3]."""
  return np.random.default_rng(1).integers(0, 256, (count, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)


def build_model(dtype_policy='float32', name='tiny', num_classes=5):
  """A classifier with normalisation, moving statistics and dropout, as the real ones have."""
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
