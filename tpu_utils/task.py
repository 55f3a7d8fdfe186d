"""The learning task of a trainer: losses, metrics, predictions and rewards as functions."""
import dataclasses
from collections.abc import Callable, Mapping


@dataclasses.dataclass(frozen=True)
class Task:
  """Functions of model outputs and batch that define a task; called in replica context.

  Attributes:
    losses: {name: function(outputs, batch, step) -> (sum, weight)}. Each loss term is the sum over
      the global batch divided by the weight over the global batch; the terms are added up.
      `step` is an int64 scalar: the number of steps taken before.
    metrics: {name: function(outputs, batch, step) -> (sum, weight)}, averaged in the same way.
      Evaluation calls all of them, training only those of `train_metrics`.
    train_metrics: names of the metrics to report while training.
    regularization: function() -> scalar added to the loss once (not once per replica), or None.
    prepare: function(batch) -> batch, called first in a step (for example to undo a transposition).
    predict: function(outputs, batch) -> {name: [batch, ...]}: answers, scores or decoded ids of
      each example. A task that decodes step by step calls its model here. None: no predictions.
    summarize: function({name: [rows, ...]}) -> {metric: float}, called on the chief with the
      results of `predict` for a whole data set, numpy arrays in its order. None: no metrics besides
      means.
    rollout: function(model, batch, seed) -> {name: [batch, ...]}: samples from the model, without
      gradient. `seed` (int32 [2], for `tf.random.stateless_*`) depends on step and replica. The
      result joins the batch that the losses get. None: no rollout. Evaluation samples nothing.
    reward: function({name: [rows, ...]}) -> {name: [rows, ...]}, called in Python on the host with
      the results of `rollout` for this host's replicas, as numpy arrays. Its result joins the
      batch, too. Required with `rollout`.
    losses_in_evaluation: whether evaluation batches have what losses and `train_metrics` need.
      False where evaluation only predicts; always False with a rollout.

  Raises:
    ValueError: a function that another one needs is missing.
  """

  losses: Mapping[str, Callable]
  metrics: Mapping[str, Callable] = dataclasses.field(default_factory=dict)
  train_metrics: tuple[str, ...] = ()
  regularization: Callable | None = None
  prepare: Callable = lambda batch: batch
  predict: Callable | None = None
  summarize: Callable | None = None
  rollout: Callable | None = None
  reward: Callable | None = None
  losses_in_evaluation: bool = True

  def __post_init__(self):
    if self.summarize is not None and self.predict is None:
      raise ValueError('Task: summarize needs predict, which returns its rows.')
    if (self.rollout is None) != (self.reward is None):
      raise ValueError('Task: rollout and reward need each other.')
    if self.rollout is not None:
      object.__setattr__(self, 'losses_in_evaluation', False)
