"""Optimizers against numpy, TensorFlow 1's own classes, and one replica against two."""
import keras
import numpy as np
import pytest
import tensorflow as tf

from tpu_utils import batch_norm, losses, optimizers

SETTINGS = {
  'sgd': {},
  'momentum': {'momentum': 0.8},
  'rmsprop': {'decay': 0.8, 'momentum': 0.7, 'epsilon': 0.01},
  'lars': {'momentum': 0.8, 'weight_decay': 0.01, 'eeta': 0.02, 'epsilon': 1e-3},
  'adamw': {'beta_1': 0.8, 'beta_2': 0.95, 'epsilon': 1e-3, 'weight_decay': 0.1},
}
SHAPES = {'kernel': (4, 3), 'bias': (3,), 'gamma': (5,), 'beta': (5,), 'filters': (2, 2, 3)}
STEPS = 5
LEARNING_RATES = [0.0, 0.1, 0.3, 0.3, 0.05]


def variables_and_gradients(seed=0):
  rng = np.random.default_rng(seed)
  values = [rng.normal(size=shape).astype(np.float32) for shape in SHAPES.values()]
  gradients = [[rng.normal(size=v.shape).astype(np.float32) for v in values] for _ in range(STEPS)]
  variables = [keras.Variable(v, name=n) for n, v in zip(SHAPES, values, strict=True)]
  return variables, values, gradients


def numpy_update(name, settings, value, gradient, lr, slots, skipped):
  """Returns the value after an update by the published formulas in float64; changes `slots`."""
  if name == 'sgd':
    return value - lr * gradient
  if name == 'adamw':
    b1, b2, slots['t'] = settings['beta_1'], settings['beta_2'], slots['t'] + 1
    slots['m'] = b1 * slots['m'] + (1 - b1) * gradient
    slots['v'] = b2 * slots['v'] + (1 - b2) * gradient**2
    size = lr * np.sqrt(1 - b2 ** slots['t']) / (1 - b1 ** slots['t'])
    value = value - size * slots['m'] / (np.sqrt(slots['v']) + settings['epsilon'])
    return value - (0 if skipped else lr * settings['weight_decay'] * value)
  mu = settings['momentum']
  if name == 'rmsprop':
    slots['rms'] += (1 - settings['decay']) * (gradient**2 - slots['rms'])
    step = lr * gradient / np.sqrt(slots['rms'] + settings['epsilon'])
    slots['momentum'] = mu * slots['momentum'] + step
    return value - slots['momentum']
  if name == 'lars':
    if not skipped:
      w, g = np.linalg.norm(value), np.linalg.norm(gradient)
      decay = settings['weight_decay']
      if w > 0 and g > 0:
        lr = lr * settings['eeta'] * w / (g + decay * w + settings['epsilon'])
      gradient = gradient + decay * value
    slots['momentum'] = mu * slots['momentum'] + lr * gradient
    return value - slots['momentum']
  slots['momentum'] = mu * slots['momentum'] + gradient
  ahead = gradient + mu * slots['momentum'] if settings.get('nesterov') else slots['momentum']
  return value - lr * ahead


@pytest.mark.parametrize(
  'mode', ['eager', 'graph', pytest.param('xla', marks=pytest.mark.host_xla)]
)
@pytest.mark.parametrize(
  ('name', 'settings'),
  [*SETTINGS.items(), ('momentum', {'momentum': 0.8, 'nesterov': True})],
  ids=[*SETTINGS, 'nesterov'],
)
def test_equals_numpy(name, settings, mode):
  variables, values, gradients = variables_and_gradients()
  optimizer = optimizers.build_optimizer(name, **settings)
  optimizer.build(variables)
  # On TPUs XLA compiles the step, with kernels of its own.
  apply = optimizer.apply
  if mode != 'eager':
    apply = tf.function(apply, jit_compile=mode == 'xla')
  expected = [v.astype(np.float64) for v in values]
  zero = ('momentum', 'm', 'v')
  slots = [
    {'rms': np.ones(v.shape), 't': 0, **{slot: np.zeros(v.shape) for slot in zero}} for v in values
  ]
  for step, lr in enumerate(LEARNING_RATES):
    apply([tf.constant(g) for g in gradients[step]], tf.constant(lr))
    for i, path in enumerate(SHAPES):
      skipped = path in ('bias', 'gamma', 'beta')
      expected[i] = numpy_update(
        name, settings, expected[i], gradients[step][i], lr, slots[i], skipped
      )
      np.testing.assert_allclose(variables[i].numpy(), expected[i], rtol=1e-5, atol=1e-6)
      for slot in optimizer.slots:
        got = optimizer.variables[f'{slot}/{path}'].numpy()
        np.testing.assert_allclose(got, slots[i][slot], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(('name', 'peer'), [
  ('sgd', lambda lr: tf.compat.v1.train.GradientDescentOptimizer(lr)),
  ('momentum', lambda lr: tf.compat.v1.train.MomentumOptimizer(lr, 0.9)),
  ('rmsprop', lambda lr: tf.compat.v1.train.RMSPropOptimizer(lr, 0.9, 0.9, 0.001)),
])
def test_defaults_equal_the_official_choice_of_tensorflow_1_to_the_bit(name, peer):
  variables, values, gradients = variables_and_gradients()
  optimizer = optimizers.build_optimizer(name)
  optimizer.build(variables)
  peer, theirs = peer(0.1), [tf.Variable(v) for v in values]
  for step in range(STEPS):
    optimizer.apply([tf.constant(g) for g in gradients[step]], 0.1)
    pairs = zip(gradients[step], theirs, strict=True)
    peer.apply_gradients([(tf.constant(g), v) for g, v in pairs])
  for ours, their in zip(variables, theirs, strict=True):
    np.testing.assert_array_equal(ours.numpy(), their.numpy())


def test_slots_are_named_by_path_and_start_as_in_tensorflow_1():
  layer = keras.layers.Dense(2, name='head')
  layer.build((None, 3))
  optimizer = optimizers.build_optimizer('rmsprop')
  optimizer.build(layer.trainable_variables)
  assert list(optimizer.variables) == [
    'rms/head/kernel', 'rms/head/bias', 'momentum/head/kernel', 'momentum/head/bias'
  ]
  assert np.all(optimizer.variables['rms/head/kernel'].numpy() == 1)
  assert np.all(optimizer.variables['momentum/head/kernel'].numpy() == 0)


def test_lars_skips_exactly_the_chosen_variables():
  variables, values, _ = variables_and_gradients()
  settings = {'momentum': 0.0, 'weight_decay': 0.0, 'eeta': 0.5}
  optimizer = optimizers.build_optimizer('lars', **settings, skip=[variables[0]])
  optimizer.build(variables)
  optimizer.apply([tf.ones(v.shape) for v in variables], 1.0)
  for i, (variable, before) in enumerate(zip(variables, values, strict=True)):
    ratio = 1 if i == 0 else 0.5 * np.linalg.norm(before) / np.sqrt(before.size)
    np.testing.assert_allclose(variable.numpy(), before - ratio, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(('value', 'gradient', 'expected'), [
  (0.0, 2.0, -2.0),  # A variable of zeros: ratio 1.
  (4.0, 0.0, 4.0),  # No gradient, no weight decay: unchanged, not NaN.
])
def test_lars_ratio_is_one_where_a_norm_is_zero(value, gradient, expected):
  variable = keras.Variable(np.full((2, 2), value, np.float32), name='kernel')
  optimizer = optimizers.build_optimizer('lars', weight_decay=0.0)
  optimizer.build([variable])
  optimizer.apply([tf.fill((2, 2), gradient)], 1.0)
  np.testing.assert_array_equal(variable.numpy(), np.full((2, 2), expected))


def test_a_variable_without_gradient_and_its_slots_do_not_change():
  variables, values, gradients = variables_and_gradients()
  optimizer = optimizers.build_optimizer('rmsprop')
  optimizer.build(variables)
  optimizer.apply([None, *gradients[0][1:]], 0.1)
  np.testing.assert_array_equal(variables[0].numpy(), values[0])
  assert np.all(optimizer.variables['rms/kernel'].numpy() == 1)
  assert not np.array_equal(variables[1].numpy(), values[1])


def test_a_sparse_gradient_is_applied_as_dense():
  results = []
  for sparse in (True, False):
    table = keras.Variable(np.ones((4, 2), np.float32), name='embeddings')
    optimizer = optimizers.build_optimizer('momentum')
    optimizer.build([table])
    gradient = tf.IndexedSlices(tf.ones((3, 2)), tf.constant([1, 3, 1]), tf.constant([4, 2]))
    for _ in range(2):
      optimizer.apply([gradient if sparse else tf.convert_to_tensor(gradient)], 0.1)
    results.append(table.numpy())
  np.testing.assert_array_equal(*results)


def test_clipping_adds_up_the_rows_of_a_sparse_gradient():
  rows = tf.IndexedSlices(tf.constant([[3.0], [1.0]]), tf.constant([1, 1]), tf.constant([2, 1]))
  clipped, norm = optimizers.clip_by_global_norm([rows], 1.0)
  assert norm == 4
  np.testing.assert_array_equal(clipped[0], [[0.0], [1.0]])


def test_adamw_counts_its_updates_and_corrects_the_first_exactly():
  variable = keras.Variable(np.ones(3, np.float32), name='kernel')
  optimizer = optimizers.build_optimizer('adamw', weight_decay=0.0, epsilon=0.0)
  optimizer.build([variable])
  optimizer.apply([tf.constant([1e-3, -2.0, 50.0])], 0.25)
  # The first step of Adam is the learning rate times the sign.
  np.testing.assert_allclose(variable.numpy(), [0.75, 1.25, 0.75], rtol=1e-6)
  assert optimizer.variables['updates'].numpy() == 1


def test_adamw_without_correction_starts_small():
  variable = keras.Variable(np.zeros(1, np.float32), name='kernel')
  settings = {'beta_1': 0.9, 'beta_2': 0.99, 'weight_decay': 0.5, 'epsilon': 0.0}
  optimizer = optimizers.build_optimizer('adamw', correct_bias=False, **settings)
  optimizer.build([variable])
  optimizer.apply([tf.constant([3.0])], 0.25)
  # m and the root of v are a tenth of the gradient; then half of a quarter decays.
  np.testing.assert_allclose(variable.numpy(), [-0.25 * (1 - 0.125)], rtol=1e-5)


def test_adamw_leaves_the_chosen_variables_without_decay():
  variables, values, _ = variables_and_gradients()
  optimizer = optimizers.build_optimizer('adamw', weight_decay=0.5, skip=variables[:1])
  optimizer.build(variables)
  optimizer.apply([tf.zeros(v.shape) for v in variables], 0.1)
  for i, (variable, before) in enumerate(zip(variables, values, strict=True)):
    np.testing.assert_allclose(variable.numpy(), before * (1 if i == 0 else 0.95), rtol=1e-6)


def test_clipping_scales_all_gradients_by_their_joint_norm():
  gradients = [tf.constant([3.0]), None, tf.constant([[4.0]])]
  clipped, norm = optimizers.clip_by_global_norm(gradients, 1.0)
  assert float(norm) == 5
  np.testing.assert_allclose([clipped[0][0], clipped[2][0, 0]], [0.6, 0.8], rtol=1e-6)
  assert clipped[1] is None
  untouched, _ = optimizers.clip_by_global_norm(gradients, 5.0)
  np.testing.assert_array_equal(untouched[0], [3.0])
  zero, norm = optimizers.clip_by_global_norm([tf.zeros([2])], 1.0)
  assert float(norm) == 0
  np.testing.assert_array_equal(zero[0], [0, 0])


def small_model():
  """Returns a convolution, batch norm over all replicas and classifier, always the same."""
  keras.utils.set_random_seed(3)
  images = keras.Input((6, 6, 2), name='images')
  x = keras.layers.Conv2D(4, 3, use_bias=False, name='conv')(images)
  norm = batch_norm.BatchNormalization(name='norm')
  x = keras.layers.Activation('swish', name='swish')(norm(x))
  x = keras.layers.GlobalAveragePooling2D(name='pool')(x)
  return keras.Model(images, keras.layers.Dense(3, name='head')(x), name='small')


def train_small_model(strategy, name):
  """Trains five steps on eight images in total, with clipping; returns (model, optimizer)."""
  replicas = strategy.num_replicas_in_sync
  with strategy.scope():
    model = small_model()
    batch_norm.set_replicas_per_group(model, replicas)
    optimizer = optimizers.build_optimizer(name, **SETTINGS[name])
    optimizer.build(model.trainable_variables)
  rng = np.random.default_rng(5)
  images = rng.normal(size=(STEPS, 8, 6, 6, 2)).astype(np.float32)
  images[:, 4:] *= 3  # The replicas' data differ in distribution, too.
  labels = np.eye(3, dtype=np.float32)[rng.integers(3, size=(STEPS, 8))]

  def values(array):
    shards = np.split(array, replicas, axis=1)
    return strategy.experimental_distribute_values_from_function(
      lambda context: tf.constant(shards[context.replica_id_in_sync_group])
    )

  def step(all_images, all_labels, i):
    images, labels = all_images[i], all_labels[i]
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(losses.softmax_cross_entropy(labels, model(images, training=True))) / 8
      loss += losses.l2_weight_decay(losses.non_batch_norm_variables(model), 0.01) / replicas
    gradients = tape.gradient(loss, model.trainable_variables)
    gradients = tf.distribute.get_replica_context().all_reduce('sum', gradients)
    gradients, norm = optimizers.clip_by_global_norm(gradients, 0.2)
    optimizer.apply(gradients, 0.1)
    return norm

  @tf.function
  def train(images, labels):
    norm = tf.zeros([])
    for i in tf.range(STEPS):
      norm = strategy.reduce('mean', strategy.run(step, (images, labels, i)), axis=None)
    return norm

  assert train(values(images), values(labels)) > 0.2  # Otherwise nothing is clipped.
  return model, optimizer


@pytest.mark.parametrize('name', SETTINGS)
def test_two_replicas_with_unequal_data_equal_one_with_the_joint_batch(two_replicas, name):
  alone, alone_optimizer = train_small_model(tf.distribute.get_strategy(), name)
  model, optimizer = train_small_model(two_replicas, name)
  trained = {v.path: v.value for v in model.trainable_variables} | optimizer.variables
  expected = {v.path: v.value for v in alone.trainable_variables} | alone_optimizer.variables
  assert trained.keys() == expected.keys()
  start = {v.path: v.numpy() for v in small_model().trainable_variables}
  for path, variable in trained.items():
    first, second = two_replicas.experimental_local_results(variable)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, expected[path], rtol=1e-4, atol=2e-6, err_msg=path)
  assert all(np.abs(trained[path].numpy() - value).max() > 1e-5 for path, value in start.items())


def build_and_apply():
  optimizers.build_optimizer('sgd').apply([], 0.1)


@pytest.mark.parametrize(
  ('call', 'arguments', 'said'),
  [
    (
      optimizers.build_optimizer,
      {'name': 'rmsprob'},
      "Unknown optimizer 'rmsprob': did you mean rmsprop",
    ),
    (
      optimizers.build_optimizer,
      {'name': 'rmsprop', 'decai': 0.9},
      "setting of optimizer rmsprop 'decai': did you mean decay",
    ),
    (
      optimizers.build_optimizer,
      {'name': 'momentum', 'momentum': -1},
      'momentum must be zero or more, got -1',
    ),
    (build_and_apply, {}, 'needs build(variables) first'),
  ],
)
def test_wrong_settings_are_refused(call, arguments, said):
  with pytest.raises(ValueError, match='.') as error:
    call(**arguments)
  assert said in str(error.value)
  assert '\n' not in str(error.value)


def test_wrong_variables_and_gradients_are_refused():
  variables, _, gradients = variables_and_gradients()
  optimizer = optimizers.build_optimizer('momentum')
  with pytest.raises(ValueError, match="2 variables have the path 'kernel'"):
    optimizer.build([variables[0], variables[0]])
  with pytest.raises(ValueError, match='half is bfloat16'):
    optimizer.build([keras.Variable(np.ones(2), dtype='bfloat16', name='half')])
  optimizer.build(variables)
  with pytest.raises(ValueError, match='called twice'):
    optimizer.build(variables)
  with pytest.raises(ValueError, match='5 variables, got 4 gradients'):
    optimizer.apply(gradients[0][:4], 0.1)
  with pytest.raises(ValueError, match='does not depend on the model'):
    optimizer.apply([None] * 5, 0.1)
