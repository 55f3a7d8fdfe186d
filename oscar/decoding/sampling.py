"""Scores of words before a choice: repetition penalty, temperature, top-k and top-p; random draws.

Source: microsoft/Oscar, `top_k_top_p_filtering` and `_generate_no_beam_search` of
oscar/modeling/modeling_utils.py.
"""
import tensorflow as tf

from oscar.decoding.config import GenerationConfig

NEVER = float('-inf')


def penalize_repetition(
  scores: tf.Tensor, ids: tf.Tensor, length: tf.Tensor | int, penalty: float
) -> tf.Tensor:
  """Makes the words of a caption less probable: positive scores divided, others multiplied.

  Source: CTRL, arXiv 1909.05858, section 4.1.

  Args:
    scores: float32 [B, rows, V].
    ids: int32 [B, rows, T], the captions so far; [CLS] counts, too.
    length: scalar, their tokens.
    penalty: at least 1.

  Returns:
    float32 [B, rows, V].
  """
  if penalty == 1:
    return scores
  vocabulary, slots = scores.shape[-1], ids.shape[-1]
  # Slots without a word repeat the first one.
  ids = tf.where(tf.range(slots) < length, ids, ids[..., :1])
  ids = tf.reshape(ids, [-1])
  row = tf.range(tf.size(ids)) // slots
  shape = tf.stack([tf.size(ids) // slots, vocabulary])
  counts = tf.scatter_nd(tf.stack([row, ids], axis=1), tf.ones_like(ids), shape)
  used = tf.reshape(counts, tf.shape(scores)) > 0
  penalized = tf.where(scores < 0, scores * penalty, scores / penalty)
  return tf.where(used, penalized, scores)


def filter_words(scores: tf.Tensor, top_k: int, top_p: float) -> tf.Tensor:
  """Sets the scores of improbable words to -inf.

  Args:
    scores: float32 [..., V].
    top_k: words to keep, and those of equal score with the last; 0 for all.
    top_p: keeps the most probable words up to the one by which their probabilities sum to more
      than this; 1 for all.

  Returns:
    float32 [..., V].
  """
  if 0 < top_k < scores.shape[-1]:
    least = tf.math.top_k(scores, top_k).values[..., -1:]
    scores = tf.where(scores < least, NEVER, scores)
  if top_p < 1:
    order = tf.argsort(scores, direction='DESCENDING', stable=True)
    in_order = tf.gather(scores, order, batch_dims=scores.shape.rank - 1)
    before = tf.cumsum(tf.nn.softmax(in_order), axis=-1)[..., :-1]
    # A word is kept while the sum before it has not passed top_p; the first one always.
    kept = tf.concat([tf.ones_like(before[..., :1], tf.bool), before <= top_p], axis=-1)
    kept = tf.gather(kept, tf.argsort(order), batch_dims=scores.shape.rank - 1)
    scores = tf.where(kept, scores, NEVER)
  return scores


def draw(scores: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
  """Draws a word from the softmax of each row.

  Args:
    scores: float32 [..., V]; -inf for words that are never drawn.
    seed: int32 [2]; equal seeds give equal draws, with XLA as without.

  Returns:
    int32 [...].
  """
  # TensorFlow's uniform floats differ between XLA and its own kernels, its bits do not.
  bits = tf.random.stateless_uniform(
    tf.shape(scores), seed, minval=None, maxval=None, dtype=tf.uint32, alg='philox'
  )
  bits = tf.cast(tf.bitwise.right_shift(bits, tf.constant(9, tf.uint32)), tf.int32)
  uniform = (tf.cast(bits, tf.float32) + 0.5) * 2.0**-23  # In (0, 1), without the ends.
  # The largest of scores with Gumbel noise is a draw from their softmax.
  noise = -tf.math.log(-tf.math.log(uniform))
  return tf.argmax(scores + noise, axis=-1, output_type=tf.int32)


def choose(
  scores: tf.Tensor, config: GenerationConfig, seed: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor]:
  """Chooses the next words: the most probable ones, or random ones with `do_sample`.

  Args:
    scores: float32 [B, rows, V].
    config: the settings.
    seed: int32 [2], of this step's draws.

  Returns:
    (words int32 [B, rows], their log-probabilities float32 [B, rows] in the distribution that they
    were chosen from).
  """
  if config.do_sample:
    scores = filter_words(scores / config.temperature, config.top_k, config.top_p)
    words = draw(scores, seed)
  else:
    words = tf.argmax(scores, axis=-1, output_type=tf.int32)
  return words, tf.gather(tf.nn.log_softmax(scores), words, batch_dims=2)


def log_probabilities(
  scores: tf.Tensor, words: tf.Tensor, config: GenerationConfig
) -> tf.Tensor:
  """Computes the log-probabilities of words that `choose` chose, differentiable.

  A word that rounding alone keeps from being among `top_k` or `top_p` here stays finite.

  Args:
    scores: float32 [B, rows, V], as for `choose`.
    words: int32 [B, rows].
    config: the settings.

  Returns:
    float32 [B, rows].
  """
  considered = scores
  if config.do_sample:
    scores = scores / config.temperature
    considered = filter_words(scores, config.top_k, config.top_p)
  return tf.gather(scores, words, batch_dims=2) - tf.reduce_logsumexp(considered, axis=-1)
