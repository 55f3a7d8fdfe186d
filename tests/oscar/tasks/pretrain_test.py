"""Losses, gradients and accuracies of pre-training, through the trainer."""
import numpy as np
import pytest
import tensorflow as tf

from oscar.tasks.pretrain import pretrain_task
from tests.oscar import golden_models
from tpu_utils.optimizers import build_optimizer
from tpu_utils.trainer import Trainer

NAMES = ('input_ids', 'token_type_ids', 'attention_mask', 'img_feats')
NO_DROPOUT = {'hidden_dropout_prob': 0.0, 'attention_probs_dropout_prob': 0.0}


def golden_batch(classes):
  """The reference batch; every position is among the 'masked' ones, as in the official code."""
  z = golden_models.load('pretraining.npz')
  batch = golden_models.inputs(z, *NAMES)
  batch['masked_lm_labels'] = z['masked_lm_labels']
  batch['next_sentence_label'] = z[f'c{classes}/next_sentence_label'].ravel()
  rows, positions = batch['masked_lm_labels'].shape
  batch['masked_positions'] = np.tile(np.arange(positions, dtype=np.int32), (rows, 1))
  return z, batch


def trainer_of(strategy, classes=2):
  with strategy.scope():
    model = golden_models.build('pretrain', num_contrast_classes=classes, **NO_DROPOUT)
  return Trainer(strategy, model, pretrain_task(), build_optimizer('adamw'), lambda step: 0.0)


@pytest.mark.slow
@pytest.mark.parametrize('classes', [2, 3])
def test_losses_and_gradient_norm_are_the_official_ones(classes):
  z, batch = golden_batch(classes)
  trainer = trainer_of(tf.distribute.OneDeviceStrategy('CPU:0'), classes)
  dataset = tf.data.Dataset.from_tensors(batch).repeat()
  logs = trainer.train(trainer.train_iterator(lambda context: dataset), 1)
  for name in ('loss', 'masked_lm_loss', 'next_sentence_loss'):
    np.testing.assert_allclose(logs[name], z[f'c{classes}/{name}'], atol=1e-5, rtol=1e-6)
  norm, _ = golden_models.load('pretraining_grad_norms.json')[f'c{classes}']['__total_norm__']
  np.testing.assert_allclose(logs['gradient_norm'], norm, rtol=1e-5)


def test_accuracies_ignore_positions_without_label_or_weight():
  z, batch = golden_batch(3)
  rows = len(batch['input_ids'])
  weights = np.ones(rows, np.float32)
  weights[-1] = 0
  trainer = trainer_of(tf.distribute.OneDeviceStrategy('CPU:0'), 3)
  dataset = tf.data.Dataset.from_tensors(batch | {'weights': weights})
  found = trainer.evaluate(lambda context: dataset)
  labels = batch['masked_lm_labels'][:-1]
  right = z['c3/prediction_scores'][:-1].argmax(-1) == labels
  np.testing.assert_allclose(found['masked_accuracy'], right[labels != -1].mean(), rtol=1e-6)
  right = z['c3/seq_relationship_score'][:-1].argmax(-1) == batch['next_sentence_label'][:-1]
  np.testing.assert_allclose(found['contrast_accuracy'], right.mean(), rtol=1e-6)


@pytest.mark.slow
def test_a_batch_without_masked_words_learns_from_the_contrast_alone():
  """The official code returns NaN."""
  _, batch = golden_batch(2)
  batch['masked_lm_labels'] = np.full_like(batch['masked_lm_labels'], -1)
  trainer = trainer_of(tf.distribute.OneDeviceStrategy('CPU:0'))
  dataset = tf.data.Dataset.from_tensors(batch).repeat()
  logs = trainer.train(trainer.train_iterator(lambda context: dataset), 1)
  np.testing.assert_allclose(logs['loss'], logs['next_sentence_loss'], rtol=1e-6)
  assert logs['gradient_norm'] > 0
