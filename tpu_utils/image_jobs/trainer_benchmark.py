"""Measures the time that the trainer adds to a bare training step."""
import time
from collections.abc import Callable

import keras
import tensorflow as tf

from tpu_utils import config, distribute, ema, losses, optimizers, schedules
from tpu_utils.benchmarking import timing
from tpu_utils.image_jobs import train


def trainer_against_bare_step(
  build_model: Callable[[], keras.Model],
  data: config.DataConfig,
  optimization: config.OptimizationConfig,
  *,
  steps: int,
  rounds: int,
  clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
  """Times `Trainer.train` against the same training step called in a Python loop.

  Both train one model with the official recipe on one batch in memory, on one device.

  Args:
    build_model: function() -> image classifier.
    data: batch size and classes.
    optimization: the recipe (clipping, accumulation and LARS are left out of the bare step).
    steps: steps in a round.
    rounds: turns of each.
    clock: see `timing.take_turns`.

  Returns:
    {'bare step' or 'trainer': [seconds per step in each round]}.
  """
  strategy = distribute.create_strategy('one_device')
  with strategy.scope():
    model = build_model()
    bare_step = _bare_step(model, data, optimization)
  shape = (data.train_batch_size, *model.inputs[0].shape[1:])
  images = tf.random.stateless_uniform(shape, (0, 0), 0, 255)
  classes = tf.range(data.train_batch_size) % data.num_label_classes
  batch = {'images': images, 'labels': tf.one_hot(classes, data.num_label_classes)}
  trainer = train.make_trainer(strategy, model, data, optimization, 10**6)
  iterator = trainer.train_iterator(lambda context: tf.data.Dataset.from_tensors(batch).repeat())

  def bare():
    for step in range(steps):
      loss = bare_step(batch, tf.constant(step, tf.int64))
    loss.numpy()

  functions = {'bare step': bare, 'trainer': lambda: trainer.train(iterator, steps)}
  times = timing.take_turns(functions, rounds, clock=clock)
  return {name: [seconds / steps for seconds in own] for name, own in times.items()}


def _bare_step(model, data, optimization):
  """Returns function(batch, step) -> loss: the least code that trains as the trainer does."""
  optimizer = optimizers.build_optimizer(optimization.optimizer)
  optimizer.build(model.trainable_variables)
  average = ema.ExponentialMovingAverage(optimization.moving_average_decay)
  average.build(model.variables)
  learning_rate = schedules.build_learning_rate(
    optimization.base_learning_rate * data.train_batch_size / 256,
    steps_per_epoch=data.num_train_images / data.train_batch_size,
  )
  decayed = losses.non_batch_norm_variables(model)

  @tf.function
  def step(batch, number):
    with tf.GradientTape() as tape:
      logits = model(batch['images'], training=True)
      each = losses.softmax_cross_entropy(batch['labels'], logits, optimization.label_smoothing)
      loss = tf.reduce_mean(each) + losses.l2_weight_decay(decayed, optimization.weight_decay)
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    optimizer.apply(gradients, learning_rate(number))
    average.apply(number + 1)
    return loss

  return step
