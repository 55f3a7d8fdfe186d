"""Toy tasks for `task_test.py`, on any strategy; as a program, a worker of its two-worker job.

    python -m tests.tpu_utils.toy_tasks FOLDER

The worker writes the result of `outcomes` to FOLDER/<number of the worker>.json.
"""
import json
import os
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

from tpu_utils import config, distribute
from tpu_utils.optimizers import build_optimizer
from tpu_utils.runner import Runner
from tpu_utils.trainer import Task, Trainer

BATCH_SIZE = 8  # Over all replicas.
QUERIES, CANDIDATES = 5, 3
NUM_EVAL = QUERIES * CANDIDATES  # No multiple of the batch: the last batches are padded.


class Pairs:
  """Queries with candidates, one of them relevant; a query's rows lie in several batches."""

  def __init__(self):
    generator = np.random.default_rng(3)
    self.images = generator.normal(size=(NUM_EVAL, 4)).astype('float32')
    self.relevant = np.eye(CANDIDATES)[generator.integers(CANDIDATES, size=QUERIES)].ravel()
    self.relevant = self.relevant.astype('float32')

  def train_dataset(self, context, start_example):
    size = context.get_per_replica_batch_size(BATCH_SIZE)
    batch = {'images': self.images[:size], 'relevant': self.relevant[:size]}
    return tf.data.Dataset.from_tensors(batch).repeat().skip(start_example // BATCH_SIZE)

  def eval_dataset(self, context):
    pipelines, pipeline = context.num_input_pipelines, context.input_pipeline_id
    local_replicas = context.num_replicas_in_sync // pipelines
    share = -(-NUM_EVAL // pipelines)
    rows = np.arange(NUM_EVAL)[pipeline * share : (pipeline + 1) * share]
    size = 2  # Per replica.
    batches = -(-share // (size * local_replicas)) * local_replicas
    fill = batches * size - len(rows)
    weights = np.concatenate([np.ones(len(rows)), np.zeros(fill)]).astype('float32')
    rows = np.concatenate([rows, np.zeros(fill, int)])
    batch = {'images': self.images[rows], 'relevant': self.relevant[rows], 'row': rows}
    return tf.data.Dataset.from_tensor_slices(batch | {'weights': weights}).batch(size)

  def explain(self, error):
    del error


def make_trainer(strategy, task, units=1, rate=0.1):
  """Returns a `Trainer` of a linear model with fixed initial weights."""
  with strategy.scope():
    images = keras.Input((4,), name='images')
    model = keras.Model(images, keras.layers.Dense(units, name='score')(images), name='toy')
  kernel = np.linspace(-1, 1, 4 * units, dtype='float32').reshape(4, units)
  model.get_layer('score').kernel.assign(kernel)
  return Trainer(strategy, model, task, build_optimizer('sgd'), lambda step: rate)


# ---- rows of predictions and a metric computed from all of them


def squared_error(outputs, batch, step):
  del step
  weights = batch.get('weights', tf.ones_like(batch['relevant']))
  error = tf.square(outputs[:, 0] - batch['relevant'])
  return tf.reduce_sum(weights * error), tf.reduce_sum(weights)


def recall_task():
  """Returns a task that ranks the candidates of a query, from several batches and replicas."""

  def predict(outputs, batch):
    relevant = batch['relevant'] > 0.5
    return {'row': batch['row'], 'score': outputs[:, 0], 'relevant': relevant}

  def summarize(rows):
    scores = rows['score'].reshape(QUERIES, CANDIDATES)
    relevant = rows['relevant'].astype(bool).reshape(QUERIES, CANDIDATES)
    best = scores.argmax(axis=1)
    return {'recall_at_1': relevant[np.arange(QUERIES), best].mean()}

  return Task({'squared_error': squared_error}, predict=predict, summarize=summarize)


# ---- a reward from the host


def reward_task():
  """Returns a bandit: contexts are one-hot; Python on the host rewards action `context % 3`."""

  def rollout(model, batch, seed):
    logits = model(batch['images'], training=False)
    # The Gumbel trick: XLA has no `stateless_categorical`.
    uniform = tf.random.stateless_uniform(tf.shape(logits), seed, minval=1e-9)
    actions = tf.argmax(logits - tf.math.log(-tf.math.log(uniform)), -1, tf.int32)
    return {'actions': actions, 'contexts': tf.argmax(batch['images'], -1, tf.int32)}

  def reward(rows):
    pays = [int(a) == int(c) % 3 for a, c in zip(rows['actions'], rows['contexts'], strict=True)]
    return {'reward': np.array(pays, np.float32)}

  def reinforce(outputs, batch, step):
    del step
    log = tf.gather(tf.nn.log_softmax(outputs), batch['actions'], batch_dims=1)
    return -tf.reduce_sum(log * batch['reward']), tf.cast(tf.size(log), tf.float32)

  def mean_reward(outputs, batch, step):
    del outputs, step
    return tf.reduce_sum(batch['reward']), tf.cast(tf.size(batch['reward']), tf.float32)

  def greedy(outputs, batch, step):
    """Returns the reward of the most probable action: a metric for evaluation without rollout."""
    del step
    best = tf.argmax(outputs, -1, tf.int32)
    right = best == tf.argmax(batch['images'], -1, tf.int32) % 3
    return tf.reduce_sum(tf.cast(right, tf.float32)), tf.cast(tf.size(best), tf.float32)

  return Task(
    {'reinforce': reinforce},
    {'mean_reward': mean_reward, 'greedy': greedy},
    ('mean_reward',),
    rollout=rollout,
    reward=reward,
  )


def contexts(context):
  size = context.get_per_replica_batch_size(32)
  images = np.eye(4, dtype='float32')[np.arange(size) % 4]
  return tf.data.Dataset.from_tensors({'images': images}).repeat()


# ---- a loss that changes with the step


def late_task(first=2):
  """Returns a task that learns only from step `first` on, with the step as a metric."""

  def late(outputs, batch, step):
    total, weight = squared_error(outputs, batch, step)
    return tf.where(step < first, 0.0, total), weight

  def steps(outputs, batch, step):
    del outputs, batch
    return tf.cast(step, tf.float32), tf.constant(1.0)

  return Task({'late': late}, {'steps': steps}, ('steps',))


# ---- all tasks on one strategy


def outcomes(strategy, folder):
  """Returns {name: JSON-able result} of the tasks on a strategy; the job writes to `folder`."""
  pairs = Pairs()
  found = {}
  trainer = make_trainer(strategy, recall_task())
  rows = trainer.predict(pairs.eval_dataset)
  found['rows'] = {name: value.tolist() for name, value in rows.items()}
  found['results'] = trainer.evaluate(pairs.eval_dataset)

  trainer = make_trainer(strategy, reward_task(), units=3, rate=2.0)
  iterator = trainer.train_iterator(contexts)
  found['rewards'] = [trainer.train(iterator, 10)['mean_reward'] for _ in range(6)]
  found['greedy'] = trainer.evaluate(lambda context: contexts(context).take(2))
  found['policy'] = trainer.model.get_layer('score').kernel.numpy().tolist()

  trainer = make_trainer(strategy, late_task())
  iterator = trainer.train_iterator(lambda context: pairs.train_dataset(context, 0))
  kernels, steps = [], []
  for _ in range(4):
    steps.append(trainer.train(iterator, 1)['steps'])
    kernels.append(trainer.model.get_layer('score').kernel.numpy().ravel().tolist())
  found['late_steps'], found['late_kernels'] = steps, kernels
  found['late_evaluation'] = trainer.evaluate(pairs.eval_dataset)['steps']

  runner = Runner(
    make_trainer(strategy, recall_task()),
    config.JobConfig(
      model_dir=str(folder),
      train_steps=6,
      steps_per_eval=2,
      save_checkpoints_steps=2,
      iterations_per_loop=2,
    ),
    {'model_name': 'toy'},
    batch_size=BATCH_SIZE,
    examples_per_epoch=BATCH_SIZE,
    unit='pairs',
    objective='nearness',
    # A metric of all rows that is best in the middle, while the loss falls all the time.
    evaluators={'toy': lambda trainer, source: {
      'nearness': -abs(trainer.step - 4), 'seen': len(trainer.predict(source.eval_dataset)['row']),
    }},
  )  # fmt: skip
  runner.train(pairs, pairs)
  found['best'] = os.path.basename(runner.checkpoints.best())
  return found


def main(folder):
  strategy = distribute.create_strategy('multi_worker')
  number = strategy.cluster_resolver.task_id
  found = outcomes(strategy, pathlib.Path(folder) / 'workers')
  (pathlib.Path(folder) / f'{number}.json').write_text(json.dumps(found))


if __name__ == '__main__':
  main(sys.argv[1])
