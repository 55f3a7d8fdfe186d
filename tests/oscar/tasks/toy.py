"""An OSCAR task in one file: find the picture, out of four, that a word belongs to.

It shows all that a new task needs: settings, batches, losses, predictions and a metric over all
rows.
"""
import dataclasses

import numpy as np
import tensorflow as tf

from oscar import job as oscar_job
from oscar import losses
from tpu_utils import job as jobs
from tpu_utils.command_line.settings import Checked, setting
from tpu_utils.trainer import Task

WORDS, FIRST_WORD = 4, 10  # Number of words, which is that of pictures; id of the first word.


@dataclasses.dataclass(frozen=True)
class DataConfig(Checked):
  """The vocabulary and the batches."""

  data_dir: str = setting('', 'Folder with the vocabulary.')
  max_seq_length: int = setting(4, 'Maximum word pieces of an example.', at_least=3)
  train_batch_size: int = setting(16, 'Global batch size for training.', at_least=1)
  eval_batch_size: int = setting(6, 'Global batch size for evaluation.', at_least=1)


class PairInput:
  """Every word with every picture: 16 pairs, of these 4 match."""

  num_train_examples = WORDS * WORDS

  def __init__(self, data, tokenizer, config, seed):
    del tokenizer, seed
    self._data = data
    word, picture = np.divmod(np.arange(WORDS * WORDS), WORDS)
    regions = np.zeros((WORDS * WORDS, 1, config.img_feature_dim), np.float32)
    regions[np.arange(WORDS * WORDS), 0, picture] = 3.0
    ids = np.zeros((WORDS * WORDS, data.max_seq_length), np.int32)
    ids[:, 0], ids[:, 1], ids[:, 2] = 2, FIRST_WORD + word, 3
    self._pairs = {
      'input_ids': ids,
      'token_type_ids': np.zeros_like(ids),
      'attention_mask': np.concatenate([ids > 0, np.ones([len(ids), 1])], axis=1).astype('int32'),
      'img_feats': regions,
      'matches': (word == picture).astype('int32'),
    }

  def train_dataset(self, context, start_example):
    size = context.get_per_replica_batch_size(self._data.train_batch_size)
    pairs = tf.data.Dataset.from_tensor_slices(self._pairs).repeat().skip(start_example)
    return pairs.batch(size, drop_remainder=True)

  def eval_dataset(self, context):
    size = context.get_per_replica_batch_size(self._data.eval_batch_size)
    fill = -len(self._pairs['matches']) % size
    padded = {k: np.concatenate([v, np.zeros_like(v[:fill])]) for k, v in self._pairs.items()}
    weights = np.repeat([1.0, 0.0], [len(self._pairs['matches']), fill]).astype('float32')
    return tf.data.Dataset.from_tensor_slices(padded | {'weights': weights}).batch(size)

  def explain(self, error):
    del error


def pair_task(data, source, model):
  """Returns the `Task`: cross-entropy of matching, recall at 1 over the pictures of each word."""
  del data, source, model

  def matching(outputs, batch, step):
    del step
    return losses.classification(outputs['logits'], batch['matches'], 'xe', batch.get('weights'))

  def predict(outputs, batch):
    return {'score': outputs['logits'][:, 1] - outputs['logits'][:, 0], 'matches': batch['matches']}

  def summarize(rows):
    best = rows['score'].reshape(WORDS, WORDS).argmax(1)
    return {'recall_at_1': rows['matches'].reshape(WORDS, WORDS)[np.arange(WORDS), best].mean()}

  return Task({'matching': matching}, predict=predict, summarize=summarize)


TASK = oscar_job.OscarTask(
  'retrieval', 'recall_at_1', PairInput, pair_task, lambda data: {'num_labels': 2}, ('num_labels',)
)


def run(*settings, **more):
  """Runs the job of the settings: model, data, optimization, job and hardware."""
  jobs.run(oscar_job.make_job(TASK, *settings, **more))
