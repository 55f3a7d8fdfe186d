"""The log's share of waiting for input, where one core does everything."""
import dataclasses
import json
import os
import subprocess
import sys
import time

import pytest
import tensorflow as tf

from tests.tpu_utils import trainer_test


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, 'sched_setaffinity'), reason='Linux pins processes to cores')
def test_computation_is_not_counted_as_waiting_on_one_core():
  """A thread that has a batch may compute the step before it takes the time after the batch."""
  code = f'from tests.tpu_utils import {__name__.rpartition(".")[2]} as m; m.print_shares()'
  pin = f'import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}}); '
  done = subprocess.run([sys.executable, '-c', pin + code], capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  shares = json.loads(done.stdout.splitlines()[-1])
  assert shares['step'] < 0.2
  assert shares['input'] > 0.8


def print_shares():
  """Prints {what is slow: share of a step's time that counts as waiting for input}."""
  print(json.dumps({'step': _share(_compute, None), 'input': _share(None, _sleep)}))


def _share(prepare, source):
  trainer = trainer_test._trainer(trainer_test._one_device())
  make = trainer_test._dataset_fn(8)

  def dataset(context):
    found = make(context).repeat()
    return found.map(source) if source else found

  if prepare:
    trainer.task = dataclasses.replace(trainer.task, prepare=prepare)
  iterator = trainer.train_iterator(dataset)
  trainer.train(iterator, 1)
  start = time.monotonic()
  wait = trainer.train(iterator, 5)['input_wait']
  return wait / ((time.monotonic() - start) / 5)


def _compute(batch):
  """Adds nearly nothing to the images, computed for a tenth of a second."""
  matrix = tf.fill([1000, 1000], 1e-4 * tf.reduce_mean(batch['images']))
  for _ in range(4):
    matrix = tf.matmul(matrix, matrix)
  return {**batch, 'images': batch['images'] + 1e-20 * tf.reduce_mean(matrix)}


def _sleep(batch):
  def slowly(images):
    time.sleep(0.1)
    return images

  images = tf.numpy_function(slowly, [batch['images']], tf.float32)
  return {**batch, 'images': tf.ensure_shape(images, batch['images'].shape)}
