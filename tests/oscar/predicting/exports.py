"""Tiny exports of every task with random weights, for the tests of predictions."""

import argparse
import pickle

import keras

import oscar
from oscar import checkpoints
from tests.oscar import loaders

VOCABULARY = loaders.GOLDENS / 'vocab' / 'vocab.txt'
LENGTHS = {'max_seq_length': loaders.LENGTH, 'max_img_seq_length': loaders.REGIONS}
ANSWERS = ['yes', 'no', 'red', 'two', 'cat', 'dog', 'on the left']
SETTINGS = {
  'vqa': {'task_name': 'vqa_text', 'loss_type': 'kl'},
  'gqa': {'loss_type': 'xe'},
  'nlvr2': {'use_pair': True, 'use_label_seq': True},
  'retrieval': {'add_od_labels': True, 'att_mask_type': 'CLR'},
  'pretrain': {},
  'captioning': {'add_od_labels': True, 'max_seq_a_length': 12, 'max_gen_length': 8},
}
# Weights of this size give logits that differ.
CONFIG = {
  'vocab_size': 400, 'hidden_size': 16, 'num_hidden_layers': 1, 'num_attention_heads': 2,
  'intermediate_size': 32, 'max_position_embeddings': 64, 'initializer_range': 0.3,
}  # fmt: skip


def write(folder, task, saved_model=False, config=None, **settings):
  """Writes an export; returns its model."""
  settings = {**LENGTHS, **SETTINGS[task], **settings}
  config = {'num_labels': len(ANSWERS) if task in ('vqa', 'gqa') else 2, **(config or {})}
  config = {'use_pair': settings.get('use_pair', True), **config}
  keras.utils.set_random_seed(1)
  model = oscar.build_model(oscar.OscarConfig(**{**CONFIG, **config}), task)
  info = {'settings': settings}
  if task in ('vqa', 'gqa'):
    info['answers'] = ANSWERS
  tokenizer = oscar.Tokenizer(VOCABULARY)
  checkpoints.save(model, tokenizer, str(folder), task_info=info, saved_model=saved_model)
  return model


def as_training_args(flags):
  """Returns `training_args.bin` as torch.save of the official scripts' time writes it."""
  parts = (0x1950A86A20F9469CFC6C, 1001, {'little_endian': True}, argparse.Namespace(**flags), [])
  return b''.join(pickle.dumps(part, protocol=2) for part in parts)
