"""The trainer on one and on two replicas, with unequal data for each."""
import keras
import numpy as np
import pytest
import tensorflow as tf

from tpu_utils import batch_norm, losses
from tpu_utils.ema import ExponentialMovingAverage
from tpu_utils.optimizers import build_optimizer
from tpu_utils.trainer import NonFiniteLossError, Task, Trainer, seed_states

CLASSES = 3


def _model(dropout=0.0, batch_norm_layer=True):
  images = keras.Input((4,), name='images')
  x = keras.layers.Dense(8, name='hidden')(images)
  if batch_norm_layer:
    x = batch_norm.BatchNormalization(momentum=0.5, name='norm')(x)
  x = keras.layers.Activation('swish', name='swish')(x)
  x = keras.layers.Dropout(dropout, seed=7, name='dropout')(x)
  model = keras.Model(images, keras.layers.Dense(CLASSES, name='logits')(x))
  for variable in model.trainable_variables:
    generator = np.random.default_rng(len(variable.path))
    variable.assign(0.5 * generator.normal(size=variable.shape))
  return model


def _task(model, weight_decay=0.0):
  def cross_entropy(logits, batch, step):
    del step
    per_example = losses.softmax_cross_entropy(batch['labels'], logits)
    weights = batch.get('weights', tf.ones_like(per_example))
    return tf.reduce_sum(weights * per_example), tf.reduce_sum(weights)

  def accuracy(logits, batch, step):
    del step
    right = tf.cast(tf.argmax(logits, -1) == tf.argmax(batch['labels'], -1), tf.float32)
    weights = batch.get('weights', tf.ones_like(right))
    return tf.reduce_sum(weights * right), tf.reduce_sum(weights)

  variables = losses.non_batch_norm_variables(model)
  return Task(
    losses={'cross_entropy': cross_entropy},
    metrics={'accuracy': accuracy},
    train_metrics=('accuracy',),
    regularization=lambda: losses.l2_weight_decay(variables, weight_decay),
  )


def _trainer(
  strategy,
  *,
  dropout=0.0,
  norm=True,
  optimizer='momentum',
  ema=0.9,
  weight_decay=0.01,
  **kwargs,
):
  with strategy.scope():
    model = _model(dropout, norm)
  return Trainer(
    strategy,
    model,
    _task(model, weight_decay),
    build_optimizer(optimizer),
    lambda step: 0.1 / (1.0 + tf.cast(step, tf.float32)),
    ema=ExponentialMovingAverage(ema),
    **kwargs,
  )


def _examples(count, seed=0):
  generator = np.random.default_rng(seed)
  # Examples differ in scale, so that the replicas' statistics and gradients differ.
  images = generator.normal(size=(count, 4)) * np.linspace(0.2, 3.0, count)[:, None]
  labels = np.eye(CLASSES, dtype='float32')[generator.integers(CLASSES, size=count)]
  return images.astype('float32'), labels


def _dataset_fn(batch_size, steps=8, weights=None):
  images, labels = _examples(batch_size * steps)
  batch = {'images': images, 'labels': labels}
  if weights is not None:
    batch['weights'] = weights

  def dataset(context):
    per_replica = context.get_per_replica_batch_size(batch_size)
    return tf.data.Dataset.from_tensor_slices(batch).batch(per_replica, drop_remainder=True)

  return dataset


def _one_device():
  return tf.distribute.OneDeviceStrategy('CPU:0')


def _values(trainer):
  return {name: np.array(v) for name, v in trainer.variables().items()}


def _assert_equal(a, b, tolerance=1e-6):
  assert a.keys() == b.keys()
  for name in a:
    np.testing.assert_allclose(a[name], b[name], atol=tolerance, rtol=tolerance, err_msg=name)


def _per_replica(trainer, variable):
  return [np.array(v) for v in trainer.strategy.experimental_local_results(variable)]


@pytest.mark.parametrize('clip_norm', [0.0, 0.05])
@pytest.mark.parametrize('optimizer', ['rmsprop', 'momentum', 'lars'])
def test_two_replicas_train_the_same_weights_as_one(two_replicas, optimizer, clip_norm):
  values, logs = [], []
  for strategy in (_one_device(), two_replicas):
    trainer = _trainer(strategy, norm=False, optimizer=optimizer, clip_norm=clip_norm)
    logs.append(trainer.train(trainer.train_iterator(_dataset_fn(8)), 5))
    values.append(_values(trainer))
  _assert_equal(*values, tolerance=5e-6)
  assert trainer.step == 5
  for name in logs[0]:
    if name != 'input_wait':
      assert logs[0][name] == pytest.approx(logs[1][name], rel=1e-4), name
  if clip_norm:
    assert logs[0]['gradient_norm'] > clip_norm  # Otherwise nothing was clipped.


def test_clipping_limits_the_update():
  loose, tight = (_trainer(_one_device(), norm=False, clip_norm=norm) for norm in (0.0, 0.01))
  for trainer in (loose, tight):
    trainer.train(trainer.train_iterator(_dataset_fn(8)), 1)
  start = _values(_trainer(_one_device(), norm=False))['model/hidden/kernel']
  moved = [np.abs(_values(t)['model/hidden/kernel'] - start).max() for t in (loose, tight)]
  assert moved[1] < 0.1 * moved[0]


@pytest.mark.parametrize('parts', [2, 4])
def test_accumulation_gives_the_same_update(parts):
  whole = _trainer(_one_device(), norm=False)
  split = _trainer(_one_device(), norm=False, accumulation_steps=parts)
  logs = [t.train(t.train_iterator(_dataset_fn(8)), 3) for t in (whole, split)]
  _assert_equal(_values(whole), _values(split))
  assert logs[0]['loss'] == pytest.approx(logs[1]['loss'], rel=1e-5)
  assert logs[0]['accuracy'] == pytest.approx(logs[1]['accuracy'])


def test_accumulation_on_two_replicas(two_replicas):
  one = _trainer(_one_device(), norm=False)
  two = _trainer(two_replicas, norm=False, accumulation_steps=2)
  for trainer in (one, two):
    trainer.train(trainer.train_iterator(_dataset_fn(8)), 3)
  _assert_equal(_values(one), _values(two), tolerance=5e-6)


class _Unused(keras.Model):
  """A model with a layer that its output does not depend on."""

  def __init__(self):
    super().__init__(name='unused')
    self.used = keras.layers.Dense(CLASSES, name='used')
    self.spare = keras.layers.Dense(CLASSES, name='spare')
    for layer in (self.used, self.spare):
      layer.build((None, 4))
    self.built = True

  @property
  def inputs(self):
    return [keras.KerasTensor((None, 4), name='images')]

  def call(self, images, training=None):
    return self.used(images)


@pytest.mark.parametrize('parts', [1, 2])
def test_a_variable_without_gradient_does_not_decay(two_replicas, parts):
  """As in torch, which skips it: with a zero gradient it would decay."""
  with two_replicas.scope():
    model = _Unused()
  trainer = Trainer(
    two_replicas,
    model,
    Task({'loss': lambda outputs, batch, step: (tf.reduce_sum(outputs**2), len(outputs))}),
    build_optimizer('adamw', weight_decay=0.5),
    lambda step: 0.1,
    clip_norm=1.0,
    accumulation_steps=parts,
  )
  before = _values(trainer)
  trainer.train(trainer.train_iterator(_dataset_fn(8)), 2)
  after = _values(trainer)
  for name in ('kernel', 'bias'):
    np.testing.assert_array_equal(after[f'model/spare/{name}'], before[f'model/spare/{name}'])
    assert not np.array_equal(after[f'model/used/{name}'], before[f'model/used/{name}'])


def test_indivisible_accumulation_names_the_flag():
  trainer = _trainer(_one_device(), norm=False, accumulation_steps=3)
  with pytest.raises(ValueError, match='--gradient_accumulation_steps=3'):
    trainer.train(trainer.train_iterator(_dataset_fn(8)), 1)


def test_moving_statistics_differ_until_synchronized(two_replicas):
  trainer = _trainer(two_replicas)
  trainer.train(trainer.train_iterator(_dataset_fn(8)), 3)
  for name in ('model/norm/moving_mean', 'model/norm/moving_variance', 'ema/norm/moving_mean'):
    before = _per_replica(trainer, trainer.variables()[name])
    assert np.abs(before[0] - before[1]).max() > 1e-3, name
  means = {name: np.mean(_per_replica(trainer, v), 0) for name, v in trainer.variables().items()}
  trainer.synchronize()
  for name, variable in trainer.variables().items():
    if name.startswith('seeds/'):
      continue
    for value in _per_replica(trainer, variable):
      np.testing.assert_allclose(value, means[name], rtol=1e-6, atol=1e-7, err_msg=name)


def test_averaged_shadows_follow_averaged_statistics(two_replicas):
  """Moving averages of two replicas may be averaged at the end instead of in every step."""
  often, seldom = _trainer(two_replicas), _trainer(two_replicas)
  for trainer in (often, seldom):
    iterator = trainer.train_iterator(_dataset_fn(8))
    for _ in range(4):
      trainer.train(iterator, 1)
      if trainer is often:
        trainer.synchronize()
    trainer.synchronize()
  _assert_equal(_values(often), _values(seldom))


def test_evaluation_reads_averaged_statistics(two_replicas):
  """Otherwise each replica would use its own statistics."""
  trainer = _trainer(two_replicas)
  trainer.train(trainer.train_iterator(_dataset_fn(8)), 3)
  results = trainer.evaluate(_dataset_fn(8, steps=2))
  alone = _trainer(_one_device())
  for name, variable in alone.variables().items():
    variable.assign(np.array(trainer.variables()[name]))
  expected = alone.evaluate(_dataset_fn(8, steps=2))
  for name in expected:
    assert results[name] == pytest.approx(expected[name], rel=1e-5), name


def test_evaluation_uses_the_moving_averages_and_puts_the_weights_back():
  trainer = _trainer(_one_device())
  trainer.train(trainer.train_iterator(_dataset_fn(8)), 4)
  before = _values(trainer)
  results = trainer.evaluate(_dataset_fn(8, steps=2))
  after = _values(trainer)
  for name in before:
    np.testing.assert_array_equal(before[name], after[name], err_msg=name)
  plain = _trainer(_one_device(), ema=0)
  for variable in plain.model.variables:
    if 'seed' not in variable.path:
      variable.assign(before[f'ema/{variable.path}'])
  expected = plain.evaluate(_dataset_fn(8, steps=2))
  assert results == pytest.approx(expected)
  for variable in plain.model.variables:
    if 'seed' not in variable.path:
      variable.assign(before[f'model/{variable.path}'])
  assert plain.evaluate(_dataset_fn(8, steps=2))['loss'] != pytest.approx(results['loss'], rel=1e-4)


def test_evaluation_does_not_count_padding():
  trainer = _trainer(_one_device())
  weights = np.array([1] * 11 + [0] * 5, np.float32)
  padded = trainer.evaluate(_dataset_fn(8, steps=2, weights=weights))
  images, labels = _examples(16)

  def exact(context):
    del context
    batch = {'images': images[:11], 'labels': labels[:11], 'weights': np.ones(11, np.float32)}
    return tf.data.Dataset.from_tensors(batch)

  assert padded == pytest.approx(trainer.evaluate(exact), rel=1e-5)
  assert padded['accuracy'] * 11 == pytest.approx(round(padded['accuracy'] * 11))


def test_evaluation_in_loops_gives_the_same_bits_as_batch_by_batch(two_replicas):
  """A data set of unknown length is evaluated batch by batch."""
  for strategy in (_one_device(), two_replicas):
    trainer = _trainer(strategy)
    known, done = _dataset_fn(8), []

    def unknown(context, known=known):
      return known(context).filter(lambda batch: True)

    expected = trainer.evaluate(unknown)
    assert trainer.evaluate(known, done.append) == expected == trainer.evaluate(known)
    assert done[0] == 1 and done[-1] == 8 and done == sorted(set(done))
    assert trainer._eval_loop.experimental_get_tracing_count() == 1


def test_replicas_draw_different_drop_masks(two_replicas):
  trainer = _trainer(two_replicas, dropout=0.5)

  @tf.function
  def masks():
    dropout = trainer.model.get_layer('dropout')
    return two_replicas.run(lambda: dropout(tf.ones([4, 64]), training=True))

  for _ in range(2):
    first, second = two_replicas.experimental_local_results(masks())
    assert np.any(first.numpy() != second.numpy())


def test_seeds_are_saved_and_differ_between_replicas_after_restoring(two_replicas):
  trainer = _trainer(two_replicas, dropout=0.5)
  trainer.train(trainer.train_iterator(_dataset_fn(8)), 2)
  saved = _values(trainer)
  assert saved['seeds/dropout'].tolist() == [7, 2]
  other = _trainer(two_replicas, dropout=0.5)
  for name, variable in other.variables().items():
    variable.assign(saved[name])
  other.restored(2)
  state = seed_states(other.model)['dropout'].value
  assert _per_replica(other, state)[0].tolist() == [7, 2]
  expected = _per_replica(trainer, seed_states(trainer.model)['dropout'].value)[1].tolist()
  assert _per_replica(other, state)[1].tolist() == expected != [7, 2]


def test_loss_terms_are_weighted_over_the_global_batch(two_replicas):
  """Replicas may have unequal weights (masked tokens): the mean is the sum over the weight."""
  weights = np.array([1, 0, 0, 0, 1, 1, 1, 0], np.float32)
  losses_seen = []
  for strategy in (_one_device(), two_replicas):
    trainer = _trainer(strategy, norm=False, weight_decay=0.0)
    logs = trainer.train(trainer.train_iterator(_dataset_fn(8, steps=1, weights=weights)), 1)
    losses_seen.append((logs['loss'], logs['cross_entropy'], _values(trainer)))
  assert losses_seen[0][0] == pytest.approx(losses_seen[0][1])
  assert losses_seen[0][:2] == pytest.approx(losses_seen[1][:2])
  _assert_equal(losses_seen[0][2], losses_seen[1][2])


def test_a_loss_that_is_not_finite_is_reported_with_its_step():
  trainer = _trainer(_one_device())
  images, labels = _examples(64)
  images[20] = np.inf

  def dataset(context):
    del context
    return tf.data.Dataset.from_tensor_slices({'images': images, 'labels': labels}).batch(8)

  with pytest.raises(NonFiniteLossError, match='step 3'):
    trainer.train(trainer.train_iterator(dataset), 8)


def test_another_number_of_steps_does_not_trace_again():
  trainer = _trainer(_one_device())
  iterator = trainer.train_iterator(_dataset_fn(8))
  for steps in (1, 2, 3):
    trainer.train(iterator, steps)
  assert trainer._train_loop.experimental_get_tracing_count() == 1
  assert trainer.step == 6


def test_mixed_precision_keeps_float32_variables(two_replicas):
  with two_replicas.scope():
    images = keras.Input((4,), name='images')
    x = keras.layers.Dense(8, name='hidden', dtype='mixed_bfloat16')(images)
    x = batch_norm.BatchNormalization(name='norm', dtype='mixed_bfloat16')(x)
    model = keras.Model(images, keras.layers.Dense(CLASSES, name='logits', dtype='float32')(x))
  optimizer = build_optimizer('rmsprop')
  trainer = Trainer(two_replicas, model, _task(model), optimizer, lambda step: 0.01)
  logs = trainer.train(trainer.train_iterator(_dataset_fn(8)), 2)
  assert np.isfinite(logs['loss'])
  assert {v.dtype for v in trainer.variables().values()} == {tf.float32}
