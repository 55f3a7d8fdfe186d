"""Serves training steps of a classifier on several logical replicas: `train BATCH`."""
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from tpu_utils import config, distribute
from tpu_utils.benchmarking import peer_process
from tpu_utils.image_jobs import train


def serve(
  build_model: Callable[[], keras.Model], batch_sizes: Sequence[int], replicas: int
) -> None:
  """Serves steps of the trainer, with the official recipe, until standard input ends.

  Args:
    build_model: function without arguments that returns a classifier.
    batch_sizes: global batch sizes, for each a command.
    replicas: logical devices into which the CPU is split; call before other TensorFlow work.
  """
  (cpu,) = tf.config.list_physical_devices('CPU')
  devices = [tf.config.LogicalDeviceConfiguration()] * replicas
  tf.config.set_logical_device_configuration(cpu, devices)
  strategy = distribute.create_strategy('mirrored')
  with strategy.scope():
    model = build_model()
  shape, classes = model.inputs[0].shape[1:], model.outputs[0].shape[-1]
  commands = {}
  for size in batch_sizes:
    data = config.DataConfig(
      train_batch_size=size, num_label_classes=classes, transpose_input=False
    )
    trainer = train.make_trainer(strategy, model, data, config.OptimizationConfig(), 10**6)
    local = size // replicas
    batch = {
      'images': tf.random.stateless_uniform((local, *shape), (0, 0), 0, 255),
      'labels': tf.one_hot(tf.range(local) % classes, classes),
    }
    iterator = trainer.train_iterator(
      lambda context, batch=batch: tf.data.Dataset.from_tensors(batch).repeat()
    )
    commands[f'train {size}'] = lambda t=trainer, i=iterator: t.train(i, 1)
  peer_process.serve(commands)
