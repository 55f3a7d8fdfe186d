"""A linear classifier of texts and tags: what can be learnt without a network.

Each feature, such as an n-gram, has an embedding as wide as the number of labels; the logits are
the sum of the embeddings of an example's features. So no feature changes what another one means.
"""

import re
from collections.abc import Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

_STEPS, _RATE = 200, 0.1  # Of Adam on all examples at once; the loss is convex.


def ngrams(text: str, longest: int = 3) -> list[str]:
  """Returns the n-grams of the words of a text, one for each place, up to `longest` words."""
  words = re.findall(r'\w+', text.lower())
  return [
    ' '.join(words[start : start + length])
    for length in range(1, longest + 1)
    for start in range(len(words) - length + 1)
  ]


class LinearClassifier:
  """Multinomial logistic regression on counted features.

  Minimises the mean cross-entropy plus |weights|^2 / (2 examples), from zero on all examples at
  once: the result does not depend on a seed.

  Args:
    examples: the features of each training example, repeated as often as they occur.
    labels: int [examples], the label of each.
    num_labels: number of labels.
  """

  def __init__(
    self, examples: Sequence[Sequence[str]], labels: Sequence[int], num_labels: int
  ) -> None:
    names = sorted({name for features in examples for name in features})
    self._place_of = {name: place for place, name in enumerate(names)}
    # On the CPU sums have a fixed order.
    with tf.device('CPU'):
      self._weights = keras.Variable(np.zeros([max(1, len(names)), num_labels], np.float32))
      self._bias = keras.Variable(np.zeros([num_labels], np.float32))
      self._fit(self._counts(examples), np.asarray(labels, np.int32))

  def predict(self, examples: Sequence[Sequence[str]]) -> np.ndarray:
    """Returns the most probable label of each example, int [examples].

    Args:
      examples: the features of each; unknown ones are left out.
    """
    with tf.device('CPU'):
      return np.argmax(self._logits(self._counts(examples)).numpy(), axis=-1)

  def _counts(self, examples: Iterable[Sequence[str]]) -> tf.SparseTensor:
    rows, places, length = [], [], 0
    for row, features in enumerate(examples):
      known = [self._place_of[name] for name in features if name in self._place_of]
      places += sorted(known)
      rows += [row] * len(known)
      length = row + 1
    indices = np.stack([rows, places], axis=1).reshape(-1, 2).astype(np.int64)
    unique, counts = np.unique(indices, axis=0, return_counts=True)
    shape = [length, max(1, len(self._place_of))]
    return tf.SparseTensor(unique, counts.astype(np.float32), shape)

  def _logits(self, counts):
    return tf.sparse.sparse_dense_matmul(counts, self._weights.value) + self._bias.value

  def _fit(self, counts, labels):
    decayed = keras.optimizers.schedules.CosineDecay(_RATE, _STEPS)
    optimizer = keras.optimizers.Adam(decayed)
    variables = [self._weights, self._bias]
    optimizer.build(variables)

    @tf.function(autograph=False)
    def step():
      with tf.GradientTape() as tape:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, self._logits(counts))
        penalty = tf.reduce_sum(self._weights.value**2) / (2 * len(labels))
        loss = tf.reduce_mean(losses) + penalty
      gradients = tape.gradient(loss, [variable.value for variable in variables])
      optimizer.apply_gradients(zip(gradients, variables, strict=True))

    for _ in range(_STEPS):
      step()
