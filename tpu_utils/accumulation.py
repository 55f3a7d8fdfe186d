"""The gradient of a batch that is computed in parts: averaged over them, reduced and clipped."""

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from tpu_utils import optimizers


def split(batch: Mapping[str, tf.Tensor], parts: int) -> list[dict[str, tf.Tensor]]:
  """Splits a batch into equal parts.

  Raises:
    ValueError: `parts` does not divide the number of examples.
  """
  if parts == 1:
    return [dict(batch)]
  pieces = {name: _split(name, value, parts) for name, value in batch.items()}
  return [{name: value[i] for name, value in pieces.items()} for i in range(parts)]


def accumulate(
  parts: Sequence[Mapping[str, tf.Tensor]],
  gradients_of: Callable,
  clip_norm: float = 0.0,
  clip_each_part: bool = False,
) -> tuple[list[tf.Tensor | None], tf.Tensor, tf.Tensor]:
  """Computes the mean of the parts' gradients, summed over replicas and clipped (replica context).

  The parts are unrolled: a strategy cannot reduce loss weights and batch statistics inside a graph
  loop.

  Args:
    parts: the parts of this replica's batch.
    gradients_of: function(part) -> (this replica's gradients, logs); None for variables without
      gradient, the same in each part.
    clip_norm: largest global norm of the gradients; 0 disables clipping.
    clip_each_part: clip the sum so far after each part, not only the sum of all. Then early parts
      count less, and as many collective operations are needed as there are parts.

  Returns:
    (gradients, their norm before the last clipping, sum of the parts' logs).
  """
  total: list[tf.Tensor | None] = []
  norm = logs = tf.constant(0.0)
  for number, part in enumerate(parts, start=1):
    gradients, part_logs = gradients_of(part)
    logs += part_logs
    if clip_each_part:
      gradients = _all_reduced(_divided(gradients, len(parts)))
    if total:
      gradients = [_sum(before, new) for before, new in zip(total, gradients, strict=True)]
    total = gradients
    if number == len(parts) and not clip_each_part:
      total = _all_reduced(_divided(total, len(parts)))
    if number == len(parts) or clip_each_part:
      total, norm = _clipped(total, clip_norm)
  return total, norm, logs


def _clipped(gradients, clip_norm):
  if clip_norm:
    return optimizers.clip_by_global_norm(gradients, clip_norm)
  return gradients, tf.linalg.global_norm(gradients)


def _divided(gradients, parts):
  return gradients if parts == 1 else [None if g is None else g / parts for g in gradients]


def _all_reduced(gradients):
  """Returns the gradients summed over replicas; None stays None, the same on each replica."""
  own = [gradient for gradient in gradients if gradient is not None]
  if not own:
    return gradients  # The optimizer reports it.
  context = tf.distribute.get_replica_context()
  summed = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, own))
  return [None if gradient is None else next(summed) for gradient in gradients]


def _sum(total, gradient):
  return None if gradient is None else total + gradient


def _split(name, value, parts):
  if value.shape[0] % parts:
    raise ValueError(
      f'--gradient_accumulation_steps={parts} does not divide the {value.shape[0]} examples of '
      f"each replica's batch ({name})."
    )
  return tf.reshape(value, [parts, value.shape[0] // parts, *value.shape[1:]])
