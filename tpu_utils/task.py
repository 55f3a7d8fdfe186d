"""What a trainer learns: losses, metrics, predictions and rewards as functions."""
import dataclasses
from collections.abc import Callable, Mapping


@dataclasses.dataclass(frozen=True)
class Task:
  """Says what is learnt: functions of the model's outputs and the batch, called in replica context.

  Attributes:
    losses: {name: function(outputs, batch, step) -> (sum, weight)}; a term of the loss is the sum
      over the global batch divided by the weight over the global batch, and the terms are added up.
      `step` is an int64 scalar: the steps taken before.
    metrics: {name: function(outputs, batch, step) -> (sum, weight)}, likewise averaged; `evaluate`
      calls them together with the losses, training only those of `train_metrics`.
    train_metrics: names of the metrics to follow while training.
    regularization: function() -> scalar added to the loss once (not once a replica), or None.
    prepare: function(batch) -> batch, first thing in a step (for example to undo a transposition).
    predict: function(outputs, batch) -> {name: [batch, ...]}: answers, scores, decoded ids of each
      example. A task that decodes step by step calls its model here. None: no predictions.
    summarize: function({name: [rows, ...]}) -> {metric: float} of what `predict` gave for a whole
      data set, as numpy arrays in its order; called on the chief. None: the means are all there is.
    rollout: function(model, batch, seed) -> {name: [batch, ...]}: what the model samples, without
      gradient. `seed` (int32 [2], for `tf.random.stateless_*`) depends on step and replica. The
      losses find the result in the batch. None: no rollout. With one, evaluation has neither losses
      nor `train_metrics`, for nothing is rolled out there.
    reward: function({name: [rows, ...]}) -> {name: [rows, ...]} of what `rollout` gave for this
      host's replicas, as numpy arrays; called in Python on the host. The losses find its result in
      the batch, too. Needed with `rollout`.

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

  def __post_init__(self):
    if self.summarize is not None and self.predict is None:
      raise ValueError('Task: summarize needs predict, whose rows it reads.')
    if (self.rollout is None) != (self.reward is None):
      raise ValueError('Task: rollout and reward need each other.')
