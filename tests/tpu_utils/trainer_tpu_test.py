"""Training on TPUs, as far as it can be tested without one.

`TPUStrategy` builds its graph in Python, so its real variables, replica contexts and reductions run
here with CPUs as cores, up to the first operation that needs a TPU. XLA compiles the step for the
CPU.
"""
import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import function_def_to_graph, kernels
from tensorflow.python.tpu import tpu_system_metadata

import efficientnet
from tests.tpu_utils import toy_tasks
from tpu_utils import batch_norm, config
from tpu_utils.image_jobs import train
from tpu_utils.trainer import Trainer

CORES = 2
BATCH = 8
# Operations that XLA compiles on TPUs only, or that are removed before it compiles.
_OF_TPUS = {'CrossReplicaSum', 'TPUReplicateMetadata', 'Placeholder'}
_CALLS = {'PartitionedCall', 'StatefulPartitionedCall'}


class _Resolver(tf.distribute.cluster_resolver.SimpleClusterResolver):
  """A cluster of one host with some TPU cores."""

  def get_tpu_system_metadata(self):
    name = '/job:localhost/replica:0/task:0/device:TPU:'
    return tpu_system_metadata.TPUSystemMetadata(
      num_cores=CORES,
      num_hosts=1,
      num_of_cores_per_host=CORES,
      topology=None,
      devices=[tf.config.LogicalDevice(f'{name}{i}', 'TPU') for i in range(CORES)],
    )


@pytest.fixture(scope='module')
def tpu_strategy():
  """Returns a `TPUStrategy` with CPUs as cores: it traces, but doesn't run."""
  strategy = tf.distribute.TPUStrategy(_Resolver(tf.train.ClusterSpec({})))
  extended = strategy.extended
  devices = [f'/job:localhost/replica:0/task:0/device:CPU:{i}' for i in range(CORES)]
  extended._tpu_devices = np.array([[device] for device in devices], dtype=object)
  extended._host_device = devices[0]
  extended._device_input_worker_devices = {devices[0]: devices}
  extended._host_input_worker_devices = {devices[0]: [devices[0]] * CORES}
  return strategy


def _small_model(dtype_policy=None, dropout=0.3):
  images = keras.Input((8, 8, 3), name='images')
  x = keras.layers.Conv2D(4, 3, dtype=dtype_policy, name='conv')(images)
  x = batch_norm.BatchNormalization(name='norm', dtype=dtype_policy)(x)
  x = keras.layers.GlobalAveragePooling2D(name='pool', dtype=dtype_policy)(x)
  x = keras.layers.Dropout(dropout, seed=1, name='dropout')(x)
  return keras.Model(images, keras.layers.Dense(5, dtype='float32', name='logits')(x))


def _efficientnet(dtype_policy=None, dropout=0.3):
  return efficientnet.build_model(
    'efficientnet-b0', num_classes=5, image_size=32, width_coefficient=0.25, depth_coefficient=0.25,
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


def _cluster(graph):
  """Returns the operations that `graph` sends to TPU cores, including those of called functions."""
  to_graph = function_def_to_graph.function_def_to_graph
  functions = {
    definition.signature.name: to_graph(definition).get_operations()
    for definition in graph.as_graph_def().library.function
  }
  operations = [*graph.get_operations(), *(op for body in functions.values() for op in body)]
  found = [op for op in operations if '_tpu_replicate' in op.node_def.attr]
  assert found, 'nothing was sent to the TPU'
  for op in found:  # The list grows during the loop.
    found += functions[op.get_attr('f').name] if op.type in _CALLS else []
  return found


def _ancestors(op):
  seen, pending = set(), [op]
  while pending:
    op = pending.pop()
    if op not in seen:
      seen.add(op)
      pending += [tensor.op for tensor in op.inputs]
  return seen


def _trace(trainer, function, *arguments):
  return function.__get__(trainer, Trainer).get_concrete_function(*arguments).graph


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
  cluster = _cluster(_trace(trainer, Trainer._train_loop, iterator, number, number))
  _check_compilable(cluster)
  updates = [op for op in cluster if op.type == update]
  assert len(updates) == len(trainer.model.trainable_variables)
  for op in updates:
    gradient = op.inputs[-1] if update == 'ResourceApplyRMSProp' else op.inputs[3]
    # A gradient without both does not depend on the loss, or is not summed over the cores.
    kinds = {ancestor.type for ancestor in _ancestors(gradient.op)}
    assert {'CrossReplicaSum', 'SoftmaxCrossEntropyWithLogits'} <= kinds, gradient


def _check_compilable(cluster):
  """Asserts that XLA has a kernel for every operation of the cluster."""
  for op in cluster:
    known = {kernel.device_type for kernel in kernels.get_registered_kernels_for_op(op.type).kernel}
    assert 'XLA_CPU_JIT' in known or op.type in _OF_TPUS | _CALLS, op.type


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
    _check_compilable(_cluster(_trace(trainer, function, *arguments)))


def test_predictions_and_rollouts_trace(tpu_strategy, not_run):
  def first(dataset_fn):
    return next(iter(tpu_strategy.distribute_datasets_from_function(dataset_fn)))

  trainer = toy_tasks.make_trainer(tpu_strategy, toy_tasks.recall_task())
  batch, step = first(toy_tasks.Pairs().eval_dataset), tf.constant(0, tf.int64)
  _check_compilable(_cluster(_trace(trainer, Trainer._predict_batch, batch)))
  _check_compilable(_cluster(_trace(trainer, Trainer._eval_batch, batch, step)))
  trainer = toy_tasks.make_trainer(tpu_strategy, toy_tasks.reward_task(), units=3)
  batch = first(toy_tasks.contexts)
  _check_compilable(_cluster(_trace(trainer, Trainer._rollout, batch, step)))
  rolled = {name: _per_core(tpu_strategy, [32 // CORES]) for name in ('actions', 'contexts')}
  rolled['reward'] = _per_core(tpu_strategy, [32 // CORES], tf.float32)
  _check_compilable(_cluster(_trace(trainer, Trainer._one_step, {**batch, **rolled}, step)))


def _per_core(strategy, shape, dtype=tf.int32):
  return strategy.experimental_distribute_values_from_function(lambda _: tf.zeros(shape, dtype))


def test_statistics_are_averaged_in_spite_of_xla(tpu_strategy, not_run):
  """XLA drops sums over cores of values that depend on mirrored variables alone, as equal."""
  trainer = _make_trainer(tpu_strategy, _small_model)
  cluster = _cluster(_trace(trainer, Trainer._synchronize))
  _check_compilable(cluster)
  sums = [op for op in cluster if op.type == 'CrossReplicaSum']
  assert len(sums) == 4  # Mean and variance, and their moving averages.
  for op in sums:
    inputs = [a for a in _ancestors(op) if a.type == 'TPUReplicatedInput']
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
@pytest.mark.parametrize(
  'build_model, optimizer',
  [
    (_small_model, 'rmsprop'),
    (_small_model, 'lars'),
    pytest.param(_efficientnet, 'rmsprop', marks=pytest.mark.slow),
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

