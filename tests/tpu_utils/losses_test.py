"""Tests of losses against numpy and TensorFlow 1's functions."""
import keras
import numpy as np
import pytest
import tensorflow as tf

from tpu_utils import batch_norm, losses

RNG = np.random.default_rng(0)
LOGITS = (RNG.normal(size=(6, 7)) * 4).astype(np.float32)
LABELS = np.eye(7, dtype=np.float32)[RNG.integers(7, size=6)]
MIXED = 0.3 * LABELS + 0.7 * LABELS[::-1]


def numpy_cross_entropy(labels, logits, smoothing):
  labels = labels * (1 - smoothing) + smoothing / labels.shape[-1]
  logits = logits.astype(np.float64)
  log_softmax = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
  return -(labels * log_softmax).sum(axis=-1)


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
@pytest.mark.parametrize('labels', [LABELS, MIXED], ids=['one-hot', 'mixed'])
def test_cross_entropy(labels, smoothing):
  got = losses.softmax_cross_entropy(labels, LOGITS, smoothing)
  assert got.shape == (6,)
  np.testing.assert_allclose(got, numpy_cross_entropy(labels, LOGITS, smoothing), rtol=1e-5)
  official = tf.compat.v1.losses.softmax_cross_entropy(labels, LOGITS, label_smoothing=smoothing)
  np.testing.assert_allclose(tf.reduce_mean(got), official, rtol=1e-6)


def test_cross_entropy_is_float32_for_any_logits():
  half = tf.cast(LOGITS, tf.bfloat16)
  got = losses.softmax_cross_entropy(tf.cast(LABELS, tf.bfloat16), half, 0.1)
  assert got.dtype == tf.float32
  expected = numpy_cross_entropy(LABELS, tf.cast(half, tf.float32).numpy(), 0.1)
  np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_cross_entropy_survives_huge_logits():
  got = losses.softmax_cross_entropy(tf.constant([[1.0, 0.0]]), tf.constant([[-1e4, 1e4]]))
  np.testing.assert_allclose(got, [2e4])


def test_invalid_arguments():
  with pytest.raises(ValueError, match='label_smoothing must be'):
    losses.softmax_cross_entropy(LABELS, LOGITS, 1.0)
  with pytest.raises(ValueError, match='Labels have 7 classes and logits 5'):
    losses.softmax_cross_entropy(LABELS, LOGITS[:, :5])


def test_weight_decay_is_half_the_sum_of_squares():
  variables = [keras.Variable(RNG.normal(size=shape), name='v') for shape in [(3, 4), (5,)]]
  with tf.GradientTape() as tape:
    loss = losses.l2_weight_decay(variables, 0.3)
  expected = 0.15 * sum((v.numpy().astype(np.float64)**2).sum() for v in variables)
  np.testing.assert_allclose(loss, expected, rtol=1e-6)
  for gradient, variable in zip(tape.gradient(loss, variables), variables, strict=True):
    np.testing.assert_allclose(gradient, 0.3 * variable.numpy(), rtol=1e-6)
  assert losses.l2_weight_decay([], 0.3) == 0
  assert losses.l2_weight_decay(variables, 0.0) == 0


def test_weight_decay_excludes_batch_norm_whatever_its_name_and_depth():
  inner = keras.Sequential([
    keras.Input((4,), name='x'),
    keras.layers.Dense(4, name='inner_dense'),
    batch_norm.BatchNormalization(name='plain_name'),
  ], name='inner')
  model = keras.Sequential([
    keras.Input((4,), name='images'),
    inner,
    keras.layers.LayerNormalization(name='batch_normalization_by_name_only'),
    keras.layers.BatchNormalization(name='outer'),
    keras.layers.Dense(2, name='head'),
  ])
  decayed = losses.non_batch_norm_variables(model)
  assert [v.path.split('/')[-2:] for v in decayed] == [
    ['inner_dense', 'kernel'], ['inner_dense', 'bias'],
    ['batch_normalization_by_name_only', 'gamma'], ['batch_normalization_by_name_only', 'beta'],
    ['head', 'kernel'], ['head', 'bias'],
  ]
