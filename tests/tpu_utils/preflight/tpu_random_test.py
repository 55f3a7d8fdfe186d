"""Lowered steps draw random numbers as they would on a TPU."""
import keras
import numpy as np
import tensorflow as tf

from tpu_utils.preflight import lowering, tpu_random


def lowered(function):
  step = tf.function(lambda batch, step: function(batch['x']), jit_compile=True)
  return lowering.lower(step, {'x': tf.TensorSpec([4, 128], tf.float32)})


def test_dropout_and_uniform_numbers_come_from_the_devices_generator():
  seeds = keras.random.SeedGenerator(1)
  text = lowered(lambda x: keras.random.dropout(x, 0.1, seed=seeds))
  assert text.count('algorithm =  DEFAULT') == 1
  text = lowered(lambda x: x + keras.random.uniform(x.shape, seed=seeds))
  assert text.count('algorithm =  DEFAULT') == 1


def test_integers_and_a_named_algorithm_are_left_alone():
  def function(x):
    whole = tf.random.stateless_uniform([4, 128], [1, 2], 0, 9, tf.int32)
    named = tf.random.stateless_uniform([4, 128], [1, 2], alg='philox')
    return x + tf.cast(whole, tf.float32) + named

  assert 'DEFAULT' not in lowered(function)


def test_numbers_fill_their_range_and_the_generator_ends():
  plain = tf.random.stateless_uniform
  with tpu_random.generator():
    draw = tf.function(
      lambda: tf.random.stateless_uniform([10_000], [1, 2], -1.0, 3.0), jit_compile=True
    )
    values = draw().numpy()
  assert tf.random.stateless_uniform is plain
  assert -1 <= values.min() < -0.99 and 2.99 < values.max() < 3
  np.testing.assert_allclose([values.mean(), values.std()], [1, 4 / 12**0.5], atol=0.05)
