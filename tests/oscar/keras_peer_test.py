"""Tests of the BERT of Keras' layers that preflight compares with."""
import numpy as np
import pytest
import tensorflow as tf

import oscar
from oscar import job as oscar_job
from oscar import keras_peer, script_settings
from oscar.tasks import pretrain

SIZES = {
  'vocab_size': 40, 'hidden_size': 16, 'num_hidden_layers': 2, 'num_attention_heads': 2,
  'intermediate_size': 32, 'max_position_embeddings': 20, 'img_feature_dim': 14,
}  # fmt: skip


@pytest.mark.parametrize('norm', [False, True])
def test_it_has_our_parameters_and_trains_with_our_trainer(norm):
  config = oscar.OscarConfig(**SIZES, use_img_layernorm=norm)
  strategy = tf.distribute.OneDeviceStrategy('CPU:0')
  with strategy.scope():
    network = keras_peer.build_model(config)
  assert network.count_params() == oscar.build_model(config, 'pretrain').count_params()
  batch = {
    'input_ids': np.full([4, 8], 7, np.int32),
    'token_type_ids': np.zeros([4, 8], np.int32),
    'attention_mask': np.ones([4, 11], np.int32),
    'img_feats': np.ones([4, 3, 14], np.float32),
    'masked_positions': np.ones([4, 2], np.int32),
    'masked_lm_labels': np.full([4, 2], 3, np.int32),
    'next_sentence_label': np.ones([4], np.int32),
  }
  trainer = oscar_job.make_trainer(
    strategy, network, pretrain.pretrain_task(), script_settings.OptimizationConfig(), 100
  )
  iterator = trainer.train_iterator(lambda context: tf.data.Dataset.from_tensors(batch).repeat())
  assert np.isfinite(trainer.train(iterator, 1)['loss'])


def test_16_bit_outputs_are_float32():
  network = keras_peer.build_model(oscar.OscarConfig(**SIZES), 'mixed_bfloat16')
  assert network.output['prediction_scores'].dtype == 'float32'
  assert network.output['prediction_scores'].shape == (None, None, 40)
