"""Gradients of a batch in parts, against a few lines of numpy."""
import keras
import numpy as np
import pytest
import tensorflow as tf

from tpu_utils import accumulation
from tpu_utils.optimizers import build_optimizer
from tpu_utils.trainer import Task, Trainer

RNG = np.random.default_rng(0)
# [part, row, feature]: the last part pulls harder than the others, and elsewhere.
ROWS = (RNG.normal(size=(4, 2, 3)) * [[[1]], [[0.2]], [[2]], [[9]]]).astype(np.float32)


def clipped(gradient, norm):
  return gradient * min(1, norm / max(1e-9, np.linalg.norm(gradient)))


def after_each_part(parts, norm):
  """The official loop: `loss / parts` adds to the gradient, which is clipped at once."""
  total = 0
  for part in parts:
    total = clipped(total + part / len(parts), norm)
  return total


def accumulate(rows, *settings):
  """Returns the gradient and its norm for a loss whose gradient is the mean of a part's rows."""

  @tf.function
  def run():
    parts = accumulation.split({'rows': tf.reshape(rows, [-1, 3])}, len(rows))
    return accumulation.accumulate(
      parts,
      lambda part: ([tf.reduce_mean(part['rows'], axis=0), None], tf.reduce_sum(part['rows'])),
      *settings,
    )

  (gradient, none), norm, logs = run()
  assert none is None
  np.testing.assert_allclose(logs, rows.sum(), rtol=1e-5)
  return gradient.numpy(), norm.numpy()


@pytest.mark.parametrize('count', [1, 2, 4])
def test_clipping_after_each_part_equals_the_official_loop(count):
  rows = ROWS[4 - count :]
  gradient, norm = accumulate(rows, 0.5, True)
  parts = rows.mean(axis=1)
  np.testing.assert_allclose(gradient, after_each_part(parts, 0.5), rtol=1e-5)
  before_last = after_each_part(np.concatenate([parts[:-1], 0 * parts[:1]]), 0.5)
  np.testing.assert_allclose(norm, np.linalg.norm(before_last + parts[-1] / count), rtol=1e-5)
  once, _ = accumulate(rows, 0.5)
  np.testing.assert_allclose(once, clipped(parts.mean(axis=0), 0.5), rtol=1e-5)
  assert (count == 1) == np.allclose(gradient, once)


def test_without_a_limit_parts_do_not_matter():
  mean = ROWS.mean(axis=(0, 1))
  for each in (False, True):
    gradient, norm = accumulate(ROWS, 0.0, each)
    np.testing.assert_allclose(gradient, mean, rtol=1e-5)
    np.testing.assert_allclose(norm, np.linalg.norm(mean), rtol=1e-5)


def test_each_part_is_summed_over_replicas_before_it_is_clipped(two_replicas):
  """Two replicas with two parts each equal numpy on the parts of both together."""
  with two_replicas.scope():
    rows = keras.Input((3,), name='rows')
    model = keras.Model(rows, keras.layers.Dense(1, use_bias=False, name='dense')(rows))
  model.layers[-1].kernel.assign(np.zeros((3, 1)))
  trainer = Trainer(
    two_replicas,
    model,
    Task({'loss': lambda outputs, batch, step: (tf.reduce_sum(outputs), len(outputs))}),
    build_optimizer('sgd'),
    lambda step: 1.0,
    clip_norm=0.5,
    accumulation_steps=2,
    clip_each_part=True,
  )

  batches = tf.data.Dataset.from_tensor_slices({'rows': ROWS.reshape(8, 3)})
  trainer.train(trainer.train_iterator(lambda context: batches.batch(4, drop_remainder=True)), 1)
  # Replica 0 has parts 0 and 1, replica 1 has parts 2 and 3.
  parts = ROWS.mean(axis=1).reshape(2, 2, 3).mean(axis=0)
  moved = -model.layers[-1].kernel.numpy()[:, 0]
  np.testing.assert_allclose(moved, after_each_part(parts, 0.5), rtol=1e-5)
