"""The training and evaluation steps, on any strategy: the canonical TPU loop.

One `tf.function` holds a loop over steps; in each step `strategy.run` runs every replica on its own
batch. Keras' `fit` is not used: it fails under TPUStrategy and multi-worker, and hides the moving
averages and the per-replica batch norm.

The trainer corrects three flaws of Keras under a strategy:

- Gradients are summed over replicas before they are clipped, so that the result does not depend on
  the number of replicas.
- Moving statistics differ between replicas; `synchronize` averages them (and their moving averages)
  before evaluation, checkpoints and export read them.
- Keras gives every replica the same random seeds; the trainer gives each replica its own.
"""
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf

from tpu_utils import accumulation, distribute, metrics, optimizers, python_input
from tpu_utils.ema import ExponentialMovingAverage
from tpu_utils.rollout import with_rewards
from tpu_utils.rows import RowCollector, across_processes, replica_rows
from tpu_utils.task import Task

# Replica r uses seed + r * _SEED_STRIDE, a prime so large that random streams do not meet soon.
_SEED_STRIDE = 1_000_003
_EVAL_LOOP_SECONDS = 2.0  # Aimed length of an evaluation loop; progress and signals wait for it.
_STEPS_TOGETHER = 100  # Steps of such a loop with several processes, which need equal ones.


class NonFiniteLossError(ValueError):
  """The loss or its gradient became infinite or NaN: training diverged."""


class Trainer:
  """State and steps of training: model, optimizer slots, moving averages, seeds, step.

  Build the model under `strategy.scope()` first. Batches are dicts; the model gets the entries
  named like its inputs.

  Args:
    strategy: a `tf.distribute.Strategy`.
    model: a functional `keras.Model` with named inputs.
    task: a `Task`.
    optimizer: not yet built; None if the model is only evaluated.
    learning_rate: function(step: int64 scalar) -> float32 scalar (`tpu_utils.schedules`).
    ema: moving averages of the weights, not yet built; None for no averages.
    clip_norm: clip the summed gradient to this global norm; 0 disables clipping.
    accumulation_steps: process each replica's batch in this many parts, one after another.
    clip_each_part: clip the gradient summed so far after each part, not only the sum of all.
    seed: seed of the samples that `task.rollout` draws.
  """

  def __init__(
    self,
    strategy: tf.distribute.Strategy,
    model: keras.Model,
    task: Task,
    optimizer: optimizers.Optimizer | None = None,
    learning_rate: Callable | None = None,
    *,
    ema: ExponentialMovingAverage | None = None,
    clip_norm: float = 0.0,
    accumulation_steps: int = 1,
    clip_each_part: bool = False,
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
    self._clip_each_part = clip_each_part
    self._seed = seed
    self._averaged = False  # Whether the model holds its moving averages now.
    self._trainable = [v.value for v in model.trainable_variables]
    self._statistics_differ = False  # Between replicas, since the last `synchronize`.
    self._seeds = seed_states(model)
    seed_paths = {id(v) for v in self._seeds.values()}
    # Keras lists seed states among the weights, but their names differ between processes.
    self._weights = [v for v in model.variables if id(v) not in seed_paths]
    self.log_names = ['loss', 'gradient_norm', *task.losses, *task.train_metrics]
    with strategy.scope():
      if optimizer is not None:
        optimizer.build(model.trainable_variables)
      if ema is not None:
        ema.build(self._weights)
    self._spread_seeds()

  # ---- state

  def variables(self) -> dict[str, tf.Variable]:
    """Returns {name: tf.Variable} of everything in a checkpoint except the step."""
    named = {f'model/{v.path}': v.value for v in self._weights}
    if self._optimizer is not None:
      named |= {f'optimizer/{name}': v for name, v in self._optimizer.variables.items()}
    if self.ema is not None:
      named |= {f'ema/{path}': v for path, v in self.ema.variables.items()}
    return named | {f'seeds/{name}': v.value for name, v in self._seeds.items()}

  def restored(self, step: int) -> None:
    """Sets the step. Call it after assigning a checkpoint's values to the variables."""
    self.step = step
    self._statistics_differ = False
    self._spread_seeds()

  @contextlib.contextmanager
  def averaged_weights(self) -> Iterator[keras.Model]:
    """Gives the model its moving averages (if there are any) within a `with` block."""
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

  def train_iterator(self, dataset_fn: Callable) -> Iterator:
    """Returns a distributed iterator for `train`.

    Args:
      dataset_fn: function(input_context) -> endless dataset of one replica's batches.
    """
    return iter(self._distributed(dataset_fn))

  def _distributed(self, dataset_fn):
    dataset_fn = python_input.without_python(self.strategy, dataset_fn)
    return self.strategy.distribute_datasets_from_function(dataset_fn)

  def train(self, iterator: Iterator, steps: int) -> dict[str, float]:
    """Trains `steps` steps.

    Args:
      iterator: from `train_iterator`.
      steps: number of steps.

    Returns:
      {name: mean} over these steps for 'loss' (with regularization), 'gradient_norm' (before
      clipping), each loss term and train metric, 'learning_rate' of the last step, and 'input_wait'
      (seconds per step spent waiting for data; an accelerator may still compute meanwhile).

    Raises:
      NonFiniteLossError: the loss or the gradient was infinite or NaN in some step. All steps ran
        nevertheless: reading the loss after each step would leave the device idle.
    """
    self._statistics_differ = self.strategy.num_replicas_in_sync > 1
    loop = self._train_loop if self.task.rollout is None else self._rollout_loop
    good, totals, rate, wait = loop(
      iterator, tf.constant(self.step, tf.int64), tf.constant(steps, tf.int64)
    )
    if good < steps:
      step = self.step + int(good) + 1
      raise NonFiniteLossError(f'the loss or its gradient was not finite in step {step}.')
    self.step += steps
    means = metrics.means(self.log_names, totals)
    return {**means, 'learning_rate': float(rate), 'input_wait': float(wait) / steps}

  @tf.function(reduce_retracing=True)
  def _train_loop(self, iterator, first_step, steps):
    """Runs `steps` steps. `steps` is a tensor, so that another number causes no retracing."""
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
      if distribute.on_cpus(self.strategy):
        with tf.control_dependencies([wait]):  # One core would compute before it takes the time.
          batch = tf.nest.map_structure(tf.identity, batch, expand_composites=True)
      logs = self.strategy.run(self._train_step, args=(batch, step))
      logs = self.strategy.reduce(tf.distribute.ReduceOp.SUM, logs, axis=None)
      finite = tf.reduce_all(tf.math.is_finite(logs[:2, 0]))  # Loss and gradient norm.
      good += tf.cast(finite & (good == done), tf.int64)
      totals += logs
      rate = self._learning_rate(step)
      done += 1
    return good, totals, rate, wait

  def step_fn(
    self, element_spec: Mapping, *, training: bool = True, jit_compile: bool | None = None
  ) -> Callable:
    """Returns a `tf.function(batch, step)` of one replica's step, to trace or compile it alone.

    It runs under the strategy, which should have a single replica.

    Args:
      element_spec: {name: tf.TensorSpec} of one replica's batch; a task with a rollout also needs
        the entries from `rollout` and `reward`.
      training: True for the training step, which returns [names, 2] sums of logs; False for the
        evaluation step, which returns such sums and the rows for `task.summarize`.
      jit_compile: as for `tf.function`.
    """
    step_fn = self._train_step if training else self._eval_step

    def step(batch, step):
      return self.strategy.run(step_fn, args=(batch, step))

    signature = [dict(element_spec), tf.TensorSpec([], tf.int64)]
    return tf.function(step, input_signature=signature, jit_compile=jit_compile)

  def rollout_fn(self, element_spec: Mapping, *, jit_compile: bool | None = None) -> Callable:
    """Returns a `tf.function(batch, step)` of one replica's rollout, as `step_fn` returns a step.

    Args:
      element_spec: {name: tf.TensorSpec} of one replica's batch.
      jit_compile: as for `tf.function`.
    """

    def rollout(batch, step):
      return self.strategy.run(self._rollout_step, args=(batch, step))

    signature = [dict(element_spec), tf.TensorSpec([], tf.int64)]
    return tf.function(rollout, input_signature=signature, jit_compile=jit_compile)

  def _train_step(self, batch, step):
    """Updates the weights from this replica's batch (replica context).

    Returns [names, 2] float32: sum and weight of each of `log_names`.
    """
    context = tf.distribute.get_replica_context()
    gradients, norm, logs = accumulation.accumulate(
      accumulation.split(self.task.prepare(batch), self._accumulation_steps),
      lambda part: self._gradients(part, step, context),
      self._clip_norm,
      self._clip_each_part,
    )
    self._optimizer.apply(gradients, self._learning_rate(step))
    if self.ema is not None:
      self.ema.apply(step + 1)
    share = 1 / context.num_replicas_in_sync  # The norm is the same on each replica.
    return tf.concat([logs[:1], metrics.stack([(norm * share, share)]), logs[1:]], axis=0)

  def _gradients(self, batch, step, context):
    """Returns this replica's share of the global loss gradient, and its logs (replica context)."""
    replicas = context.num_replicas_in_sync
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(self._trainable)
      outputs = self.model(self._model_inputs(batch), training=True)
      terms = [loss(outputs, batch, step) for loss in self.task.losses.values()]
      weights = context.all_reduce(
        tf.distribute.ReduceOp.SUM, tf.stack([tf.cast(weight, tf.float32) for _, weight in terms])
      )
      # A term without weight in this batch (for example, no masked words) is zero.
      shares = [tf.math.divide_no_nan(terms[i][0], weights[i]) for i in range(len(terms))]
      loss = tf.add_n(shares)
      if self.task.regularization is not None:
        loss += self.task.regularization() / replicas
    # None for variables that the loss does not depend on, which an update then leaves as they are:
    # with zeros they would decay.
    gradients = tape.gradient(loss, self._trainable)
    # Embeddings give IndexedSlices.
    gradients = [None if g is None else tf.convert_to_tensor(g) for g in gradients]
    followed = [self.task.metrics[name](outputs, batch, step) for name in self.task.train_metrics]
    return gradients, metrics.stack([(loss, 1 / replicas), *terms, *followed])

  # ---- training with a reward

  def _rollout_loop(self, iterator, first_step, steps):
    """Runs `steps` steps like `_train_loop`, with the host's reward between rollout and update."""
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
    """Samples from the model with a seed of this step and replica (replica context)."""
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
    """Evaluates the moving averages (without them, the weights) in one pass over a data set.

    Args:
      dataset_fn: function(input_context) -> finite dataset of one replica's batches, equally many
        on each host, with 'weights': 0 for rows that pad the last batch.
      progress: called with the number of batches done, or None.

    Returns:
      {name: mean} of the losses, metrics and regularization (if any); 'loss' is the sum of the
      losses and the regularization. The chief adds the results of `task.summarize`. Without
      `task.losses_in_evaluation` there are neither losses nor `train_metrics`.

    Raises:
      ValueError: the data set is empty, or `summarize` returns a name that is taken.
    """
    penalties = [] if self.task.regularization is None else ['regularization']
    names = [*self._evaluated(), *penalties]
    sums, done = tf.zeros([len(names), 2], tf.float64), 0
    collector = RowCollector(self.strategy)
    with self.averaged_weights():
      dataset = self._distributed(collector.watch(dataset_fn))
      known = self.task.summarize is None and collector.num_steps is not None
      run = self._evaluate_in_loops if known else self._evaluate_by_batches
      for done, sums in run(dataset, sums, collector):  # noqa: B007, B020 (the last sums count)
        if progress:
          progress(done)
    totals = sums.numpy()
    if not done or (names and not totals[:, 1].any()):
      raise ValueError('the evaluation set is empty.')
    means = metrics.means(names, totals)
    if self.task.losses_in_evaluation:
      means = {'loss': sum(means[name] for name in [*self.task.losses, *penalties]), **means}
    if self.task.summarize is None or not distribute.is_chief(self.strategy):
      return means
    return metrics.merged(means, self.task.summarize(collector.rows()), 'Task.summarize')

  def _evaluated(self):
    """Returns {name: function} of the losses and metrics that evaluation averages."""
    task = self.task
    if task.losses_in_evaluation:
      return {**task.losses, **task.metrics}
    return {name: f for name, f in task.metrics.items() if name not in task.train_metrics}

  def _evaluate_in_loops(self, dataset, totals, collector):
    """Yields (batches done, sums so far) after each loop on the device, which is waited for."""
    iterator, step = iter(dataset), tf.constant(self.step, tf.int64)
    together = across_processes(self.strategy)
    loop, done, last = _STEPS_TOGETHER if together else 1, 0, collector.num_steps
    while done < last:
      steps, start = min(loop, last - done), time.monotonic()
      totals = self._eval_loop(iterator, step, totals, tf.constant(steps, tf.int64))
      totals.numpy()  # The device may have been given more work than it has done.
      if not together:
        loop = max(1, int(steps * _EVAL_LOOP_SECONDS / (time.monotonic() - start)))
      done += steps
      yield done, totals

  @tf.function(reduce_retracing=True)
  def _eval_loop(self, iterator, step, totals, steps):
    """Adds the sums of `steps` batches to `totals`, in float64 and one after another."""
    done = tf.constant(0, tf.int64)
    while done < steps:
      sums, _ = self.strategy.run(self._eval_step, args=(next(iterator), step))
      sums = self.strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)
      totals += tf.cast(sums, tf.float64)
      done += 1
    return totals

  def _evaluate_by_batches(self, dataset, totals, collector):
    """Yields (batches done, sums so far) after each batch; nothing is read but the rows."""
    for done, batch in enumerate(dataset, start=1):
      sums, rows = self._eval_batch(batch, tf.constant(self.step, tf.int64))
      totals += tf.cast(sums, tf.float64)
      if rows:
        collector.add(rows)
      yield done, totals

  @tf.function(reduce_retracing=True)
  def _eval_batch(self, batch, step):
    sums, rows = self.strategy.run(self._eval_step, args=(batch, step))
    return self.strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None), rows

  def _eval_step(self, batch, step):
    """Evaluates one replica's batch (replica context).

    Returns [names, 2] sums and weights of losses and metrics, and rows for `task.summarize`.
    """
    batch = self.task.prepare(batch)
    outputs = self.model(self._model_inputs(batch), training=False)
    sums = [function(outputs, batch, step) for function in self._evaluated().values()]
    if self.task.regularization is not None:
      sums.append((self.task.regularization(), 1))
    return metrics.stack(sums), {} if self.task.summarize is None else self._rows(outputs, batch)

  def predict(
    self, dataset_fn: Callable, progress: Callable | None = None
  ) -> dict[str, np.ndarray]:
    """Predicts with the moving averages (without them, the weights) for a whole data set.

    Args:
      dataset_fn: as for `evaluate`; entries that only losses and metrics read may be missing.
      progress: called with the number of batches done, or None.

    Returns:
      {name: [rows, ...]}: the results of `task.predict` for each example, in the order of the data
      set, without the rows that pad batches; the same on every worker.

    Raises:
      ValueError: the task has no predictions.
    """
    if self.task.predict is None:
      raise ValueError('this task has no predictions: its Task.predict is missing.')
    collector = RowCollector(self.strategy)
    with self.averaged_weights():
      dataset = self._distributed(collector.watch(dataset_fn))
      for done, batch in enumerate(dataset, start=1):
        collector.add(self._predict_batch(batch))
        if progress:
          progress(done)
    return collector.rows()

  @tf.function(reduce_retracing=True)
  def _predict_batch(self, batch):
    return self.strategy.run(self._predict_step, args=(batch,))

  def _predict_step(self, batch):
    """Predicts for one replica's batch (replica context)."""
    batch = self.task.prepare(batch)
    return self._rows(self.model(self._model_inputs(batch), training=False), batch)

  def _rows(self, outputs, batch):
    return replica_rows(self.strategy, self.task.predict(outputs, batch), batch.get('weights'))

  # ---- replicas

  def synchronize(self) -> None:
    """Averages batch norm's moving statistics, and their moving averages, over the replicas.

    Does nothing without training since the last call, so that repeated calls cost nothing and one
    worker can export alone.
    """
    if self._statistics_differ:
      self._synchronize()
    self._statistics_differ = False

  @tf.function
  def _synchronize(self):
    self.strategy.run(self._average_statistics)

  def _average_statistics(self):
    """Assigns the mean over replicas to each variable that is not trainable (replica context)."""
    trainable = {id(v) for v in self.model.trainable_variables}
    own = [v for v in self._weights if id(v) not in trainable]
    variables = [v.value for v in own]
    if self.ema is not None:
      variables += [self.ema.variables[v.path] for v in own if v.path in self.ema.variables]
    if not variables:
      return
    context = tf.distribute.get_replica_context()
    # XLA assumes that a mirrored variable is equal on all replicas and removes its reduction.
    # Adding a zero that XLA cannot evaluate prevents that.
    zero = tf.minimum(context.replica_id_in_sync_group, 0)
    values = [v + tf.cast(zero, v.dtype) for v in variables]
    means = context.all_reduce(tf.distribute.ReduceOp.MEAN, values)
    for variable, mean in zip(variables, means, strict=True):
      tf.raw_ops.AssignVariableOp(resource=variable.handle, value=mean)

  @tf.function
  def _swap(self):
    self.strategy.run(self.ema.swap)

  def _spread_seeds(self):
    """Gives each replica its own seeds; replica 0, which checkpoints save, keeps its seeds."""
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


def seed_states(model: keras.Model) -> dict[str, keras.Variable]:
  """Returns {layer name: variable} of the random seeds of `model`'s layers, such as dropout."""
  generators = {
    layer.name: layer.seed_generator
    for layer in model._flatten_layers()
    if getattr(layer, 'seed_generator', None) is not None
  }
  return {name: generator.state for name, generator in generators.items()}
