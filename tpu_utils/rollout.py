"""Computes rewards for a model's samples on the host, and returns them to the replicas."""
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf


def with_rewards(
  strategy: tf.distribute.Strategy, batch: Mapping, rollout: Mapping, reward: Callable
) -> dict:
  """Returns the batch with the rollout and its reward added, all as values per replica.

  The client fetches the rows and sends the rewards; no Python runs within a graph, so this works on
  remote TPU hosts, too.

  Args:
    strategy: the `tf.distribute.Strategy`.
    batch: {name: value per replica}.
    rollout: {name: value per replica, [batch, ...]}, see `Task.rollout`.
    reward: `Task.reward`, called once with the rows of this host's replicas.

  Raises:
    ValueError: `reward` did not return a value for each row.
  """
  replicas = [
    [value.numpy() for value in strategy.experimental_local_results(column)]
    for column in rollout.values()
  ]
  sizes = [len(value) for value in replicas[0]]
  rows = dict(zip(rollout, map(np.concatenate, replicas), strict=True))
  rewards = {name: np.asarray(value) for name, value in reward(rows).items()}
  for name, value in rewards.items():
    if value.shape[:1] != (sum(sizes),):
      raise ValueError(
        f'Task.reward: {name} has shape {value.shape}; expected one value for each of the '
        f'{sum(sizes)} rows.'
      )
  ends = np.cumsum(sizes)[:-1]
  parts = zip(*(np.split(value, ends) for value in rewards.values()), strict=True)

  def next_replica(context):  # Called once for each replica of this host, in their order.
    del context
    return dict(zip(rewards, map(tf.constant, next(parts)), strict=True))

  values = strategy.experimental_distribute_values_from_function(next_replica)
  return {**batch, **rollout, **values}
