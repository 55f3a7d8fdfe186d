"""Batch norm over groups of replicas against the plain layer on the group's joint batch."""
import keras
import numpy as np
import pytest
import tensorflow as tf

from tpu_utils import batch_norm

CHANNELS = 3


def per_replica_inputs(replicas):
  """Unequal batches: every replica has its own mean and spread. [replicas, 4, 2, 2, channels]."""
  rng = np.random.default_rng(0)
  inputs = rng.normal(size=(replicas, 4, 2, 2, CHANNELS))
  scale = np.arange(1, replicas + 1).reshape(-1, 1, 1, 1, 1)
  return (inputs * scale + scale**2).astype(np.float32)


def build_layer(**settings):
  layer = batch_norm.BatchNormalization(momentum=0.9, epsilon=1e-3, name='norm', **settings)
  layer.build((None, 2, 2, CHANNELS))
  layer.gamma.assign([0.5, 1.0, 2.0])
  layer.beta.assign([1.0, 0.0, -1.0])
  return layer


def forward_and_gradients(layer, x):
  """Output, and gradients of a loss that weighs every output differently."""
  weights = tf.reshape(tf.range(tf.size(x), dtype=tf.float32) % 7 - 3, tf.shape(x))
  with tf.GradientTape() as tape:
    tape.watch(x)
    y = layer(x, training=True)
    loss = tf.reduce_sum(weights * tf.sin(y))
  # The weights repeat for each replica's batch, so a joint batch has the same loss.
  return y, tape.gradient(loss, [x, *layer.trainable_variables])


def expected_of_group(x, members):
  """The plain layer on the joint batch of `members` replicas: (y, dx, dgamma, dbeta, mean, variance)."""
  layer = build_layer()
  joint = tf.constant(x[members].reshape(-1, *x.shape[2:]))
  weights = tf.reshape(tf.range(x[0].size, dtype=tf.float32) % 7 - 3, x[0].shape)
  weights = tf.tile(weights, [len(members), 1, 1, 1])
  with tf.GradientTape() as tape:
    tape.watch(joint)
    y = layer(joint, training=True)
    loss = tf.reduce_sum(weights * tf.sin(y))
  gradients = tape.gradient(loss, [joint, *layer.trainable_variables])
  return y, *gradients, layer.moving_mean.numpy(), layer.moving_variance.numpy()


@pytest.mark.parametrize('replicas_per_group', [1, 2, 4])
@pytest.mark.parametrize('in_graph', [False, True])
def test_a_group_equals_one_replica_with_its_joint_batch(four_replicas, replicas_per_group, in_graph):
  x = per_replica_inputs(4)
  with four_replicas.scope():
    layer = build_layer()
  layer.replicas_per_group = replicas_per_group
  values = four_replicas.experimental_distribute_values_from_function(
    lambda context: tf.constant(x[context.replica_id_in_sync_group])
  )

  def run(values):
    return four_replicas.run(lambda v: forward_and_gradients(layer, v), (values,))

  y, (dx, dgamma, dbeta) = (tf.function(run) if in_graph else run)(values)
  local = {
    name: [np.array(v) for v in four_replicas.experimental_local_results(value)]
    for name, value in [
      ('y', y), ('dx', dx), ('dgamma', dgamma), ('dbeta', dbeta),
      ('mean', layer.moving_mean.value), ('variance', layer.moving_variance.value),
    ]
  }
  for first in range(0, 4, replicas_per_group):
    group = list(range(first, first + replicas_per_group))
    y, dx, dgamma, dbeta, mean, variance = expected_of_group(x, group)
    close = {'rtol': 1e-4, 'atol': 1e-4}
    np.testing.assert_allclose(np.concatenate([local['y'][r] for r in group]), y, **close)
    np.testing.assert_allclose(np.concatenate([local['dx'][r] for r in group]), dx, **close)
    # Each replica has its share of the loss; gradients add up, as the trainer adds them.
    np.testing.assert_allclose(sum(local['dgamma'][r] for r in group), dgamma, **close)
    np.testing.assert_allclose(sum(local['dbeta'][r] for r in group), dbeta, **close)
    for replica in group:
      np.testing.assert_allclose(local['mean'][replica], mean, rtol=1e-5)
      np.testing.assert_allclose(local['variance'][replica], variance, rtol=1e-5)


def test_moving_variance_follows_the_biased_variance():
  layer = build_layer()
  x = per_replica_inputs(1)[0]
  layer(x, training=True)
  expected = 0.9 + 0.1 * x.astype(np.float64).var(axis=(0, 1, 2))
  np.testing.assert_allclose(layer.moving_variance.numpy(), expected, rtol=1e-5)


def test_groups_must_divide_the_replicas(four_replicas):
  with four_replicas.scope():
    layer = build_layer()
  layer.replicas_per_group = 3
  with pytest.raises(ValueError, match='groups of 3 replicas do not divide the 4 replicas'):
    four_replicas.run(lambda: layer(tf.ones((2, 2, 2, CHANNELS)), training=True))


@pytest.mark.parametrize(('replicas', 'group'), [
  (1, 1), (2, 1), (4, 1), (8, 1), (16, 8), (32, 8), (64, 8), (128, 16), (256, 32), (2048, 256),
])
def test_official_groups(replicas, group):
  assert batch_norm.official_replicas_per_group(replicas) == group


def test_official_groups_follow_the_rule_from_1_to_128():
  for replicas in range(1, 129):
    expected = 1 if replicas <= 8 else 8 if replicas < 72 else replicas // 8
    assert batch_norm.official_replicas_per_group(replicas) == expected


@pytest.mark.parametrize(('replicas', 'train_batch', 'norm_batch', 'group'), [
  (1, 128, 64, 1), (8, 1024, 16, 8), (16, 1024, 256, 4), (32, 1024, 64, 2), (128, 16384, 64, 1),
])
def test_groups_under_lars(replicas, train_batch, norm_batch, group):
  assert batch_norm.lars_replicas_per_group(replicas, train_batch, norm_batch) == group


def test_group_is_set_in_nested_models_and_is_no_part_of_the_saved_model(tmp_path):
  inner = keras.Sequential([keras.Input((4,), name='x'), batch_norm.BatchNormalization(name='inner')])
  model = keras.Sequential([keras.Input((4,), name='images'), inner,
                            batch_norm.BatchNormalization(name='outer')])
  batch_norm.set_replicas_per_group(model, 8)
  layers = [layer for layer in model._flatten_layers()
            if isinstance(layer, batch_norm.BatchNormalization)]
  assert [layer.replicas_per_group for layer in layers] == [8, 8]
  model.save(tmp_path / 'model.keras')
  loaded = keras.models.load_model(tmp_path / 'model.keras')
  loaded_layers = [layer for layer in loaded._flatten_layers()
                   if isinstance(layer, batch_norm.BatchNormalization)]
  assert [layer.replicas_per_group for layer in loaded_layers] == [1, 1]
  x = np.ones((2, 4), np.float32)
  np.testing.assert_array_equal(loaded(x), model(x))
