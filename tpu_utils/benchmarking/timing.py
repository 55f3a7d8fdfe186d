"""Times contestants in turn, so that what slows the machine down for a while slows all of them.

Times differ from day to day and machine to machine, ratios hardly; so benchmarks report ratios.
Nothing else may run meanwhile.
"""
import statistics
import time

import keras
import tensorflow as tf


def take_turns(contestants, rounds, fewer=None, clock=time.perf_counter, elsewhere=()):
  """Runs each contestant once unmeasured and then `rounds` times, each round in the other direction.

  Args:
    contestants: {name: function without arguments that returns when its work is done}.
    rounds: times that each runs.
    fewer: {name: rounds} of those that are too slow for so many.
    clock: `time.process_time` counts the processors' work instead, which other programs disturb less.
    elsewhere: names of those that work in another process, where `clock` does not see them, and return their
      seconds themselves.

  Returns:
    {name: [seconds of each round]}.
  """
  fewer = fewer or {}
  times = {name: [] for name in contestants}
  for i in range(rounds + 1):
    for name in list(contestants) if i % 2 else reversed(contestants):
      if i > fewer.get(name, rounds):
        continue
      start = clock()
      own = contestants[name]()
      if i:
        times[name].append(own if name in elsewhere else clock() - start)
  return times


def medians(times):
  """{name: median seconds} of what `take_turns` returned."""
  return {name: statistics.median(seconds) for name, seconds in times.items()}


def ratio(times, name, to):
  """The median over the rounds of how many times as long as `to` the contestant `name` took.

  Neighbours in time share the machine's moods, so this is steadier than the ratio of two medians.
  """
  return statistics.median(a / b for a, b in zip(times[name], times[to], strict=False))


def training_step(model, images, labels):
  """A function that makes one step of SGD with momentum and waits for it; no XLA, one device.

  Args:
    model: classifier whose outputs are logits.
    images: its inputs.
    labels: [batch, classes], one-hot.
  """
  optimizer = keras.optimizers.SGD(1e-3, momentum=0.9)
  optimizer.build(model.trainable_variables)

  @tf.function
  def step(images, labels):
    with tf.GradientTape() as tape:
      logits = model(images, training=True)
      loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels, logits))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    return loss

  return lambda: step(images, labels).numpy()


def inference(model, images):
  """A function that computes the model's outputs and waits for them; no XLA, one device."""
  call = tf.function(lambda images: model(images, training=False))
  return lambda: call(images).numpy()
