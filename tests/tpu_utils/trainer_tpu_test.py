"""Training on TPUs, as far as it can be tested without one.

`simulated_tpu` traces the trainer's functions under a `TPUStrategy`, and XLA compiles the step for
the CPU. `tests/tpu_steps_test.py` traces the steps of all three papers.
"""
import keras
import numpy as np
import pytest
import tensorflow as tf

import efficientnet
from tests.tpu_utils import simulated_tpu, toy_tasks
from tpu_utils import batch_norm, config
from tpu_utils.image_jobs import train
from tpu_utils.trainer import Trainer

BATCH = 8


@pytest.fixture(scope='module')
def tpu_strategy():
  return simulated_tpu.make_strategy()


def _small_model(dtype_policy=None, dropout=0.3):
  images = keras.Input((8, 8, 3), name='images')
  x = keras.layers.Conv2D(4, 3, dtype=dtype_policy, name='conv')(images)
  x = batch_norm.BatchNormalization(name='norm', dtype=dtype_policy)(x)
  x = keras.layers.GlobalAveragePooling2D(name='pool', dtype=dtype_policy)(x)
  x = keras.layers.Dropout(dropout, seed=1, name='dropout')(x)
  return keras.Model(images, keras.layers.Dense(5, dtype='float32', name='logits')(x))


def _efficientnet(dtype_policy=None, dropout=0.3):
  return efficientnet.build_model(
    'efficientnet-b0', num_classes=5, image_size=32, width_coefficient=0.25,
    blocks_args=('r1_k3_s11_e1_i32_o16_se0.25', 'r2_k5_s22_e6_i16_o24_se0.25'),
    dropout_rate=dropout, survival_prob=1 - dropout, dtype_policy=dtype_policy,
  )  # fmt: skip


def _make_trainer(strategy, build_model, bfloat16=False, dropout=0.3, **optimization):
  with strategy.scope():
    model = build_model('mixed_bfloat16' if bfloat16 else None, dropout)
  data = config.DataConfig(train_batch_size=BATCH, num_label_classes=5, transpose_input=bfloat16)
  return train.make_trainer(
    strategy, model, data, config.OptimizationConfig(**optimization), 100
  )


def _dataset_fn(trainer, transposed=False):
  """Returns a function like an input's; `transposed` images are bfloat16 [h, w, c, batch]."""
  size = trainer.model.inputs[0].shape[1]
  images = np.random.default_rng(0).uniform(0, 255, (2 * BATCH, size, size, 3)).astype('float32')
  labels = np.eye(5, dtype='float32')[np.arange(2 * BATCH) % 5]

  def transpose(batch):
    images = tf.cast(tf.transpose(batch['images'], [1, 2, 3, 0]), tf.bfloat16)
    return {**batch, 'images': images}

  def dataset(context):
    batches = tf.data.Dataset.from_tensor_slices({'images': images, 'labels': labels})
    batches = batches.batch(context.get_per_replica_batch_size(BATCH), drop_remainder=True)
    return batches.map(transpose) if transposed else batches

  return dataset


# ---- traced under TPUStrategy


@pytest.fixture
def not_run(monkeypatch):
  """Disables the only part of the constructor that would run on the TPU."""
  monkeypatch.setattr(Trainer, '_spread_seeds', lambda self: None)


@pytest.mark.slow
@pytest.mark.parametrize(
  'build_model, optimization, update',
  [
    (_small_model, {'optimizer': 'momentum'}, 'ResourceApplyMomentum'),
    (
      _small_model,
      {'optimizer': 'lars', 'gradient_accumulation_steps': 2},
      'ResourceApplyMomentum',
    ),
    pytest.param(
      _efficientnet, {'gradient_clip_norm': 1.0}, 'ResourceApplyRMSProp', marks=pytest.mark.slow
    ),
  ],
)
def test_the_training_loop_traces(tpu_strategy, not_run, build_model, optimization, update):
  trainer = _make_trainer(tpu_strategy, build_model, bfloat16=True, **optimization)
  iterator = trainer.train_iterator(_dataset_fn(trainer, transposed=True))
  number = tf.constant(3, tf.int64)
  cluster = simulated_tpu.trace(trainer, Trainer._train_loop, iterator, number, number)
  simulated_tpu.check_compilable(cluster)
  updates = [op for op in cluster if op.type == update]
  assert len(updates) == len(trainer.model.trainable_variables)
  for op in updates:
    gradient = op.inputs[-1] if update == 'ResourceApplyRMSProp' else op.inputs[3]
    # A gradient without both does not depend on the loss, or is not summed over the cores.
    kinds = {ancestor.type for ancestor in simulated_tpu.ancestors(gradient.op)}
    assert {'CrossReplicaSum', 'SoftmaxCrossEntropyWithLogits'} <= kinds, gradient


def _check(trainer, function, *arguments):
  simulated_tpu.check_compilable(simulated_tpu.trace(trainer, function, *arguments))


def test_evaluation_swapping_and_seeds_trace(tpu_strategy, not_run):
  trainer = _make_trainer(tpu_strategy, _small_model)
  batch = next(iter(tpu_strategy.distribute_datasets_from_function(_dataset_fn(trainer))))
  step = tf.constant(0, tf.int64)
  iterator = trainer.train_iterator(_dataset_fn(trainer))
  totals = tf.zeros([len(trainer._evaluated()) + 1, 2], tf.float64)
  functions = {
    Trainer._eval_batch: [batch, step],
    Trainer._eval_loop: [iterator, step, totals, tf.constant(3, tf.int64)],
    Trainer._swap: [],
    Trainer._add_to_seeds: [],
  }
  for function, arguments in functions.items():
    _check(trainer, function, *arguments)


def test_predictions_and_rollouts_trace(tpu_strategy, not_run):
  def first(dataset_fn):
    return next(iter(tpu_strategy.distribute_datasets_from_function(dataset_fn)))

  trainer = toy_tasks.make_trainer(tpu_strategy, toy_tasks.recall_task())
  batch, step = first(toy_tasks.Pairs().eval_dataset), tf.constant(0, tf.int64)
  _check(trainer, Trainer._predict_batch, batch)
  _check(trainer, Trainer._eval_batch, batch, step)
  trainer = toy_tasks.make_trainer(tpu_strategy, toy_tasks.reward_task(), units=3)
  batch = first(toy_tasks.contexts)
  _check(trainer, Trainer._rollout, batch, step)
  size = [32 // simulated_tpu.CORES]
  rolled = {name: _per_core(tpu_strategy, size) for name in ('actions', 'contexts')}
  rolled['reward'] = _per_core(tpu_strategy, size, tf.float32)
  _check(trainer, Trainer._one_step, {**batch, **rolled}, step)


def _per_core(strategy, shape, dtype=tf.int32):
  return strategy.experimental_distribute_values_from_function(lambda _: tf.zeros(shape, dtype))


def test_statistics_are_averaged_in_spite_of_xla(tpu_strategy, not_run):
  """XLA drops sums over cores of values that depend on mirrored variables alone, as equal."""
  trainer = _make_trainer(tpu_strategy, _small_model)
  cluster = simulated_tpu.trace(trainer, Trainer._synchronize)
  simulated_tpu.check_compilable(cluster)
  sums = [op for op in cluster if op.type == 'CrossReplicaSum']
  assert len(sums) == 4  # Mean and variance, and their moving averages.
  for op in sums:
    inputs = [a for a in simulated_tpu.ancestors(op) if a.type == 'TPUReplicatedInput']
    assert {a.get_attr('is_mirrored_variable') for a in inputs} == {True, False}


def test_variables_on_a_tpu_can_be_read_and_assigned(tpu_strategy, not_run):
  """Checkpoints and exports do so, outside the loop."""
  trainer = _make_trainer(tpu_strategy, _small_model)
  for variable in trainer.variables().values():
    value = np.full(variable.shape, 2).astype(variable.dtype.as_numpy_dtype)
    variable.assign(value)
    np.testing.assert_array_equal(variable.numpy(), value)
    for copy in tpu_strategy.experimental_local_results(variable):
      np.testing.assert_array_equal(copy.numpy(), value)


# ---- compiled by XLA


@pytest.mark.slow
@pytest.mark.host_xla
@pytest.mark.parametrize(
  'build_model, optimizer',
  [
    (_small_model, 'rmsprop'),
    (_small_model, 'lars'),
    pytest.param(_efficientnet, 'rmsprop', marks=pytest.mark.long),
  ],
)
def test_the_compiled_step_equals_the_plain_one(build_model, optimizer):
  """Dropout is off, because XLA draws other random numbers."""
  ends = []
  for compiled in (False, True):
    keras.utils.set_random_seed(0)
    strategy = tf.distribute.OneDeviceStrategy('CPU:0')
    trainer = _make_trainer(
      strategy, build_model, dropout=0.0, optimizer=optimizer, gradient_clip_norm=5.0
    )
    step = tf.function(
      lambda batch, step, trainer=trainer: trainer.strategy.run(trainer._train_step, (batch, step)),
      jit_compile=compiled,
    )
    iterator = iter(_dataset_fn(trainer)(tf.distribute.InputContext()))
    logs = [step(next(iterator), tf.constant(i, tf.int64)).numpy() for i in range(2)]
    ends.append((np.array(logs), {n: v.numpy() for n, v in trainer.variables().items()}))
  (plain_logs, plain), (xla_logs, xla) = ends
  np.testing.assert_allclose(xla_logs, plain_logs, rtol=1e-4)
  assert not np.array_equal(plain_logs[0], plain_logs[1])
  for name, value in plain.items():
    limit = 1e-3 * np.sqrt(np.mean(np.square(value, dtype=float))) + 1e-6
    np.testing.assert_allclose(xla[name], value, rtol=0, atol=limit, err_msg=name)

