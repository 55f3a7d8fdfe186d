"""The training and evaluation steps, on any strategy: the canonical TPU loop.

One `tf.function` holds a loop over steps; each step runs the replicas with `strategy.run`, each on its
own batch. Keras' `fit` is not used: it fails under TPUStrategy and multi-worker, and hides the moving
averages and the per-replica batch norm.

What Keras leaves wrong under a strategy is put right here:

- Gradients are summed over replicas first, clipped then, so the result does not depend on their count.
- Moving statistics differ between replicas; `synchronize` averages them (and their moving averages)
  before anybody reads them: evaluation, checkpoints, export.
- Keras gives every replica the same random seeds; here each replica's seeds are set apart.
"""
import contextlib
import time
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from tpu_utils import distribute, metrics, optimizers
from tpu_utils.rollout import with_rewards
from tpu_utils.rows import RowCollector, replica_rows
from tpu_utils.task import Task

# Replica r draws from the streams of seed + r * _SEED_STRIDE (a prime, so streams do not meet soon).
_SEED_STRIDE = 1_000_003


class NonFiniteLossError(ValueError):
  """Training diverged."""


class Trainer:
  """Holds all that training changes: model, optimizer slots, moving averages, seeds, step.

  Build the model under `strategy.scope()` first. Batches are dicts; the model is fed those entries
  that its inputs name.

  Args:
    strategy: a `tf.distribute.Strategy`.
    model: a functional `keras.Model` with named inputs.
    task: a `Task`.
    optimizer: from `tpu_utils.optimizers`, not yet built; None if the model is only evaluated.
    learning_rate: function(step: int64 scalar) -> float32 scalar (`tpu_utils.schedules`).
    ema: a `tpu_utils.ema.ExponentialMovingAverage`, not yet built, or None.
    clip_norm: clip the summed gradient to this global norm; 0 for never.
    accumulation_steps: split each replica's batch into this many parts, one after the other.
    seed: of what `task.rollout` samples.
  """

  def __init__(
    self,
    strategy: tf.distribute.Strategy,
    model,
    task: Task,
    optimizer=None,
    learning_rate: Callable | None = None,
    *,
    ema=None,
    clip_norm: float = 0.0,
    accumulation_steps: int = 1,
    seed: int = 0,
  ):
    self.strategy = strategy
    self.model = model
    self.task = task
    self.step = 0
    self.ema = ema
    self._optimizer = optimizer
    self._learning_rate = learning_rate
    self._clip_norm = clip_norm
    self._accumulation_steps = accumulation_steps
    self._seed = seed
    self._averaged = False  # Whether the model holds its moving averages now.
    self._trainable = [v.value for v in model.trainable_variables]
    self._statistics_differ = False  # Between replicas, since the last `synchronize`.
    self._seeds = seed_states(model)
    seed_paths = {id(v) for v in self._seeds.values()}
    # Keras lists seed states among the weights, under names that count up within the process.
    self._weights = [v for v in model.variables if id(v) not in seed_paths]
    self.log_names = ['loss', 'gradient_norm', *task.losses, *task.train_metrics]
    with strategy.scope():
      if optimizer is not None:
        optimizer.build(model.trainable_variables)
      if ema is not None:
        ema.build(self._weights)
    self._spread_seeds()

  # ---- state

  def variables(self):
    """{name: tf.Variable} of all that a checkpoint holds, but the step."""
    named = {f'model/{v.path}': v.value for v in self._weights}
    if self._optimizer is not None:
      named |= {f'optimizer/{name}': v for name, v in self._optimizer.variables.items()}
    if self.ema is not None:
      named |= {f'ema/{path}': v for path, v in self.ema.variables.items()}
    return named | {f'seeds/{name}': v.value for name, v in self._seeds.items()}

  def restored(self, step):
    """To be called after the variables were set to those of `step`."""
    self.step = step
    self._statistics_differ = False
    self._spread_seeds()

  @contextlib.contextmanager
  def averaged_weights(self):
    """Within this context the model holds its moving averages (if there are any)."""
    self.synchronize()
    if self.ema is None or self._averaged:
      yield self.model
      return
    self._swap()
    self._averaged = True
    try:
      yield self.model
    finally:
      self._averaged = False
      self._swap()

  # ---- training

  def train_iterator(self, dataset_fn):
    """Iterator over `dataset_fn(input_context)`, whose batches are one replica's."""
    return iter(self.strategy.distribute_datasets_from_function(dataset_fn))

  def train(self, iterator, steps):
    """Trains `steps` steps.

    Returns:
      {name: mean} over these steps for 'loss' (with regularization), 'gradient_norm' (before
      clipping), each loss term and train metric, 'learning_rate' of the last step, and 'input_wait'
      (seconds a step waited for data; on an accelerator some of it passes while it is still at work).

    Raises:
      NonFiniteLossError: the loss or the gradient was infinite or not a number in some step. Those
        after it were taken all the same: a device that is asked after each step stands still.
    """
    self._statistics_differ = self.strategy.num_replicas_in_sync > 1
    loop = self._train_loop if self.task.rollout is None else self._rollout_loop
    good, totals, rate, wait = loop(
      iterator, tf.constant(self.step, tf.int64), tf.constant(steps, tf.int64)
    )
    if good < steps:
      raise NonFiniteLossError(f'the loss or its gradient was not finite in step {self.step + int(good) + 1}.')
    self.step += steps
    means = _means(self.log_names, totals)
    return {**means, 'learning_rate': float(rate), 'input_wait': float(wait) / steps}

  @tf.function(reduce_retracing=True)
  def _train_loop(self, iterator, first_step, steps):
    """The host's loop; `steps` is a tensor, so that another number does not trace it again."""
    done = tf.constant(0, tf.int64)
    good = tf.constant(0, tf.int64)  # Steps before the first whose loss or gradient isn't finite.
    totals = tf.zeros([len(self.log_names), 2], tf.float32)
    rate = tf.constant(0.0)
    wait = tf.constant(0.0, tf.float64)
    while done < steps:
      step = first_step + done
      asked = tf.timestamp()
      with tf.control_dependencies([asked]):
        batch = next(iterator)
      with tf.control_dependencies(self._local_tensors(batch)):
        wait += tf.timestamp() - asked
      logs = self.strategy.run(self._train_step, args=(batch, step))
      logs = self.strategy.reduce(tf.distribute.ReduceOp.SUM, logs, axis=None)
      finite = tf.reduce_all(tf.math.is_finite(logs[:2, 0]))  # Loss and gradient norm.
      good += tf.cast(finite & (good == done), tf.int64)
      totals += logs
      rate = self._learning_rate(step)
      done += 1
    return good, totals, rate, wait

  def step_fn(self, element_spec: Mapping, *, training: bool = True, jit_compile=None):
    """Returns the `tf.function(batch, step)` of one replica's step, to be traced or compiled alone.

    It runs under the strategy, which should have a single replica.

    Args:
      element_spec: that of a data set of one replica's batches; for a task with a rollout with the
        entries of `rollout` and `reward`, too.
      training: the training step, which returns its (names, 2) sums of logs; otherwise the
        evaluation step, which returns its sums and the rows that `task.summarize` needs.
      jit_compile: as for `tf.function`.
    """
    step_fn = self._train_step if training else self._eval_step

    def step(batch, step):
      return self.strategy.run(step_fn, args=(batch, step))

    signature = [dict(element_spec), tf.TensorSpec([], tf.int64)]
    return tf.function(step, input_signature=signature, jit_compile=jit_compile)

  def _train_step(self, batch, step):
    """Replica context: one update from this replica's batch; returns its (names, 2) sums of logs."""
    context = tf.distribute.get_replica_context()
    gradients, logs = self._accumulate(self.task.prepare(batch), step, context)
    gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
    if self._clip_norm:
      gradients, norm = optimizers.clip_by_global_norm(gradients, self._clip_norm)
    else:
      norm = tf.linalg.global_norm(gradients)
    self._optimizer.apply(gradients, self._learning_rate(step))
    if self.ema is not None:
      self.ema.apply(step + 1)
    share = 1 / context.num_replicas_in_sync  # The norm is the same on each replica.
    return tf.concat([logs[:1], _stack([(norm * share, share)]), logs[1:]], axis=0)

  def _accumulate(self, batch, step, context):
    """Replica context: gradients and logs of the batch, taken in `accumulation_steps` parts."""
    parts = self._accumulation_steps
    if parts == 1:
      return self._gradients(batch, step, context)
    batch = {name: _split(name, value, parts) for name, value in batch.items()}
    gradients, logs = None, 0.0
    # Unrolled: a strategy's reductions (of loss weights, of batch statistics) can't stand in a loop.
    for i in range(parts):
      own = {name: value[i] for name, value in batch.items()}
      part, part_logs = self._gradients(own, step, context)
      gradients = part if gradients is None else [a + b for a, b in zip(gradients, part, strict=True)]
      logs += part_logs
    return [g / parts for g in gradients], logs

  def _gradients(self, batch, step, context):
    """Replica context: this replica's share of the gradient of the global loss, and its logs."""
    replicas = context.num_replicas_in_sync
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(self._trainable)
      outputs = self.model(self._model_inputs(batch), training=True)
      terms = [loss(outputs, batch, step) for loss in self.task.losses.values()]
      weights = context.all_reduce(
        tf.distribute.ReduceOp.SUM, tf.stack([tf.cast(weight, tf.float32) for _, weight in terms])
      )
      # A term without any weight in this batch (nothing masked, say) counts nothing.
      shares = [tf.math.divide_no_nan(terms[i][0], weights[i]) for i in range(len(terms))]
      loss = tf.add_n(shares)
      if self.task.regularization is not None:
        loss += self.task.regularization() / replicas
    gradients = tape.gradient(loss, self._trainable, unconnected_gradients='zero')
    gradients = [tf.convert_to_tensor(g) for g in gradients]  # Embeddings give IndexedSlices.
    followed = [self.task.metrics[name](outputs, batch, step) for name in self.task.train_metrics]
    return gradients, _stack([(loss, 1 / replicas), *terms, *followed])

  # ---- training with a reward

  def _rollout_loop(self, iterator, first_step, steps):
    """`_train_loop` with the host's reward between rollout and update of each step."""
    good, totals, wait = 0, 0.0, 0.0
    for done in range(int(steps)):
      step = first_step + done
      asked = time.monotonic()
      batch = next(iterator)
      wait += time.monotonic() - asked
      rollout = self._rollout(batch, step)
      batch = with_rewards(self.strategy, batch, rollout, self.task.reward)
      logs = self._one_step(batch, step).numpy()
      good += int(good == done and np.isfinite(logs[:2, 0]).all())  # Loss and gradient norm.
      totals += logs
    return good, totals, self._learning_rate(step), wait

  @tf.function(reduce_retracing=True)
  def _rollout(self, batch, step):
    return self.strategy.run(self._rollout_step, args=(batch, step))

  def _rollout_step(self, batch, step):
    """Replica context."""
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    seed = tf.random.experimental.stateless_fold_in(tf.constant([self._seed, 0]), step)
    seed = tf.random.experimental.stateless_fold_in(seed, replica)
    return self.task.rollout(self.model, self.task.prepare(batch), seed)

  @tf.function(reduce_retracing=True)
  def _one_step(self, batch, step):
    logs = self.strategy.run(self._train_step, args=(batch, step))
    return self.strategy.reduce(tf.distribute.ReduceOp.SUM, logs, axis=None)

  # ---- evaluation

  def evaluate(self, dataset_fn: Callable, progress: Callable | None = None) -> dict[str, float]:
    """Evaluates the moving averages (or the weights, without any) on one pass over a data set.

    Args:
      dataset_fn: function(input_context) -> finite dataset of one replica's batches, the same number
        on each host, with 'weights' (0 for rows that only fill up a batch).
      progress: called with the number of batches done, or None.

    Returns:
      {name: mean} of the losses and metrics, and the regularization if the task has one; 'loss' is the
      sum of the loss terms and regularization. On the chief also what `task.summarize` says. A task
      with a rollout has no losses here, for want of a reward, and no `train_metrics`.

    Raises:
      ValueError: the data set is empty, or `summarize` uses the name of a mean.
    """
    penalties = [] if self.task.regularization is None else ['regularization']
    names = [*self._evaluated(), *penalties]
    totals, done = np.zeros([len(names), 2], np.float64), 0
    collector = RowCollector(self.strategy)
    step = tf.constant(self.step, tf.int64)
    with self.averaged_weights():
      dataset = self.strategy.distribute_datasets_from_function(collector.watch(dataset_fn))
      for done, batch in enumerate(dataset, start=1):
        sums, rows = self._eval_batch(batch, step)
        totals += sums.numpy()
        if rows:
          collector.add(rows)
        if progress:
          progress(done)
    if not done or (names and not totals[:, 1].any()):
      raise ValueError('the evaluation set is empty.')
    means = _means(names, totals)
    if self.task.rollout is None:
      means = {'loss': sum(means[name] for name in [*self.task.losses, *penalties]), **means}
    if self.task.summarize is None or not distribute.is_chief(self.strategy):
      return means
    return metrics.merged(means, self.task.summarize(collector.rows()), 'Task.summarize')

  def _evaluated(self):
    """{name: function} of all that evaluation averages."""
    task = self.task
    if task.rollout is None:
      return {**task.losses, **task.metrics}
    return {name: f for name, f in task.metrics.items() if name not in task.train_metrics}

  @tf.function(reduce_retracing=True)
  def _eval_batch(self, batch, step):
    sums, rows = self.strategy.run(self._eval_step, args=(batch, step))
    return self.strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None), rows

  def _eval_step(self, batch, step):
    """Replica context: (names, 2) sums of the losses and metrics of one replica's batch, and rows."""
    batch = self.task.prepare(batch)
    outputs = self.model(self._model_inputs(batch), training=False)
    sums = [function(outputs, batch, step) for function in self._evaluated().values()]
    if self.task.regularization is not None:
      sums.append((self.task.regularization(), 1))
    return _stack(sums), {} if self.task.summarize is None else self._rows(outputs, batch)

  def predict(
    self, dataset_fn: Callable, progress: Callable | None = None
  ) -> dict[str, np.ndarray]:
    """Predicts with the moving averages (or the weights, without any) in one pass over a data set.

    Args:
      dataset_fn: as for `evaluate`; what only the losses and metrics need may be missing.
      progress: called with the number of batches done, or None.

    Returns:
      {name: [rows, ...]} of what `task.predict` gives for each example, in the order of the data
      set, without the rows that only fill up batches; on every worker.

    Raises:
      ValueError: the task has no predictions.
    """
    if self.task.predict is None:
      raise ValueError('this task has no predictions: its Task.predict is missing.')
    collector = RowCollector(self.strategy)
    with self.averaged_weights():
      dataset = self.strategy.distribute_datasets_from_function(collector.watch(dataset_fn))
      for done, batch in enumerate(dataset, start=1):
        collector.add(self._predict_batch(batch))
        if progress:
          progress(done)
    return collector.rows()

  @tf.function(reduce_retracing=True)
  def _predict_batch(self, batch):
    return self.strategy.run(self._predict_step, args=(batch,))

  def _predict_step(self, batch):
    """Replica context."""
    batch = self.task.prepare(batch)
    return self._rows(self.model(self._model_inputs(batch), training=False), batch)

  def _rows(self, outputs, batch):
    """Replica context."""
    return replica_rows(self.strategy, self.task.predict(outputs, batch), batch.get('weights'))

  # ---- replicas

  def synchronize(self):
    """Averages over replicas what each follows by itself: moving statistics and their averages.

    Does nothing if there was no training since the last time, so that it costs nothing to ask for it,
    and one worker can export alone.
    """
    if self._statistics_differ:
      self._synchronize()
    self._statistics_differ = False

  @tf.function
  def _synchronize(self):
    self.strategy.run(self._average_statistics)

  def _average_statistics(self):
    """Replica context."""
    trainable = {id(v) for v in self.model.trainable_variables}
    own = [v for v in self._weights if id(v) not in trainable]
    variables = [v.value for v in own]
    if self.ema is not None:
      variables += [self.ema.variables[v.path] for v in own if v.path in self.ema.variables]
    if not variables:
      return
    context = tf.distribute.get_replica_context()
    # XLA takes a mirrored variable for equal on all replicas, and a reduction of equals for superfluous.
    # This zero, which it can't see through, makes the values differ in its eyes.
    zero = tf.minimum(context.replica_id_in_sync_group, 0)
    values = [v + tf.cast(zero, v.dtype) for v in variables]
    means = context.all_reduce(tf.distribute.ReduceOp.MEAN, values)
    for variable, mean in zip(variables, means, strict=True):
      tf.raw_ops.AssignVariableOp(resource=variable.handle, value=mean)

  @tf.function
  def _swap(self):
    self.strategy.run(self.ema.swap)

  def _spread_seeds(self):
    """Sets the seeds of each replica apart; replica 0 keeps its own, which is what is saved."""
    if self._seeds and self.strategy.num_replicas_in_sync > 1:
      self._add_to_seeds()

  @tf.function
  def _add_to_seeds(self):

    def add():
      replica = tf.distribute.get_replica_context().replica_id_in_sync_group
      for state in self._seeds.values():
        offset = tf.cast(replica, state.dtype) * tf.constant([_SEED_STRIDE, 0], state.dtype)
        tf.raw_ops.AssignVariableOp(resource=state.value.handle, value=state.value + offset)

    self.strategy.run(add)

  # ---- batches

  def _model_inputs(self, batch):
    names = [tensor.name for tensor in self.model.inputs]
    return batch[names[0]] if len(names) == 1 else {name: batch[name] for name in names}

  def _local_tensors(self, batch):
    values = tf.nest.flatten(batch)
    return tf.nest.flatten([self.strategy.experimental_local_results(value) for value in values])


def seed_states(model):
  """{layer name: keras.Variable} of the random seeds of `model`'s layers (dropout and its kin)."""
  generators = {
    layer.name: layer.seed_generator
    for layer in model._flatten_layers()
    if getattr(layer, 'seed_generator', None) is not None
  }
  return {name: generator.state for name, generator in generators.items()}


def _stack(pairs):
  if not pairs:
    return tf.zeros([0, 2])
  return tf.stack([tf.stack([tf.cast(x, tf.float32) for x in pair]) for pair in pairs])


def _means(names, totals):
  return {name: float(total / weight) for name, (total, weight) in zip(names, totals, strict=True)}


def _split(name, value, parts):
  if value.shape[0] % parts:
    raise ValueError(
      f'--gradient_accumulation_steps={parts} does not divide the {value.shape[0]} examples of each '
      f'replica\'s batch ({name}).'
    )
  return tf.reshape(value, [parts, value.shape[0] // parts, *value.shape[1:]])
