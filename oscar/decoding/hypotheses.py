"""The best finished captions of each image, as arrays.

Source: microsoft/Oscar, `BeamHypotheses` of oscar/modeling/modeling_utils.py.
"""
from typing import NamedTuple

import tensorflow as tf

NONE = float('-inf')  # Score of a place without caption.
_MISSING = -1e5  # The official score of a caption that the search did not find.


class Hypotheses(NamedTuple):
  """The best captions so far, best first.

  Attributes:
    ids: int32 [B, keep, T].
    scores: float32 [B, keep]; -inf where there is none yet.
  """

  ids: tf.Tensor
  scores: tf.Tensor


def empty(batch: tf.Tensor, keep: int, length: int, pad: int) -> Hypotheses:
  """Returns places for `keep` captions of `length` tokens of each of `batch` images."""
  return Hypotheses(tf.fill([batch, keep, length], pad), tf.fill([batch, keep], NONE))


def add(hypotheses: Hypotheses, ids: tf.Tensor, scores: tf.Tensor) -> Hypotheses:
  """Keeps the best of the captions so far and new ones; at equal scores, the earlier one.

  Args:
    hypotheses: the captions so far.
    ids: int32 [B, n, T].
    scores: float32 [B, n]; -inf for rows that are not finished captions.
  """
  keep = hypotheses.scores.shape[1]
  scores = tf.concat([hypotheses.scores, scores], axis=1)
  scores, best = tf.math.top_k(scores, keep)
  ids = tf.gather(tf.concat([hypotheses.ids, ids], axis=1), best, batch_dims=1)
  return Hypotheses(ids, scores)


def is_done(hypotheses: Hypotheses, best_score: tf.Tensor) -> tf.Tensor:
  """Returns whether no caption can enter any more, bool [B].

  Args:
    hypotheses: the captions so far.
    best_score: float32 [B], the best score that an unfinished caption can reach.
  """
  worst = hypotheses.scores[:, -1]
  return (worst > NONE) & (worst >= best_score)


def result(hypotheses: Hypotheses) -> dict[str, tf.Tensor]:
  """Returns {'ids', 'logprobs'} as `decoding.generate`; -1e5 and padding where there is none."""
  scores = hypotheses.scores
  return {'ids': hypotheses.ids, 'logprobs': tf.where(scores > NONE, scores, _MISSING)}
