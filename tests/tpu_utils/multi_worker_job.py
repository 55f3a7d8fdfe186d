"""One worker process of the jobs in `multi_worker_test.py`.

    python -m tests.tpu_utils.multi_worker_job SETTINGS

SETTINGS are JSON: the keyword arguments of `work`. TF_CONFIG selects the worker.
"""
import json
import os
import signal
import sys

import keras
import numpy as np
import tensorflow as tf

from tpu_utils import batch_norm, config, distribute, runner
from tpu_utils.command_line import cli
from tpu_utils.ema import ExponentialMovingAverage
from tpu_utils.image_jobs.train import classification_task
from tpu_utils.optimizers import build_optimizer
from tpu_utils.trainer import Trainer

BATCH_SIZE = 8  # Over all workers.
NUM_EVAL = 11  # A prime: the workers' shares are unequal and end in padding.
NORM_MOMENTUM = 0.5


class Examples:
  """Training batches that depend on the step alone; each worker reads its part of every batch.

  Examples grow along the batch, so that the workers' gradients and statistics differ. At step
  `signal_at`, worker `signalled` sends itself `signal_name`.
  """

  def __init__(self, signal_at=None, signalled=None, signal_name='SIGTERM'):
    self._signal_at = signal_at
    self._signalled = signalled
    self._signal = getattr(signal, signal_name)

  def train_batch(self, step):
    return _examples(step, BATCH_SIZE)

  def train_dataset(self, context, start_example):
    size = BATCH_SIZE // context.num_input_pipelines
    first = size * context.input_pipeline_id

    def part(step):
      if step == self._signal_at and context.input_pipeline_id == self._signalled:
        os.kill(os.getpid(), self._signal)
      images, labels = self.train_batch(step)
      return images[first : first + size], labels[first : first + size]

    def tensors(step):
      images, labels = tf.numpy_function(part, [step], [tf.float32, tf.float32])
      images, labels = tf.ensure_shape(images, [size, 4]), tf.ensure_shape(labels, [size, 3])
      return {'images': images, 'labels': labels}

    return tf.data.Dataset.range(start_example // BATCH_SIZE, 10**6).map(tensors)

  def eval_dataset(self, context):
    images, labels = _examples(10**6, NUM_EVAL)
    each = -(-NUM_EVAL // context.num_input_pipelines)
    rows = np.arange(NUM_EVAL)[each * context.input_pipeline_id :][:each]
    padding = [(0, each - len(rows)), (0, 0)]
    batch = {
      'images': np.pad(images[rows], padding, constant_values=9),
      'labels': np.pad(labels[rows], padding),
      'weights': np.pad(np.ones(len(rows), np.float32), padding[0]),
    }
    return tf.data.Dataset.from_tensor_slices(batch).batch(2)

  def explain(self, error):
    del error


def _examples(seed, count):
  generator = np.random.default_rng(seed)
  images = generator.normal(size=(count, 4)) * np.linspace(0.2, 3.0, count)[:, None]
  labels = np.eye(3, dtype='float32')[generator.integers(3, size=count)]
  return images.astype('float32'), labels


def make_runner(strategy, model_dir, norm=False, **settings):
  """Returns the `Runner` of a small classifier; `norm` puts a batch norm before its layers."""
  keras.utils.set_random_seed(0)
  with strategy.scope():
    x = images = keras.Input((4,), name='images')
    if norm:
      x = batch_norm.BatchNormalization(momentum=NORM_MOMENTUM, name='norm')(x)
    x = keras.layers.Dense(8, 'swish', name='hidden')(x)
    model = keras.Model(images, keras.layers.Dense(3, name='logits')(x), name='tiny')
  trainer = Trainer(
    strategy,
    model,
    classification_task(model, weight_decay=1e-4),
    build_optimizer('rmsprop'),
    lambda step: 0.01,
    ema=ExponentialMovingAverage(0.9),
  )
  settings = {
    'train_steps': 12,
    'steps_per_eval': 6,
    'save_checkpoints_steps': 6,
    'iterations_per_loop': 2,
    **settings,
  }
  job = config.JobConfig(model_dir=str(model_dir), **settings)
  return runner.Runner(
    trainer,
    job,
    {'model_name': 'tiny'},
    batch_size=BATCH_SIZE,
    examples_per_epoch=4 * BATCH_SIZE,
    unit='images',
    objective='top_1_accuracy',
  )


def values(trainer):
  return {name: variable.numpy() for name, variable in trainer.variables().items()}


def work(jobs, results):
  """Runs jobs one after another; writes the last values of each to `<results>.<number>.npz`.

  Args:
    jobs: a list of arguments of `make_runner`, with 'examples' for arguments of `Examples`.
    results: start of the path.
  """
  strategy = distribute.create_strategy('multi_worker')
  for number, job in enumerate(jobs):
    examples = Examples(**job.pop('examples', {}))
    worker = make_runner(strategy, **job)
    try:
      worker.train(examples, examples)
    except cli.Interrupted as e:
      print(e, file=sys.stderr)
    np.savez(f'{results}.{number}', step=worker.trainer.step, **values(worker.trainer))


if __name__ == '__main__':
  work(**json.loads(sys.argv[1]))
