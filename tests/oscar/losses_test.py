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
  loss = losses.classification_loss(heads[logits], labels, loss_type)
  np.testing.assert_allclose(loss, heads[expected], rtol=1e-6, atol=1e-6)


def test_unknown_loss_type():
  with pytest.raises(ValueError, match="Unknown loss_type 'bcd': did you mean bce"):
    losses.classification_loss(np.zeros((1, 2), 'float32'), np.zeros((1, 2)), 'bcd')


CAPTION = [k for k in golden_models.load('caption_training.npz').files if k.startswith('loss_fn/ls')]


@pytest.mark.parametrize('case', CAPTION)
def test_caption_loss_agrees_with_official_code(case):
  z = golden_models.load('caption_training.npz')
  smoothing, ratio, after = re.match(r'loss_fn/ls(.*)_dw(.*)_after(\d+)/', case).groups()
  settings = (float(smoothing), float(ratio), int(after))
  for calls, expected in enumerate(z[case], 1):
    loss = losses.caption_loss(z['loss_fn/logits'], z['loss_fn/target'], *settings, calls)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_caption_padding_changes_nothing():
  """Padding words neither count nor are they among the kept ones, whatever their logits."""
  rng = np.random.default_rng(0)
  logits = rng.normal(0, 3, (5, 3, 30)).astype('float32')
  ids = rng.integers(1, 30, (5, 3))
  ids[:, 2] = 0
  padded = losses.caption_loss(logits, ids, 0.1, 0.35)
  bare = losses.caption_loss(logits[:, :2], ids[:, :2], 0.1, 0.35)
  np.testing.assert_allclose(padded, bare, rtol=1e-6)


def test_forward_passes_may_be_a_tensor():
  logits = np.random.default_rng(0).normal(0, 3, (10, 30)).astype('float32')
  ids = np.arange(1, 11)

  @tf.function
  def loss(step):
    return losses.caption_loss(logits, ids, 0.0, 0.5, 3, step)

  assert loss(tf.constant(3)) == loss(tf.constant(1)) > loss(tf.constant(4))


def test_nothing_to_predict_gives_zero_and_no_gradient():
  logits = tf.random.stateless_normal((4, 3), (0, 1))
  with tf.GradientTape(persistent=True) as tape:
    tape.watch(logits)
    found = losses.cross_entropy(logits, np.full(4, -1)), losses.caption_loss(
      logits, np.zeros(4, int), 0.1, 0.2
    )
  for loss in found:
    assert loss == 0
    assert not np.any(tape.gradient(loss, logits))
