"""Serves a Keras classifier to a benchmark: `infer BATCH` and `train BATCH`."""
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tpu_utils import optimizers
from tpu_utils.benchmarking import peer_process

_LEARNING_RATE = 1e-3


def serve(model: keras.Model, batch_sizes: Sequence[int], ours: bool) -> None:
  """Serves inference and training steps (see `training_step`) until standard input ends.

  Args:
    model: classifier from images of a fixed size to logits.
    batch_sizes: for each a command of each kind.
    ours: whether training takes this project's optimizer instead of Keras'.
  """
  infer = tf.function(lambda images: model(images, training=False), reduce_retracing=True)
  steps: list[Callable] = []  # Built on demand: its slots and gradients take memory.

  def train(images, labels):
    if not steps:
      steps.append(training_step(model, ours))
    return steps[0](images, labels)

  commands = {}
  for size in batch_sizes:
    batch = _images(model, size), _labels(model, size)
    commands[f'infer {size}'] = lambda batch=batch: infer(batch[0]).numpy()
    commands[f'train {size}'] = lambda batch=batch: train(*batch).numpy()
  peer_process.serve(commands)


def _images(model, size):
  shape = (size, *model.inputs[0].shape[1:])
  return np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)


def _labels(model, size):
  classes = model.outputs[0].shape[-1]
  return np.eye(classes, dtype=np.float32)[np.arange(size) % classes]


def training_step(model: keras.Model, ours: bool) -> Callable:
  """Returns function(images, labels) -> loss: a step of SGD with momentum, without XLA.

  Args:
    model: classifier with logits as outputs.
    ours: whether to update with `tpu_utils.optimizers` as our trainer does, or with Keras'.
  """
  if ours:
    optimizer = optimizers.Momentum(0.9)
    variables = [variable.value for variable in model.trainable_variables]
    optimizer.build(model.trainable_variables)

    def update(gradients):
      optimizer.apply(gradients, _LEARNING_RATE)
  else:
    optimizer = keras.optimizers.SGD(_LEARNING_RATE, momentum=0.9)
    variables = model.trainable_variables
    optimizer.build(variables)

    def update(gradients):
      optimizer.apply_gradients(zip(gradients, variables, strict=True))

  @tf.function(reduce_retracing=True)
  def step(images, labels):
    with tf.GradientTape() as tape:
      logits = model(images, training=True)
      loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels, logits))
    update(tape.gradient(loss, variables))
    return loss

  return step
