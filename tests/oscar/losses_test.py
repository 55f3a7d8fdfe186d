"""The losses agree with the official code; padding and weights."""
import re

import numpy as np
import pytest
import tensorflow as tf

from oscar import losses
from tests.oscar import golden_models


@pytest.fixture(scope='module')
def heads():
  return golden_models.load('task_heads.npz')


def soft_targets(heads):
  targets = np.zeros((6, 3129), 'float32')
  targets[tuple(heads['vqa_kl/target_index'].T)] = heads['vqa_kl/target_value']
  return targets


@pytest.mark.parametrize(
  ('loss_type', 'logits', 'labels', 'expected'),
  [
    ('bce', 'vqa/vqa_mlp3/logits', 'vqa/targets', 'vqa/vqa_mlp3/bce_loss'),
    ('xe', 'vqa/vqa_mlp3/logits', 'vqa/hard_labels', 'vqa/vqa_mlp3/xe_loss'),
    ('xe', 'gqa/logits', 'gqa/labels', 'gqa/xe_loss'),
    ('sfmx', 'retrieval/logits', 'retrieval/labels', 'retrieval/loss'),
    ('sfmx', 'retrieval_regression/logits', 'retrieval/labels', 'retrieval_regression/loss'),
    ('bce', 'nlvr2/nlvr2_pair_mlp3/logits', 'nlvr2/bce_targets', 'nlvr2/nlvr2_pair_mlp3/bce_loss'),
    ('kl', 'vqa_kl/logits', None, 'vqa_kl/kl_loss'),
    ('bce', 'vqa_kl/logits', None, 'vqa_kl/bce_loss_same_targets'),
  ],
)
def test_classification_agrees_with_official_code(heads, loss_type, logits, labels, expected):
  labels = soft_targets(heads) if labels is None else heads[labels]
  loss = losses.mean(losses.classification(heads[logits], labels, loss_type))
  np.testing.assert_allclose(loss, heads[expected], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('loss_type', ['kl', 'x2', 'sfmx', 'bxe'])
def test_other_names_of_cross_entropy(loss_type):
  """The official NLVR2 pair model treats 'kl', its script's default, as cross-entropy."""
  logits, labels = np.array([[1.0, 2.0], [0.5, -1.0]], 'float32'), np.array([0, 1])
  found = losses.mean(losses.classification(logits, labels, loss_type))
  expected = losses.mean(losses.classification(logits, labels, 'xe'))
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_unknown_loss_type():
  with pytest.raises(ValueError, match="Unknown loss_type 'bcd': did you mean bce"):
    losses.classification(np.zeros((1, 2), 'float32'), np.zeros((1, 2)), 'bcd')


CAPTION_ARRAYS = golden_models.load('caption_training.npz').files


@pytest.mark.parametrize('case', [k for k in CAPTION_ARRAYS if k.startswith('loss_fn/ls')])
def test_caption_loss_agrees_with_official_code(case):
  z = golden_models.load('caption_training.npz')
  smoothing, ratio, after = re.match(r'loss_fn/ls(.*)_dw(.*)_after(\d+)/', case).groups()
  settings = (float(smoothing), float(ratio), int(after))
  for calls, expected in enumerate(z[case], 1):
    loss = losses.captioning(z['loss_fn/logits'], z['loss_fn/target'], *settings, calls)
    np.testing.assert_allclose(losses.mean(loss), expected, rtol=1e-6)


def test_caption_padding_changes_nothing():
  """Padding words neither count nor take the place of kept words, for any logits."""
  rng = np.random.default_rng(0)
  logits = rng.normal(0, 3, (5, 3, 30)).astype('float32')
  ids = rng.integers(1, 30, (5, 3))
  ids[:, 2] = 0
  padded = losses.captioning(logits, ids, 0.1, 0.35)
  bare = losses.captioning(logits[:, :2], ids[:, :2], 0.1, 0.35)
  np.testing.assert_allclose(padded, bare, rtol=1e-6)


def test_forward_passes_may_be_a_tensor():
  logits = np.random.default_rng(0).normal(0, 3, (10, 30)).astype('float32')
  ids = np.arange(1, 11)

  @tf.function
  def loss(step):
    return losses.mean(losses.captioning(logits, ids, 0.0, 0.5, 3, step))

  assert loss(tf.constant(3)) == loss(tf.constant(1)) > loss(tf.constant(4))


def test_nothing_to_predict_gives_zero_and_no_gradient():
  logits = tf.random.stateless_normal((4, 3), (0, 1))
  with tf.GradientTape(persistent=True) as tape:
    tape.watch(logits)
    found = [
      losses.mean(losses.cross_entropy(logits, np.full(4, -1))),
      losses.mean(losses.captioning(logits, np.zeros(4, int), 0.1, 0.2)),
    ]
  for loss in found:
    assert loss == 0
    assert not np.any(tape.gradient(loss, logits))


@pytest.mark.parametrize('loss_type', ['bce', 'kl', 'xe', 'regression'])
def test_rows_that_fill_up_a_batch_do_not_count(loss_type):
  rng = np.random.default_rng(0)
  classes = 1 if loss_type == 'regression' else 5
  logits = rng.normal(size=(6, classes)).astype('float32')
  soft = loss_type in ('bce', 'kl')
  labels = rng.random((6, classes)) if soft else rng.integers(0, 5, 6)
  kind = 'xe' if loss_type == 'regression' else loss_type
  whole = losses.classification(logits, labels, kind, np.array([1, 1, 1, 1, 0, 0]))
  part = losses.classification(logits[:4], labels[:4], kind)
  np.testing.assert_allclose(whole, part, rtol=1e-6)


def test_words_of_rows_that_fill_up_a_batch_do_not_count():
  rng = np.random.default_rng(0)
  scores = rng.normal(size=(3, 4, 7)).astype('float32')
  labels = np.array([[1, -1, 2, -1], [3, 4, 5, -1], [6, 6, 6, 6]])
  whole = losses.cross_entropy(scores, labels, np.array([1.0, 1.0, 0.0]))
  part = losses.cross_entropy(scores[:2], labels[:2])
  np.testing.assert_allclose(whole, part, rtol=1e-6)
  assert whole[1] == 5
